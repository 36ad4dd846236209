//! The secrets that a proxy has. Each has a slot of its own that the handshakes look into: a certificate or an authority
//! is exchanged without a change of the listener or cluster, and while it is missing only the handshakes that need it fail.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use weir_config::CompileError;
use weir_config::tls::{AltName, Certificate, CertificateSource, Material, NameKind, SecretSource, Validation};

use super::chain::{Side, lists};
use super::files::Files;
use super::refusal::listed;
use super::staple::valid_until;
use super::tickets::TicketKeys;
use super::trust::{Shown, Trust};
use super::x509;

/// A place for a secret; empty until it arrives.
pub struct Slot<T>(RwLock<Content<T>>);

enum Content<T> {
    /// Nobody has said anything of it yet.
    Awaited,
    /// There is none, so far.
    Absent,
    Here(Arc<T>),
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(RwLock::new(Content::Awaited))
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "Slot(filled)" } else { "Slot(empty)" })
    }
}

impl<T> Slot<T> {
    fn filled(content: Arc<T>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Content::Here(content))))
    }

    /// What is in it now.
    pub fn get(&self) -> Option<Arc<T>> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Content::Here(content) => Some(content.clone()),
            Content::Awaited | Content::Absent => None,
        }
    }

    /// Whether it may still come: neither is it here, nor has its server said that there is none.
    pub fn is_awaited(&self) -> bool {
        matches!(&*self.0.read().unwrap_or_else(PoisonError::into_inner), Content::Awaited)
    }

    /// Puts something in, or takes it away.
    fn set(&self, content: Option<Arc<T>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = content.map_or(Content::Absent, Content::Here);
    }
}

/// A certificate that handshakes may show, and its name if it comes by SDS.
#[derive(Debug)]
pub(super) struct Own {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Where it is.
    pub slot: Arc<Slot<CertifiedKey>>,
}

/// The name of a proxy's own certificate of the mesh, as Istio's agents have it.
const MESH_CERTIFICATE: &str = "default";
/// The same of the mesh's authorities.
const MESH_AUTHORITIES: &str = "ROOTCA";

/// What a proxy has of the mesh, and no server tells it.
#[derive(Debug, Clone)]
pub struct OwnSecrets {
    certificate: Arc<CertifiedKey>,
    authorities: Arc<Validation>,
}

impl OwnSecrets {
    /// A certificate with its key, and whom the other side's certificate must be of.
    ///
    /// # Errors
    /// If the authorities cannot be used.
    pub fn new(certificate: CertifiedKey, authorities: Validation) -> Result<Self, CompileError> {
        Trust::new(&authorities)?;
        Ok(Self { certificate: Arc::new(certificate), authorities: Arc::new(authorities) })
    }

    /// The certificate.
    #[cfg(test)]
    pub fn certificate(&self) -> &CertifiedKey {
        &self.certificate
    }
}

/// Looks whether a certificate that was issued to a proxy of this namespace holds now, for either side of a handshake, and says one
/// name alone: that of a workload of the namespace.
pub(crate) fn check_issued(chain: &[CertificateDer<'_>], authorities: &Validation, namespace: &str, now: SystemTime) -> Result<(), String> {
    let (leaf, others) = chain.split_first().ok_or("the authority's answer holds no certificate")?;
    let trust = Trust::new(authorities).map_err(|error| format!("the authorities are refused: {error}"))?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the clock is before 1970")?;
    for side in [Side::Client, Side::Server] {
        let held = trust.verify(&Shown { leaf, others }, UnixTime::since_unix_epoch(now), side, None);
        held.map_err(|refusal| format!("the certificate does not hold: {refusal}"))?;
    }
    let read = x509::Certificate::read(leaf).ok_or("the certificate cannot be read")?;
    match read.names.as_slice() {
        [AltName { kind: NameKind::Uri, text }] if is_of_namespace(text, namespace) => Ok(()),
        names => Err(format!("the certificate is not for a workload of {namespace}: {}", listed(names))),
    }
}

/// Whether a SPIFFE id is that of an account of a namespace.
fn is_of_namespace(id: &str, namespace: &str) -> bool {
    let parts = id.strip_prefix("spiffe://").map(|rest| rest.split('/').collect::<Vec<_>>());
    matches!(parts.as_deref(), Some([domain, "ns", own, "sa", account]) if !domain.is_empty() && *own == namespace && !account.is_empty())
}

/// The secrets of one proxy, by name.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Those that it has itself; none where a server tells it all.
    own: Option<Option<OwnSecrets>>,
    certificates: HashMap<Arc<str>, Arc<Slot<CertifiedKey>>>,
    /// What they say of the other side's certificate; files are read.
    validations: HashMap<Arc<str>, Arc<Slot<Validation>>>,
    /// What configurations say beside their secrets of files, each by a name of its own. They stay for as long as a handshake may need them.
    written: HashMap<Arc<str>, Arc<Slot<Validation>>>,
    files: Files,
    pub(super) ticket_keys: TicketKeys,
}

