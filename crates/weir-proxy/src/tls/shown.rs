//! What a client has shown of itself, for those who are told of it.

use rustls::pki_types::CertificateDer;
use weir_config::http::client_certificate::ShownCertificate;
use weir_config::tls::NameKind;

use super::subject;
use super::trust::sha256;
use super::x509::Certificate;

/// Reads the certificates of a client, its own first; none if that is malformed. `own` is the one that it was shown.
pub fn read(chain: &[CertificateDer<'_>], own: Option<&CertificateDer<'_>>, is_validated: bool) -> Option<ShownCertificate> {
    let leaf = chain.first()?;
    let certificate = Certificate::read(leaf)?;
    Some(ShownCertificate {
        hash: sha256(leaf).to_vec(),
        chain: chain.iter().map(|one| one.to_vec()).collect(),
        subject: subject::text(certificate.subject)?,
        uris: names(&certificate, NameKind::Uri),
        dns: names(&certificate, NameKind::Dns),
        own_uris: own.and_then(|own| Certificate::read(own)).map(|own| names(&own, NameKind::Uri)).unwrap_or_default(),
        is_validated,
    })
}

fn names(certificate: &Certificate<'_>, kind: NameKind) -> Vec<String> {
    certificate.names.iter().filter(|name| name.kind == kind).map(|name| name.text.to_string()).collect()
}
