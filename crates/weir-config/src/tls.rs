//! How a filter chain terminates TLS, as data: which certificates it asks for, and what a handshake may agree on.
//!
//! A certificate comes by SDS under a name, or stands in the listener, in full or as the name of a file. The proxy reads the
//! files and keeps what they hold; here they are only named.

use std::sync::Arc;

use bytes::Bytes;
use weir_routing::CompileError;
use weir_xds::core::DataSource;
use weir_xds::core::data_source::Specifier;
use weir_xds::tls::secret::Type as SecretType;
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{CommonTlsContext, DownstreamTlsContext, Secret, TlsCertificate};

/// How TLS is terminated.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTls {
    /// The certificates to choose from, in the order of the configuration.
    pub certificates: Vec<Certificate>,
    /// The versions that may be agreed on.
    pub versions: Versions,
    /// What is offered by ALPN, the most wanted first.
    pub alpn: Vec<Vec<u8>>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Certificate {
    /// By SDS, under this name.
    Named(Arc<str>),
    /// It stands in the configuration.
    Written(CertificateSource),
}

/// A certificate chain and its private key, both as PEM.
#[derive(Clone, PartialEq)]
pub struct CertificateSource {
    /// The chain, the server's own certificate first.
    pub chain: Source,
    /// The key.
    pub key: Source,
}

/// Nobody prints a private key.
impl std::fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateSource").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Where some bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// They stand in the configuration.
    Inline(Bytes),
    /// In this file.
    File(Box<str>),
}

/// The versions of TLS that may be agreed on. Older ones than 1.2 are not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Whether TLS 1.2 is one.
    pub tls12: bool,
    /// Whether TLS 1.3 is one.
    pub tls13: bool,
}

impl ServerTls {
    /// Compiles an xDS context.
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out.
    pub fn compile(context: &DownstreamTlsContext) -> Result<Self, CompileError> {
        if context.require_client_certificate.unwrap_or(false) {
            return Err(CompileError::unsupported("require_client_certificate"));
        }
        let common = context.common_tls_context.as_ref().ok_or_else(|| CompileError::missing("common_tls_context"))?;
        let named = common.tls_certificate_sds_secret_configs.iter().map(|config| Ok(Certificate::Named(config.name.as_str().into())));
        let written = common.tls_certificates.iter().map(|certificate| CertificateSource::compile(certificate).map(Certificate::Written));
        let certificates: Result<Vec<_>, CompileError> = named.chain(written).collect();
        let certificates = certificates.map_err(|error| error.within("common_tls_context.tls_certificates"))?;
        if certificates.is_empty() {
            return Err(CompileError::missing("common_tls_context.tls_certificates"));
        }
        let alpn = common.alpn_protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect();
        Ok(Self { certificates, versions: Versions::compile(common)?, alpn })
    }

    /// The names of the certificates that come by SDS.
    pub fn secret_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificates.iter().filter_map(|certificate| match certificate {
            Certificate::Named(name) => Some(name),
            Certificate::Written(_) => None,
        })
    }
}

impl Versions {
    fn compile(common: &CommonTlsContext) -> Result<Self, CompileError> {
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
        let allowed = min..=max;
        let versions = Self { tls12: allowed.contains(&2), tls13: allowed.contains(&3) };
        if !versions.tls12 && !versions.tls13 {
            return Err(CompileError::new(
                "common_tls_context.tls_params",
                "allows neither TLS 1.2 nor TLS 1.3, and older ones are not supported",
            ));
        }
        Ok(versions)
    }
}

impl CertificateSource {
    /// The certificate of an SDS secret.
    ///
    /// # Errors
    /// If it holds none.
    pub fn of_secret(secret: &Secret) -> Result<Self, CompileError> {
        match &secret.r#type {
            Some(SecretType::TlsCertificate(certificate)) => Self::compile(certificate),
            _ => Err(CompileError::missing("tls_certificate")),
        }
    }

    fn compile(certificate: &TlsCertificate) -> Result<Self, CompileError> {
        Ok(Self {
            chain: Source::compile(certificate.certificate_chain.as_ref()).map_err(|error| error.within("certificate_chain"))?,
            key: Source::compile(certificate.private_key.as_ref()).map_err(|error| error.within("private_key"))?,
        })
    }
}

impl Source {
    fn compile(source: Option<&DataSource>) -> Result<Self, CompileError> {
        match source.and_then(|source| source.specifier.as_ref()) {
            Some(Specifier::InlineBytes(bytes)) => Ok(Self::Inline(bytes.clone())),
            Some(Specifier::InlineString(text)) => Ok(Self::Inline(Bytes::copy_from_slice(text.as_bytes()))),
            Some(Specifier::Filename(path)) => Ok(Self::File(path.as_str().into())),
            Some(Specifier::EnvironmentVariable(_)) => Err(CompileError::unsupported("environment_variable")),
            None => Err(CompileError::missing("inline_bytes")),
        }
    }
}
