//! The `caBundle` of the webhooks' configurations: by which roots the API server knows the webhooks, and what of it is to be changed.
//!
//! It holds the mesh's roots as they are now. Roots that were ours a while ago stay in it for that while, and so do such as somebody else has
//! put beside ours: another control plane may have heard of a change before us, or not yet, and two that overwrite each other would never end.

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What a certificate ends with.
const END: &str = "-----END CERTIFICATE-----\n";

/// Certificates that can be compared.
type Certificates = BTreeSet<Vec<u8>>;

/// What a `caBundle` should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// The roots now, as PEM.
    now: String,
    /// Those of a while ago that are none now.
    before: String,
}

/// What one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// What it should be.
    Right,
    /// Webhooks are known by it, and so is somebody else.
    More,
    /// Some webhook of ours is not known by it.
    Wrong,
}

impl Bundle {
    /// One of these roots.
    pub fn of(now: String) -> Self {
        Self { now, before: String::new() }
    }

    /// Other roots count from now on, and these for a while.
    pub fn change(&mut self, now: String) {
        let before = std::mem::replace(&mut self.now, now);
        self.before = before.split_inclusive(END).filter(|root| !self.now.contains(root)).collect();
    }

    /// The while is over. Whether anything follows from that.
    pub fn forget(&mut self) -> bool {
        !std::mem::take(&mut self.before).is_empty()
    }

    /// Looks at one. Where others are not suffered any longer, it must be ours alone.
    pub fn judge(&self, found: Option<&ByteString>, suffers_others: bool) -> Judged {
        let found = found.map(|ByteString(bytes)| certificates(bytes)).unwrap_or_default();
        let now = certificates(self.now.as_bytes());
        let both = certificates(self.text().as_bytes());
        match found {
            // Without a root nobody is known.
            _ if now.is_empty() => Judged::Right,
            found if found == both || found == now => Judged::Right,
            found if found.is_superset(&now) && suffers_others => Judged::More,
            _ => Judged::Wrong,
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        [self.now.as_str(), self.before.as_str()].concat()
    }
}

/// The certificates of a text; what is none is left out.
fn certificates(text: &[u8]) -> Certificates {
    CertificateDer::pem_slice_iter(text).filter_map(|read| Some(read.ok()?.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as far as a bundle looks at it.
    fn root(content: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
    }

    fn bytes(roots: &[&String]) -> ByteString {
        ByteString(roots.iter().flat_map(|root| root.bytes()).collect())
    }

    #[test]
    fn what_does_not_know_us_is_wrong_and_what_knows_others_too_is_suffered_for_a_while() {
        let [a, b] = ["AAAA", "BBBB"].map(root);
        let bundle = Bundle::of(a.clone());
        let judged = |found: &[&String]| [true, false].map(|suffers| bundle.judge(Some(&bytes(found)), suffers));
        assert_eq!(bundle.judge(None, true), Judged::Wrong);
        assert_eq!(judged(&[]), [Judged::Wrong; 2]);
        assert_eq!(judged(&[&"no PEM".to_owned()]), [Judged::Wrong; 2]);
        assert_eq!(judged(&[&a]), [Judged::Right; 2]);
        assert_eq!(judged(&[&a, &"\n# a comment\n".to_owned()]), [Judged::Right; 2]);
        assert_eq!(judged(&[&b]), [Judged::Wrong; 2]);
        assert_eq!(judged(&[&b, &a]), [Judged::More, Judged::Wrong]);
        assert_eq!(Bundle::of(String::new()).judge(Some(&bytes(&[&b])), false), Judged::Right, "who has no roots changes nothing");
    }

    #[test]
    fn when_roots_change_both_are_in_it_for_a_while() {
        let [a, b] = ["AAAA", "BBBB"].map(root);
        let mut bundle = Bundle::of(a.clone());
        bundle.change(b.clone());
        assert_eq!(bundle.text(), [b.clone(), a.clone()].concat());
        assert_eq!(bundle.judge(Some(&bytes(&[&a])), true), Judged::Wrong);
        assert_eq!(bundle.judge(Some(&bytes(&[&a, &b])), false), Judged::Right);
        assert!(bundle.forget() && !bundle.forget());
        assert_eq!((bundle.text(), bundle.judge(Some(&bytes(&[&a, &b])), false)), (b, Judged::Wrong));
    }

    #[test]
    fn a_root_that_stays_is_in_it_once() {
        let [a, b] = ["AAAA", "BBBB"].map(root);
        let mut bundle = Bundle::of(a.clone());
        bundle.change([a.clone(), b.clone()].concat());
        assert_eq!(bundle.text(), [a, b].concat());
        assert!(!bundle.forget());
    }
}
