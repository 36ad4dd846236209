//! The certificates that a proxy instance has. Each named one has a slot of its own that the handshakes look into: a
//! certificate is exchanged without a change of the listener, and while it is missing only the handshakes that need it fail.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use weir_config::CompileError;
use weir_config::tls::{CertificateSource, Source};

/// A certificate chain with its key; absent until it arrives.
#[derive(Default)]
pub struct SecretSlot(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for SecretSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "SecretSlot(filled)" } else { "SecretSlot(empty)" })
    }
}

impl SecretSlot {
    /// What is in it now.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a certificate in, or takes it away.
    pub fn set(&self, key: Option<Arc<CertifiedKey>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// The certificates of one proxy instance, by name.
#[derive(Debug, Default)]
pub struct Secrets {
    slots: HashMap<Arc<str>, Arc<SecretSlot>>,
}

impl Secrets {
    /// The slot of a name, made if there is none.
    pub fn slot(&mut self, name: &str) -> Arc<SecretSlot> {
        if let Some(slot) = self.slots.get(name) {
            return slot.clone();
        }
        self.slots.entry(name.into()).or_default().clone()
    }

    /// Whether a name has a slot.
    #[cfg(test)]
    pub fn knows(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    /// Forgets all slots but these; handshakes under way keep theirs.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.slots.retain(|name, _| is_wanted(name));
    }
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// If a file cannot be read, or what is found is no certificate with its key.
pub fn certified_key(source: &CertificateSource) -> Result<Arc<CertifiedKey>, CompileError> {
    let chain = read(&source.chain).map_err(|error| error.within("certificate_chain"))?;
    let key = read(&source.key).map_err(|error| error.within("private_key"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|error| CompileError::new("certificate_chain", error.to_string()))?;
    if chain.is_empty() {
        return Err(CompileError::new("certificate_chain", "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| CompileError::new("private_key", error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, &super::provider());
    key.map(Arc::new).map_err(|error| CompileError::new("private_key", error.to_string()))
}

fn read(source: &Source) -> Result<Vec<u8>, CompileError> {
    match source {
        Source::Inline(bytes) => Ok(bytes.to_vec()),
        Source::File(path) => std::fs::read(&**path).map_err(|error| CompileError::new("filename", format!("{path}: {error}"))),
    }
}
