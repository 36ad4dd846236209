//! Where certificates, keys and authorities come from.

use std::sync::Arc;

use bytes::Bytes;
use weir_routing::CompileError;
use weir_xds::core::DataSource;
use weir_xds::core::data_source::Specifier;
use weir_xds::tls::secret::Type as SecretType;
use weir_xds::tls::{SdsSecretConfig, Secret, TlsCertificate};

use super::validation::Validation;

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Certificate {
    /// By SDS, under this name.
    Named(Arc<str>),
    /// It stands in the configuration.
    Written(CertificateSource),
}

/// A certificate chain and its private key, both as PEM, and what is said of it to clients.
#[derive(Clone, PartialEq)]
pub struct CertificateSource {
    /// The chain, the owner's certificate first.
    pub chain: Material,
    /// The key.
    pub key: Material,
    /// What an authority says of the certificate, as an answer of OCSP; shown with it.
    pub staple: Option<Material>,
}

/// Nobody prints a private key.
impl std::fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateSource").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Where some bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum Material {
    /// They stand in the configuration.
    Inline(Bytes),
    /// In this file.
    File(Box<str>),
}

/// What an SDS secret holds, of what a handshake needs.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// A certificate with its key.
    Certificate(CertificateSource),
    /// What is asked of the other side's certificate; or a part of it, that is completed by what the context itself says.
    Validation(Box<Validation>),
}

impl Certificate {
    /// The name of a certificate that comes by SDS.
    pub(super) fn named(config: &SdsSecretConfig) -> Result<Self, CompileError> {
        secret_name(config).map(Self::Named)
    }

    pub(super) fn written(certificate: &TlsCertificate) -> Result<Self, CompileError> {
        CertificateSource::compile(certificate).map(Self::Written)
    }

    /// Its name, if it comes by SDS.
    pub fn secret_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Named(name) => Some(name),
            Self::Written(_) => None,
        }
    }
}

/// The name of a secret. Whatever source it names, it is asked for on the stream that the rest comes by.
pub(super) fn secret_name(config: &SdsSecretConfig) -> Result<Arc<str>, CompileError> {
    let SdsSecretConfig { name, sds_config: _ } = config;
    if name.is_empty() { Err(CompileError::missing("name")) } else { Ok(name.as_str().into()) }
}

impl SecretSource {
    /// What a secret holds.
    ///
    /// # Errors
    /// If that is nothing that a handshake needs, or not valid.
    pub fn compile(secret: &Secret) -> Result<Self, CompileError> {
        let Secret { name: _, r#type } = secret;
        match r#type {
            Some(SecretType::TlsCertificate(certificate)) => CertificateSource::compile(certificate).map(Self::Certificate),
            Some(SecretType::ValidationContext(context)) => {
                Validation::compile(context).map(|validation| Self::Validation(Box::new(validation)))
            }
            Some(SecretType::SessionTicketKeys(_)) => Err(CompileError::unsupported("session_ticket_keys")),
            Some(SecretType::GenericSecret(_)) => Err(CompileError::unsupported("generic_secret")),
            None => Err(CompileError::missing("tls_certificate")),
        }
    }
}

impl CertificateSource {
    fn compile(certificate: &TlsCertificate) -> Result<Self, CompileError> {
        let TlsCertificate {
            certificate_chain,
            private_key,
            pkcs12,
            private_key_provider,
            password,
            // Reported, see `unsupported`.
            watched_directory: _,
            ocsp_staple,
            signed_certificate_timestamp: _,
            // Envoy does not carry it out either.
            tls_params: _,
        } = certificate;
        let refused =
            [("pkcs12", pkcs12.is_some()), ("private_key_provider", private_key_provider.is_some()), ("password", password.is_some())];
        if let Some((field, _)) = refused.into_iter().find(|(_, is_set)| *is_set) {
            return Err(CompileError::unsupported(field));
        }
        Ok(Self {
            chain: Material::needed(certificate_chain.as_ref(), "certificate_chain")?,
            key: Material::needed(private_key.as_ref(), "private_key")?,
            staple: Material::compile(ocsp_staple.as_ref()).map_err(|error| error.within("ocsp_staple"))?,
        })
    }
}

impl Material {
    fn needed(source: Option<&DataSource>, field: &str) -> Result<Self, CompileError> {
        Self::compile(source)
            .and_then(|source| source.ok_or_else(|| CompileError::missing("inline_bytes")))
            .map_err(|error| error.within(field))
    }

    /// Where bytes are; none if nothing is said.
    pub(super) fn compile(source: Option<&DataSource>) -> Result<Option<Self>, CompileError> {
        let Some(DataSource { watched_directory: _, specifier }) = source else { return Ok(None) };
        Ok(match specifier {
            Some(Specifier::InlineBytes(bytes)) => Some(Self::Inline(bytes.clone())),
            Some(Specifier::InlineString(text)) => Some(Self::Inline(Bytes::copy_from_slice(text.as_bytes()))),
            Some(Specifier::Filename(path)) => Some(Self::File(path.as_str().into())),
            Some(Specifier::EnvironmentVariable(_)) => return Err(CompileError::unsupported("environment_variable")),
            None => None,
        })
    }
}