impl Secrets {
    /// Takes a secret. Its files are watched from now on, also where they cannot be read yet.
    ///
    /// # Errors
    /// If a file cannot be read, or what is found cannot be used; then what was there before stays.
    pub fn put(&mut self, name: &str, secret: &SecretSource) -> Result<(), CompileError> {
        self.files.watch(name, secret);
        self.load(name, secret)
    }

    /// Whether one stands in files.
    pub fn is_in_files(&self, name: &str) -> bool {
        self.files.watches(name)
    }

    /// Whether any stand in files.
    pub fn are_in_files(&self) -> bool {
        !self.files.are_none()
    }

    /// Reads files again that are not what they were. Their names, each with what is wrong with it; then what was there before
    /// stays.
    pub fn read_again(&mut self) -> Vec<(Arc<str>, Result<(), CompileError>)> {
        let changed = self.files.changed();
        changed.into_iter().map(|(name, source)| (name.clone(), self.load(&name, &source))).collect()
    }

    fn load(&mut self, name: &str, secret: &SecretSource) -> Result<(), CompileError> {
        if let Some(slot) = self.written.get(name) {
            let SecretSource::Validation(validation) = secret else { return Ok(()) };
            let loaded = loaded(validation)?;
            loaded.revoked.as_ref().map(lists).transpose()?;
            slot.set(Some(Arc::new(loaded)));
            return Ok(());
        }
        match secret {
            SecretSource::Certificate(source) => self.certificate(name).set(Some(certified_key(source)?)),
            SecretSource::Validation(validation) => {
                let loaded = loaded(validation)?;
                // Looked at now, so that a bad one is refused when it comes.
                Trust::new(&loaded).map_err(|error| error.within("validation_context"))?;
                self.validation(name).set(Some(Arc::new(loaded)));
            }
        }
        Ok(())
    }

    /// What a configuration says beside a secret. Its files are watched; while one cannot be used, the slot has what was in it before.
    pub(super) fn written(&mut self, validation: &Validation) -> Arc<Slot<Validation>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Not the name of a secret of any server.
        let name = format!("written\n{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let slot = slot_of(&mut self.written, &name);
        if let Err(error) = self.put(&name, &SecretSource::Validation(Box::new(validation.clone()))) {
            tracing::warn!(%error, "what is asked of certificates cannot be used: all are refused until it can");
        }
        slot
    }

    /// Forgets a secret.
    pub fn remove(&mut self, name: &str) {
        self.files.forget(name);
        if let Some(slot) = self.certificates.get(name) {
            slot.set(None);
        }
        if let Some(slot) = self.validations.get(name) {
            slot.set(None);
        }
    }

    /// Says that the proxy has those of the mesh itself, sooner or later.
    pub fn expect_own(&mut self) {
        self.own.get_or_insert_default();
    }

    /// Takes those that the proxy has itself.
    pub fn put_own(&mut self, own: OwnSecrets) {
        self.own = Some(Some(own));
        self.certificate(MESH_CERTIFICATE);
        self.validation(MESH_AUTHORITIES);
    }

    /// Whether a secret is one that the proxy has itself: nobody is asked for it.
    pub fn is_own(&self, name: &str) -> bool {
        self.own.is_some() && matches!(name, MESH_CERTIFICATE | MESH_AUTHORITIES)
    }

