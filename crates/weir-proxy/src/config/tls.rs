//! How a filter chain terminates TLS, and the certificates that it needs.
//!
//! A certificate comes by SDS under a name, or stands in the listener. Each named one has a slot of its own
//! that the handshakes look into: a certificate is exchanged without a change of the listener, and while it is
//! missing only the handshakes that need it fail.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use weir_routing::CompileError;
use weir_xds::core::DataSource;
use weir_xds::core::data_source::Specifier;
use weir_xds::tls::secret::Type as SecretType;
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{CommonTlsContext, DownstreamTlsContext, Secret, TlsCertificate};

/// A certificate chain with its key; absent until it arrives.
#[derive(Default)]
pub struct SecretSlot(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for SecretSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "SecretSlot(filled)" } else { "SecretSlot(empty)" })
    }
}

impl SecretSlot {
    fn get(&self) -> Option<Arc<CertifiedKey>> {
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

    /// Whether anything asked for a name.
    pub fn has(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }
}

/// How TLS is terminated.
#[derive(Clone)]
pub struct ServerTls {
    /// What the handshake is done with.
    pub config: Arc<ServerConfig>,
    /// The names of the certificates that come by SDS.
    pub secrets: Vec<Arc<str>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Compiles an xDS context.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out.
    pub fn compile(context: &DownstreamTlsContext, secrets: &mut Secrets) -> Result<Self, CompileError> {
        if context.require_client_certificate.unwrap_or(false) {
            return Err(CompileError::unsupported("require_client_certificate"));
        }
        let common = context.common_tls_context.as_ref().ok_or_else(|| CompileError::missing("common_tls_context"))?;
        let provider = provider();
        let mut names = vec![];
        let mut slots = vec![];
        for config in &common.tls_certificate_sds_secret_configs {
            names.push(Arc::from(config.name.as_str()));
            slots.push(secrets.slot(&config.name));
        }
        for certificate in &common.tls_certificates {
            let slot = SecretSlot::default();
            slot.set(Some(certified_key(certificate).map_err(|error| error.within("common_tls_context.tls_certificates"))?));
            slots.push(Arc::new(slot));
        }
        if slots.is_empty() {
            return Err(CompileError::missing("common_tls_context.tls_certificates"));
        }
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions(common)?);
        let builder = builder.map_err(|error| CompileError::new("common_tls_context.tls_params", error.to_string()))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Resolver(slots)));
        config.alpn_protocols = common.alpn_protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        Ok(Self { config: Arc::new(config), secrets: names })
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

fn versions(common: &CommonTlsContext) -> Result<Vec<&'static SupportedProtocolVersion>, CompileError> {
    let parameters = common.tls_params.as_ref();
    let number = |protocol: TlsProtocol, automatic: u8| match protocol {
        TlsProtocol::TlsAuto => automatic,
        TlsProtocol::TlSv10 => 0,
        TlsProtocol::TlSv11 => 1,
        TlsProtocol::TlSv12 => 2,
        TlsProtocol::TlSv13 => 3,
    };
    let min = parameters.map_or(2, |parameters| number(parameters.tls_minimum_protocol_version(), 2));
    let max = parameters.map_or(3, |parameters| number(parameters.tls_maximum_protocol_version(), 3));
    let known = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
    let versions: Vec<_> = known.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, version)| version).collect();
    if versions.is_empty() {
        return Err(CompileError::new(
            "common_tls_context.tls_params",
            "allows neither TLS 1.2 nor TLS 1.3, and older ones are not supported",
        ));
    }
    Ok(versions)
}

/// Gives the handshake the first certificate that is there.
#[derive(Debug)]
struct Resolver(Vec<Arc<SecretSlot>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().filter_map(|slot| slot.get()).find(usable)
    }
}

/// The certificate chain of an SDS secret.
///
/// # Errors
/// If it holds none, or one that cannot be used.
pub fn secret_key(secret: &Secret) -> Result<Arc<CertifiedKey>, CompileError> {
    match &secret.r#type {
        Some(SecretType::TlsCertificate(certificate)) => certified_key(certificate),
        _ => Err(CompileError::missing("tls_certificate")),
    }
}

fn certified_key(certificate: &TlsCertificate) -> Result<Arc<CertifiedKey>, CompileError> {
    let chain = read(certificate.certificate_chain.as_ref()).map_err(|error| error.within("certificate_chain"))?;
    let key = read(certificate.private_key.as_ref()).map_err(|error| error.within("private_key"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|error| CompileError::new("certificate_chain", error.to_string()))?;
    if chain.is_empty() {
        return Err(CompileError::new("certificate_chain", "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| CompileError::new("private_key", error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, &provider());
    key.map(Arc::new).map_err(|error| CompileError::new("private_key", error.to_string()))
}

fn read(source: Option<&DataSource>) -> Result<Vec<u8>, CompileError> {
    match source.and_then(|source| source.specifier.as_ref()) {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.to_vec()),
        Some(Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(Specifier::Filename(path)) => std::fs::read(path).map_err(|error| CompileError::new("filename", format!("{path}: {error}"))),
        Some(Specifier::EnvironmentVariable(_)) => Err(CompileError::unsupported("environment_variable")),
        None => Err(CompileError::missing("inline_bytes")),
    }
}
