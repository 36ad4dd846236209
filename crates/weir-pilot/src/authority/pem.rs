//! Certificates as PEM.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::AuthorityError;

/// How a list of what was revoked begins.
pub(super) const LIST: &str = "-----BEGIN X509 CRL-----";

/// The certificates of a text, of which there must be one at least.
pub(super) fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let wrong = |reason: String| AuthorityError::Unusable(path.to_owned(), reason);
    let all: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if all.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(all) }
}

/// The lists of a text that say what was revoked; there may be none.
pub(super) fn revocation_lists(text: &[u8], path: &Path) -> Result<Vec<CertRevocationList<'static>>, AuthorityError> {
    let wrong = |reason: String| AuthorityError::Unusable(path.to_owned(), reason);
    let all: Vec<_> =
        CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if all.is_empty() && !text.trim_ascii().is_empty() {
        return Err(wrong("holds no list of what was revoked".to_owned()));
    }
    let read = |list: &CertificateRevocationListDer<'_>| OwnedCertRevocationList::from_der(list).map(CertRevocationList::from);
    all.iter().map(read).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))
}

/// A certificate's text.
pub(super) fn text(certificate: &CertificateDer<'_>) -> String {
    let encoded = STANDARD.encode(certificate);
    let lines = encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// When a certificate ends.
pub(super) fn end(certificate: &CertificateDer<'_>, path: &Path) -> Result<SystemTime, AuthorityError> {
    let wrong = |reason: String| AuthorityError::Unusable(path.to_owned(), reason);
    let (_, read) = x509_parser::parse_x509_certificate(certificate).map_err(|error| wrong(error.to_string()))?;
    let end = u64::try_from(read.validity().not_after.timestamp()).map_err(|_| wrong("ended before 1970".to_owned()))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}