    pub(crate) fn certificate(&mut self, name: &str) -> Arc<Slot<CertifiedKey>> {
        let slot = slot_of(&mut self.certificates, name);
        if let Some(Some(own)) = self.own.as_ref().filter(|_| name == MESH_CERTIFICATE) {
            slot.set(Some(own.certificate.clone()));
        }
        slot
    }

    pub(super) fn validation(&mut self, name: &str) -> Arc<Slot<Validation>> {
        let slot = slot_of(&mut self.validations, name);
        if let Some(Some(own)) = self.own.as_ref().filter(|_| name == MESH_AUTHORITIES) {
            slot.set(Some(own.authorities.clone()));
        }
        slot
    }

    /// Certificates of a configuration. Files are read now; those that come by SDS may arrive later.
    pub(super) fn own(&mut self, certificates: &[Certificate]) -> Result<Vec<Own>, CompileError> {
        let own = |certificate: &Certificate| match certificate {
            Certificate::Named(name) => Ok(Own { name: Some(name.clone()), slot: self.certificate(name) }),
            Certificate::Written(source) => Ok(Own { name: None, slot: Slot::filled(certified_key(source)?) }),
        };
        certificates
            .iter()
            .map(own)
            .collect::<Result<_, _>>()
            .map_err(|error: CompileError| error.within("common_tls_context.tls_certificates"))
    }

    /// Whether a name has a slot.
    #[cfg(test)]
    pub fn knows(&self, name: &str) -> bool {
        self.certificates.contains_key(name) || self.validations.contains_key(name)
    }

    /// Forgets all slots but these; handshakes under way keep theirs.
    pub fn keep(&mut self, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.certificates.retain(|name, _| is_wanted(name));
        self.validations.retain(|name, _| is_wanted(name));
        self.written.retain(|_, slot| Arc::strong_count(slot) > 1);
        self.files.keep(|name| is_wanted(name) || self.written.contains_key(name));
    }
}

/// The slot of a name, made if there is none.
fn slot_of<T>(slots: &mut HashMap<Arc<str>, Arc<Slot<T>>>, name: &str) -> Arc<Slot<T>> {
    if let Some(slot) = slots.get(name) {
        return slot.clone();
    }
    slots.entry(name.into()).or_default().clone()
}

/// The same with its files read.
fn loaded(validation: &Validation) -> Result<Validation, CompileError> {
    let load = |source: &Option<Material>, field: &str| {
        let bytes = source.as_ref().map(read).transpose().map_err(|error| error.within(field))?;
        Ok(bytes.map(|bytes| Material::Inline(bytes.into())))
    };
    Ok(Validation { trusted: load(&validation.trusted, "trusted_ca")?, revoked: load(&validation.revoked, "crl")?, ..validation.clone() })
}

/// Reads a certificate chain and its key.
fn certified_key(source: &CertificateSource) -> Result<Arc<CertifiedKey>, CompileError> {
    let chain = read(&source.chain).map_err(|error| error.within("certificate_chain"))?;
    let key = read(&source.key).map_err(|error| error.within("private_key"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|error| CompileError::new("certificate_chain", error.to_string()))?;
    if chain.is_empty() {
        return Err(CompileError::new("certificate_chain", "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| CompileError::new("private_key", error.to_string()))?;
    let staple = source.staple.as_ref().map(read).transpose().map_err(|error| error.within("ocsp_staple"))?;
    let refused = |error: Error| match error {
        Error::InconsistentKeys(_) => CompileError::new("private_key", "is not the key of the certificate"),
        error => CompileError::new("private_key", error.to_string()),
    };
    let mut key = CertifiedKey::from_der(chain, key, &super::provider()).map_err(refused)?;
    if let (Some(staple), Some(own)) = (&staple, key.cert.first()) {
        valid_until(staple, own).map_err(|error| CompileError::new("ocsp_staple", error.to_string()))?;
    }
    key.ocsp = staple;
    Ok(Arc::new(key))
}

/// What a source holds.
pub(super) fn read(source: &Material) -> Result<Vec<u8>, CompileError> {
    match source {
        Material::Inline(bytes) => Ok(bytes.to_vec()),
        Material::File(path) => std::fs::read(&**path).map_err(|error| CompileError::new("filename", format!("{path}: {error}"))),
    }
}
