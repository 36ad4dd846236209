//! An authority whose folder may change: what was revoked, a new root, a new key. What does not fit together is said, and the last one
//! that did goes on.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Authority, AuthorityError, folder, pem};

/// So often it is looked at.
const PACE: Duration = Duration::from_secs(5);

/// Tells versions of a file apart without reading it: its device, number, length and last change. None if it is not there.
pub(super) type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The files of an authority's folder, as far as they can be told apart without reading them.
pub(super) type Stamps = Vec<Stamp>;

/// A folder whose authority is in force.
struct Folder {
    path: PathBuf,
    /// As it was when the authority in it was last read.
    read: Stamps,
    /// As it was at the last look.
    seen: Stamps,
}

/// The authority as it is now; follows what changes in its folder, if it has one, for as long as somebody looks.
pub(super) fn follow(authority: Authority) -> watch::Receiver<Arc<Authority>> {
    let folder = authority.folder.clone().map(|(path, read)| Folder::new(path, read));
    let (newest, watched) = watch::channel(Arc::new(authority));
    if let Some(folder) = folder {
        tokio::spawn(look(folder, newest));
    }
    watched
}

async fn look(mut folder: Folder, newest: watch::Sender<Arc<Authority>>) {
    while !newest.is_closed() {
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = newest.closed() => return,
        }
        let looked = tokio::task::spawn_blocking(move || {
            let changed = folder.changed();
            (folder, changed)
        });
        let Ok((again, changed)) = looked.await else { return };
        folder = again;
        if let Some(authority) = changed {
            if is_abrupt(&newest.borrow(), &authority) {
                tracing::warn!(
                    "{}: root-cert.pem holds no root that was there before: whoever was not told of the new one beside the old needs a new file",
                    folder.path.display()
                );
            }
            newest.send_replace(Arc::new(authority));
        }
    }
}

impl Folder {
    fn new(path: PathBuf, read: Stamps) -> Self {
        Self { seen: read.clone(), read, path }
    }

    /// The authority in it, if that is another one than before and can be used.
    fn changed(&mut self) -> Option<Authority> {
        let now = stamps(&self.path);
        // Somebody may be about to write the next file, or half of this one is there: it has to stay the same for two looks.
        let is_settled = std::mem::replace(&mut self.seen, now.clone()) == now;
        if now == self.read || !is_settled {
            return None;
        }
        // Looked at before it is read: what is written meanwhile is seen the next time.
        self.read = now;
        let shown = self.path.display();
        match Authority::of_folder(&self.path) {
            Ok(authority) => {
                tracing::info!("{shown}: the authority has changed, and is in force as it is now");
                Some(authority)
            }
            Err(error) => {
                if may_pass(&error) {
                    self.read = vec![];
                }
                tracing::error!("{shown}: the authority has changed and cannot be used, the last one goes on: {error}");
                None
            }
        }
    }
}

/// Whether who trusts the roots of one authority trusts none of the other: a root is changed in two steps, at first the new one beside
/// the old.
fn is_abrupt(before: &Authority, after: &Authority) -> bool {
    let roots = pem::certificates(before.roots.as_bytes(), Path::new("")).unwrap_or_default();
    !roots.iter().any(|root| after.roots.contains(&pem::text(root)))
}

/// Whether it may be otherwise the next time though nothing in the folder has changed.
fn may_pass(error: &AuthorityError) -> bool {
    let stays = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    matches!(error, AuthorityError::File(_, error) if !stays(error.kind()))
}

/// How a folder is now.
pub(super) fn stamps(folder: &Path) -> Stamps {
    let stamp = |name: &&str| {
        let found = fs::metadata(folder.join(name)).ok()?;
        Some((found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
    };
    folder::FILES.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder as made;
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
    fn what_changes_in_the_folder_is_in_force_once_it_fits_together() {
        let (own, other) = (made([None; 2]), made([None; 2]));
        let mut folder = Folder::new(own.path().to_owned(), stamps(own.path()));
        let copy = |name: &str| assert!(fs::copy(other.path().join(name), own.path().join(name)).unwrap() > 0);
        assert!(folder.changed().is_none(), "nothing has changed");
        ["ca-cert.pem", "cert-chain.pem", "root-cert.pem"].into_iter().for_each(copy);
        assert!(folder.changed().is_none(), "it may be in the middle of a change");
        assert!(folder.changed().is_none(), "the key is still the old one");
        copy("ca-key.pem");
        assert!(folder.changed().is_none(), "it may be in the middle of a change");
        let now = folder.changed().unwrap();
        assert_eq!(now.roots, Authority::of_folder(other.path()).unwrap().roots);
        assert!(folder.changed().is_none());
    }
}
