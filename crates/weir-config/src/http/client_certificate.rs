//! `x-forwarded-client-cert`: what instances are told of the certificate that a client has shown
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_http1::HeaderValue;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails};

/// So long are the lines of PEM.
const LINE: usize = 64;

/// What a client has shown of itself in its TLS handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of its own certificate.
    pub hash: Vec<u8>,
    /// Its certificates as DER, its own first.
    pub chain: Vec<Vec<u8>>,
    /// Whose it is, as RFC 2253 writes it; may be empty.
    pub subject: String,
    /// Its alternative names that are URIs.
    pub uris: Vec<String>,
    /// Its alternative names of DNS.
    pub dns: Vec<String>,
    /// The URIs of the certificate that the client was shown.
    pub own_uris: Vec<String>,
    /// Whether it holds. Where certificates are taken that do not, all of this is but what the client says.
    pub is_validated: bool,
}

impl ShownCertificate {
    /// Its own certificate as PEM, written as it can stand in a URL.
    pub fn as_text(&self) -> Option<String> {
        self.chain.first().map(|own| encoded(own))
    }
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedClientCert {
    /// It is taken away.
    Remove,
    /// It passes, whoever says it.
    Keep,
    /// It passes if the client has shown a certificate.
    KeepIfShown,
    /// The same, and what is told of this client stands behind it.
    Append(Told),
    /// What is told of this client takes its place.
    Replace(Told),
}

/// What is told of a certificate besides its hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    cert: bool,
    chain: bool,
    subject: bool,
    uri: bool,
    dns: bool,
}

impl ForwardedClientCert {
    pub(crate) fn compile(manager: &HttpConnectionManager) -> Self {
        let told = manager.set_current_client_cert_details.as_ref().map(Told::compile).unwrap_or_default();
        match manager.forward_client_cert_details() {
            ForwardClientCertDetails::Sanitize => Self::Remove,
            ForwardClientCertDetails::ForwardOnly => Self::KeepIfShown,
            ForwardClientCertDetails::AppendForward => Self::Append(told),
            ForwardClientCertDetails::SanitizeSet => Self::Replace(told),
            ForwardClientCertDetails::AlwaysForwardOnly => Self::Keep,
        }
    }

    /// What is told of a certificate; none if nothing is, or if it holds what no header can.
    pub(crate) fn element(self, shown: &ShownCertificate) -> Option<HeaderValue> {
        match self {
            Self::Append(told) | Self::Replace(told) => HeaderValue::from_str(&told.element(shown)).ok(),
            Self::Remove | Self::Keep | Self::KeepIfShown => None,
        }
    }
}

impl Told {
    fn compile(details: &SetCurrentClientCertDetails) -> Self {
        let SetCurrentClientCertDetails {
            subject,
            cert,
            chain,
            dns,
            uri,
            // Reported.
            issuer: _,
            format: _,
        } = details;
        Self { cert: *cert, chain: *chain, subject: *subject == Some(true), uri: *uri, dns: *dns }
    }

    /// Its parts in the order in which Envoy has them.
    fn element(self, shown: &ShownCertificate) -> String {
        let ShownCertificate { hash, chain, subject, uris, dns, own_uris, is_validated: _ } = shown;
        let mut parts: Vec<String> = own_uris.iter().map(|uri| format!("By={uri}")).collect();
        parts.push(format!("Hash={}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
        if self.cert {
            parts.extend(chain.first().map(|own| format!("Cert=\"{}\"", encoded(own))));
        }
        if self.chain {
            parts.push(format!("Chain=\"{}\"", chain.iter().map(|one| encoded(one)).collect::<String>()));
        }
        if self.subject {
            parts.push(format!("Subject=\"{subject}\""));
        }
        if self.uri {
            parts.extend(uris.iter().map(|uri| format!("URI={uri}")));
            if uris.is_empty() {
                parts.push("URI=".to_owned());
            }
        }
        if self.dns {
            parts.extend(dns.iter().map(|name| format!("DNS={name}")));
        }
        parts.join(";")
    }
}

/// A certificate as PEM, written as it can stand in a URL.
fn encoded(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in base64.as_bytes().chunks(LINE) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut url = String::with_capacity(pem.len() * 2);
    for char in pem.chars() {
        match char {
            '\n' => url.push_str("%0A"),
            ' ' => url.push_str("%20"),
            '+' => url.push_str("%2B"),
            '/' => url.push_str("%2F"),
            '=' => url.push_str("%3D"),
            other => url.push(other),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> ShownCertificate {
        ShownCertificate {
            hash: vec![0xab, 1],
            chain: vec![vec![0xfb; 3], vec![1]],
            subject: "CN=a,O=\\\"b".to_owned(),
            uris: vec!["spiffe://a".to_owned(), "spiffe://b".to_owned()],
            dns: vec!["a.test".to_owned()],
            own_uris: vec!["spiffe://own".to_owned()],
            is_validated: true,
        }
    }

    const CERT: &str = "-----BEGIN%20CERTIFICATE-----%0A%2B%2Fv7%0A-----END%20CERTIFICATE-----%0A";
    const OTHER: &str = "-----BEGIN%20CERTIFICATE-----%0AAQ%3D%3D%0A-----END%20CERTIFICATE-----%0A";

    #[test]
    fn an_element_has_the_parts_that_are_asked_for() {
        let nothing = Told::default();
        let all = Told { cert: true, chain: true, subject: true, uri: true, dns: true };
        assert_eq!(nothing.element(&shown()), "By=spiffe://own;Hash=ab01");
        assert_eq!(
            all.element(&shown()),
            format!(
                "By=spiffe://own;Hash=ab01;Cert=\"{CERT}\";Chain=\"{CERT}{OTHER}\";Subject=\"CN=a,O=\\\"b\";URI=spiffe://a;URI=spiffe://b;DNS=a.test"
            )
        );
        // A name that is not there is told of all the same; one of DNS is not.
        let nameless = ShownCertificate { hash: vec![1], ..ShownCertificate::default() };
        assert_eq!(Told { cert: false, chain: false, ..all }.element(&nameless), "Hash=01;Subject=\"\";URI=");
    }

    #[test]
    fn lines_of_a_certificate_are_no_longer_than_others_read() {
        let lines = encoded(&[7; 100]);
        let lines: Vec<&str> = lines.split("%0A").collect();
        assert_eq!(lines.iter().map(|line| line.replace("%3D", "=").len()).collect::<Vec<_>>(), [29, 64, 64, 8, 27, 0]);
    }
}
