//! An authority that is given as files, in the layout of Istio's secret `cacerts`.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Authority, AuthorityError, issue, pem, root};

/// The files of such a folder.
pub(super) const FILES: [&str; 5] = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "ca-crl.pem"];

/// What an authority is made of, as PEM: the files of such a folder, wherever they stand.
#[derive(Clone)]
pub struct AuthorityFiles {
    /// `ca-cert.pem`: what signs.
    pub certificate: Vec<u8>,
    /// `ca-key.pem`: its key.
    pub key: Zeroizing<String>,
    /// `cert-chain.pem`: those above it, up to the root or without that; may hold itself.
    pub chain: Vec<u8>,
    /// `root-cert.pem`: the roots, one or several.
    pub roots: Vec<u8>,
    /// `ca-crl.pem`: what was revoked; may be empty.
    pub revoked: Vec<u8>,
}

/// Reads a folder.
pub(super) fn read(folder: &Path) -> Result<Authority, AuthorityError> {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| AuthorityError::File(path, error))
    };
    let optional = |name: &str| match file(name) {
        Err(AuthorityError::File(_, error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        read => read,
    };
    warn_of_readers(&folder.join("ca-key.pem"));
    let key =
        String::from_utf8(file("ca-key.pem")?).map_err(|_| AuthorityError::Unusable(folder.join("ca-key.pem"), "is not PEM".to_owned()));
    let files = AuthorityFiles {
        certificate: file("ca-cert.pem")?,
        key: Zeroizing::new(key?),
        chain: file("cert-chain.pem")?,
        roots: file("root-cert.pem")?,
        revoked: optional("ca-crl.pem")?,
    };
    files.into_authority(folder)
}

/// Whoever can read the key is the authority. Where it is put down by others, as a Secret of Kubernetes is, that is theirs to mend.
fn warn_of_readers(key: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o004 != 0) {
        tracing::warn!("{}: anybody on this machine may read the authority's key: chmod 600", key.display());
    }
}

/// Nobody prints a key.
impl fmt::Debug for AuthorityFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityFiles").finish_non_exhaustive()
    }
}

impl AuthorityFiles {
    /// Makes a root for a trust domain, which signs itself.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new_root(trust_domain: &str) -> Result<Self, AuthorityError> {
        Ok(root::make(trust_domain, SystemTime::now())?)
    }

    /// Makes an authority of them. Errors name each by its place below this one, as if that were a folder.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn into_authority(self, folder: &Path) -> Result<Authority, AuthorityError> {
        let at = |name: &str| folder.join(name);
        let wrong = |name: &str, reason: &str| AuthorityError::Unusable(at(name), reason.to_owned());
        let own = pem::certificates(&self.certificate, &at("ca-cert.pem"))?;
        let own = own.first().ok_or_else(|| wrong("ca-cert.pem", "holds no certificate"))?;
        let roots = pem::certificates(&self.roots, &at("root-cert.pem"))?;
        let above = pem::certificates(&self.chain, &at("cert-chain.pem"))?;
        let key = KeyPair::from_pem(&self.key).map_err(|error| wrong("ca-key.pem", &error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|error| wrong("ca-cert.pem", &error.to_string()))?;
        let mut between: Vec<&CertificateDer<'_>> = std::iter::once(own).chain(&above).filter(|one| !roots.contains(one)).collect();
        between.dedup();
        let mut all_roots: String = roots.iter().map(pem::text).collect();
        all_roots.push_str(&String::from_utf8_lossy(&self.revoked));
        let between = between.into_iter().map(pem::text).collect();
        let ends = pem::end(own, &at("ca-cert.pem"))?;
        let authority = Authority { issuer, between, roots: all_roots, ends, folder: None, fingerprint: OnceLock::new() };
        let revoked = pem::revocation_lists(&self.revoked, &at("ca-crl.pem"))?;
        issue::prove(&authority, &roots, &revoked, SystemTime::now()).map_err(|reason| wrong("ca-cert.pem", &reason))?;
        Ok(authority)
    }
}
