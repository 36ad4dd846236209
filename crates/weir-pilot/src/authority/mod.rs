//! The certificate authority of a mesh: it says of each workload who that is.
//!
//! It is given as a folder in Istio's layout ([`folder`]), or its root is made at the first start and kept ([`root`]). What it signs
//! is short-lived, and says nothing but the SPIFFE id of a service account ([`issue`]); for whom, [`service`] decides, of those who
//! know a [`secret`], and [`elsewhere`] of those who have shown from another machine who they are ([`credential`]): by a certificate
//! ([`shown`]) or one of its [`tokens`], or of a cluster's ([`reviewer`]).
//!
//! Facts: security/pkg/pki/ca and security/pkg/server/ca of Istio.

mod address;
mod changes;
pub(crate) mod credential;
pub(crate) mod elsewhere;
mod folder;
mod followed;
mod issue;
mod pem;
mod pod;
mod private;
pub(crate) mod reviewer;
mod root;
pub mod secret;
pub(crate) mod service;
pub(crate) mod serving;
mod shown;
pub mod tokens;
mod watched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

pub use folder::AuthorityFiles;
pub use followed::{Followed, Succession};
use rcgen::{Issuer, KeyPair};

/// What signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificates between those that it signs and the root, as PEM.
    between: Vec<String>,
    /// The roots that are trusted, and what they have revoked, as PEM.
    roots: String,
    /// When its own certificate ends.
    ends: SystemTime,
    /// The folder that it is given as, which may change, and how that was before it was read.
    folder: Option<(PathBuf, watched::Stamps)>,
    /// What tells it from others, made when it is first asked for.
    fingerprint: OnceLock<[u8; 32]>,
}

/// Nobody prints a key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, std::io::Error),
    /// What is in it cannot be used.
    #[error("{path}: {reason}", path = .0.display(), reason = .1)]
    Unusable(PathBuf, String),
    /// A key or certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Authority {
    /// The one in a folder, which is looked at again and again, that has Istio's layout: `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`, `root-cert.pem`, `ca-crl.pem`.
    ///
    /// # Errors
    /// If a file is missing, or they do not fit together.
    pub fn of_folder(folder: &Path) -> Result<Self, AuthorityError> {
        let stamps = watched::stamps(folder);
        folder::read(folder).map(|authority| Self { folder: Some((folder.to_owned(), stamps)), ..authority })
    }

    /// The one whose root is kept in a folder; made there, if there never was one.
    ///
    /// # Errors
    /// If the root is lost or cannot be read: a new one would be trusted by nobody who knows the old one.
    pub fn kept_in(folder: &Path, trust_domain: &str) -> Result<Self, AuthorityError> {
        root::open(folder, trust_domain)
    }

    /// Whether one was ever made to be kept in a folder.
    pub fn is_kept_in(folder: &Path) -> bool {
        root::was_made(folder)
    }

    /// Follows what changes in its folder, if it has one.
    pub fn follow(self) -> Followed {
        watched::follow(self)
    }

    /// When its own certificate ends, and with it all that it has signed.
    pub(crate) fn ends(&self) -> SystemTime {
        self.ends
    }

    /// The roots that whoever is of the mesh trusts, and what they have revoked, as PEM.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// One whose root nobody keeps.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn in_memory(trust_domain: &str) -> Result<Self, AuthorityError> {
        root::make(trust_domain, SystemTime::now())?.into_authority(Path::new("memory"))
    }
}

#[cfg(all(test, unix))]
mod tests;
