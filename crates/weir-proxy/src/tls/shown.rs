//! What the other side of a handshake has shown of itself, for those who are told of it.

use rustls::pki_types::CertificateDer;
use weir_config::http::client_certificate::ShownCertificate;
use weir_config::tls::NameKind;

use super::subject;
use super::trust::sha256;
use super::x509::Certificate;

/// Reads the certificates of the other side, its own first; none if that is malformed. `own_uris` are those of the one that it was shown.
pub fn read(chain: &[CertificateDer<'_>], own_uris: &[String], is_validated: bool) -> Option<ShownCertificate> {
    let leaf = chain.first()?;
    let certificate = Certificate::read(leaf)?;
    Some(ShownCertificate {
        hash: sha256(leaf).to_vec(),
        chain: chain.iter().map(|one| one.to_vec()).collect(),
        subject: subject::text(certificate.subject)?,
        uris: names(&certificate, NameKind::Uri),
        dns: names(&certificate, NameKind::Dns),
        own_uris: own_uris.to_vec(),
        is_validated,
    })
}

/// The names of a certificate that are URIs.
pub fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    Certificate::read(certificate).map(|certificate| names(&certificate, NameKind::Uri)).unwrap_or_default()
}

fn names(certificate: &Certificate<'_>, kind: NameKind) -> Vec<String> {
    certificate.names.iter().filter(|name| name.kind == kind).map(|name| name.text.to_string()).collect()
}
