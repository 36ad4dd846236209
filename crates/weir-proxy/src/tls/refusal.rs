//! Why a handshake failed, in words that people find: OpenSSL's and Envoy's, as far as they have some.

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error, InvalidMessage, OtherError};
use weir_config::tls::AltName;

/// Why the other side's certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeRefusal {
    /// Nobody who is trusted vouches for it, or no longer.
    #[error("verify cert failed: X509_verify_cert: {}", words(.0))]
    Chain(webpki::Error),
    /// It is for others than the host that was asked for.
    #[error("verify cert failed: verify SAN list, expected SANs: [{host}], certificate SANs: [{presented}]")]
    Host {
        /// The host that was asked for.
        host: Box<str>,
        /// The names that it is for.
        presented: Box<str>,
    },
    /// None of its names is one of those that are asked for.
    #[error("verify cert failed: SAN matcher, certificate SANs are [{0}]")]
    Names(Box<str>),
    /// It is none of those that are asked for, nor is its key.
    #[error("verify cert failed: cert hash and spki")]
    Hash,
    /// It must be for a host, and nobody is trusted to vouch for that.
    #[error("verify cert failed: no trusted CA for the SAN list")]
    Nobody,
    /// It cannot be read.
    #[error("verify cert failed: it cannot be read")]
    Malformed,
    /// What is asked of it has not come yet.
    #[error("Secret is not supplied by SDS: {0}")]
    Missing(Box<str>),
    /// What is asked of it is not whole.
    #[error("{0}")]
    Unusable(Box<str>),
}

impl HandshakeRefusal {
    /// As the handshake tells it.
    pub(super) fn into_error(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }

    /// Before a handshake begins.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    fn of(error: &io::Error) -> Option<&Self> {
        let source = error.get_ref()?;
        if let Some(refusal) = source.downcast_ref() {
            return Some(refusal);
        }
        match source.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
            _ => None,
        }
    }
}

/// The names of a certificate, for people.
pub(super) fn listed(names: &[AltName<'_>]) -> Box<str> {
    names.iter().map(|name| &*name.text).collect::<Vec<_>>().join(", ").into()
}

/// What of a certificate is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its chain, or its time.
    Chain,
    /// Its names.
    Names,
    /// Its hash.
    Hash,
}

/// What of the other side's certificate was at fault, where it was that.
pub fn fault(error: &io::Error) -> Option<Fault> {
    match HandshakeRefusal::of(error)? {
        HandshakeRefusal::Chain(_) | HandshakeRefusal::Nobody | HandshakeRefusal::Malformed => Some(Fault::Chain),
        HandshakeRefusal::Host { .. } | HandshakeRefusal::Names(_) => Some(Fault::Names),
        HandshakeRefusal::Hash => Some(Fault::Hash),
        HandshakeRefusal::Missing(_) | HandshakeRefusal::Unusable(_) => None,
    }
}

/// Whether TLS itself failed, and not the connection below.
pub fn is_of_tls(error: &io::Error) -> bool {
    HandshakeRefusal::of(error).is_some() || tls_error(error).is_some()
}

/// Whether a certificate is required, and none was shown.
pub fn is_without_certificate(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::NoCertificatesPresented))
}

/// Why a certificate is not accepted, for people.
pub fn words_of(error: &io::Error) -> String {
    HandshakeRefusal::of(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a handshake failed, as an access log shows it.
pub fn reason(error: &io::Error) -> String {
    match HandshakeRefusal::of(error) {
        Some(refusal @ (HandshakeRefusal::Missing(_) | HandshakeRefusal::Unusable(_))) => format!("TLS_error: {refusal}"),
        Some(refusal) => format!("TLS_error:|CERTIFICATE_VERIFY_FAILED:{refusal}:TLS_error_end"),
        None => match tls_error(error) {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "TLS_error:|WRONG_VERSION_NUMBER:what came is not TLS:TLS_error_end".to_owned()
            }
            _ => format!("TLS_error:|{error}:TLS_error_end"),
        },
    }
}

fn words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "certificate is not yet valid".to_owned(),
        webpki::Error::UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        webpki::Error::InvalidSignatureForPublicKey => "certificate signature failure".to_owned(),
        webpki::Error::CaUsedAsEndEntity => "an authority's own certificate, which is not trusted itself".to_owned(),
        webpki::Error::CertRevoked => "certificate revoked".to_owned(),
        webpki::Error::UnknownRevocationStatus => "unable to get certificate CRL".to_owned(),
        webpki::Error::CrlExpired { .. } => "CRL has expired".to_owned(),
        webpki::Error::MaximumPathDepthExceeded => "certificate chain too long".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "unsupported certificate purpose".to_owned(),
        other => other.to_string(),
    }
}
