//! An authority that others may come after: its next version is in force for whoever follows it.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Authority, pem};

/// An authority as it is now, for as long as somebody looks whether it changes.
#[derive(Debug, Clone)]
pub struct Followed(pub(crate) watch::Receiver<Arc<Authority>>);

/// Puts the next one in the place of an authority.
#[derive(Debug)]
pub struct Succession(watch::Sender<Arc<Authority>>);

impl Authority {
    /// This one, until another one takes its place.
    pub fn succeed(self) -> (Succession, Followed) {
        let (newest, watched) = watch::channel(Arc::new(self));
        (Succession(newest), Followed(watched))
    }
}

impl Succession {
    /// From now on this one is in force, which stands there. Where nobody who trusts the last one's roots trusts one of its, that is said: a
    /// root is changed in two steps, at first the new one beside the old.
    pub fn replace(&self, next: Authority, place: &Path) {
        if is_abrupt(&self.0.borrow(), &next) {
            tracing::warn!(
                "{}: root-cert.pem holds no root that was there before: whoever was not told of the new one beside the old needs a new file",
                place.display()
            );
        }
        self.0.send_replace(Arc::new(next));
    }

    /// Waits until nobody follows any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Followed {
    /// The certificates of the roots that are trusted now, as PEM, without what they have revoked.
    pub fn root_certificates(&self) -> String {
        let authority = self.0.borrow();
        let roots = pem::certificates(authority.roots.as_bytes(), Path::new("")).unwrap_or_default();
        roots.iter().map(pem::text).collect()
    }

    /// Waits until another one is in force; false if there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Whether who trusts the roots of one authority trusts none of the other.
fn is_abrupt(before: &Authority, after: &Authority) -> bool {
    let roots = pem::certificates(before.roots.as_bytes(), Path::new("")).unwrap_or_default();
    !roots.iter().any(|root| after.roots.contains(&pem::text(root)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_changed_in_two_steps_or_at_once() {
        let [old, new] = [(); 2].map(|()| Authority::in_memory("td").unwrap());
        let both = Authority { roots: old.roots.clone() + &new.roots, ..Authority::in_memory("td").unwrap() };
        assert_eq!(
            [is_abrupt(&old, &both), is_abrupt(&both, &new), is_abrupt(&old, &old), is_abrupt(&old, &new)],
            [false, false, false, true]
        );
    }

    #[test]
    fn what_was_revoked_is_no_root() {
        let own = Authority::in_memory("td").unwrap();
        let root = own.roots.clone();
        let with_list = Authority { roots: format!("{root}-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"), ..own };
        assert_eq!(with_list.succeed().1.root_certificates(), root);
    }
}
