//! A client's TLS, and the certificate that it has shown, for scripts.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlua::{UserData, UserDataMethods};
use weir_config::http::client_certificate::ShownCertificate;

use super::stream::{Life, Stream};
use crate::tls::issued::{self, Issued};

/// `connection():ssl()`.
pub(super) struct SslConnection(pub(super) Life);

/// `parsedSubjectPeerCertificate()`.
struct ParsedName {
    life: Life,
    subject: String,
}

impl SslConnection {
    /// Something of the certificate; where none was shown, what Envoy says then.
    fn shown<T: Default>(&self, look: impl FnOnce(&ShownCertificate) -> T) -> mlua::Result<T> {
        let stream: Rc<Stream> = self.0.stream()?;
        Ok(stream.exchange.connection.certificate().map(look).unwrap_or_default())
    }

    /// Something of what its issuer wrote into it.
    fn issued<T: Default>(&self, look: impl FnOnce(&Issued) -> T) -> mlua::Result<T> {
        self.shown(|shown| shown.chain.first().and_then(|own| issued::read(own)).as_ref().map(look).unwrap_or_default())
    }
}

/// PEM, escaped as Envoy escapes it.
fn escaped_pem(certificates: &[Vec<u8>]) -> String {
    let mut out = String::new();
    for certificate in certificates {
        let text = STANDARD.encode(certificate);
        out.push_str("-----BEGIN%20CERTIFICATE-----%0A");
        let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
        for line in lines {
            out.push_str(&line.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
            out.push_str("%0A");
        }
        out.push_str("-----END%20CERTIFICATE-----%0A");
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl UserData for SslConnection {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("peerCertificatePresented", |_, this, ()| this.shown(|_| true));
        methods.add_method("peerCertificateValidated", |_, this, ()| this.shown(|shown| shown.is_validated));
        methods.add_method("uriSanLocalCertificate", |_, this, ()| this.shown(|shown| shown.own_uris.clone()));
        methods.add_method("uriSanPeerCertificate", |_, this, ()| this.shown(|shown| shown.uris.clone()));
        methods.add_method("dnsSansPeerCertificate", |_, this, ()| this.shown(|shown| shown.dns.clone()));
        methods.add_method("subjectPeerCertificate", |_, this, ()| this.shown(|shown| shown.subject.clone()));
        methods.add_method("sha256PeerCertificateDigest", |_, this, ()| this.shown(|shown| hex(&shown.hash)));
        methods.add_method("urlEncodedPemEncodedPeerCertificate", |_, this, ()| {
            this.shown(|shown| escaped_pem(shown.chain.get(..1).unwrap_or_default()))
        });
        methods.add_method("urlEncodedPemEncodedPeerCertificateChain", |_, this, ()| this.shown(|shown| escaped_pem(&shown.chain)));
        methods.add_method("parsedSubjectPeerCertificate", |_, this, ()| {
            let subject = this.shown(|shown| Some(shown.subject.clone()))?;
            Ok(subject.map(|subject| ParsedName { life: this.0.clone(), subject }))
        });
        methods.add_method("serialNumberPeerCertificate", |_, this, ()| this.issued(|issued| hex(&issued.serial)));
        methods.add_method("issuerPeerCertificate", |_, this, ()| this.issued(|issued| issued.issuer.clone()));
        methods.add_method("validFromPeerCertificate", |_, this, ()| this.issued(|issued| issued.not_before));
        methods.add_method("expirationPeerCertificate", |_, this, ()| this.issued(|issued| issued.not_after));
        methods.add_method("tlsVersion", |_, this, ()| Ok(this.0.stream()?.exchange.connection.tls_version.unwrap_or_default()));
        // Of these nothing is kept: what Envoy says where it knows nothing.
        for name in ["subjectLocalCertificate", "sessionId", "ciphersuiteString"] {
            methods.add_method(name, |_, this, ()| this.0.stream().map(|_| ""));
        }
        for name in ["dnsSansLocalCertificate", "oidsPeerCertificate", "oidsLocalCertificate"] {
            methods.add_method(name, |_, this, ()| this.0.stream().map(|_| Vec::<String>::new()));
        }
        methods.add_method("ciphersuiteId", |_, this, ()| this.0.stream().map(|_| "0xffff"));
    }
}

impl ParsedName {
    /// The values of an attribute. What is escaped in them is written in hexadecimal digits or behind a `\`.
    fn values(&self, attribute: &str) -> Vec<String> {
        let mut values = vec![];
        let (mut part, mut is_escaped) = (String::new(), false);
        for character in self.subject.chars().chain([',']) {
            if matches!(character, ',' | '+') && !is_escaped {
                let value = part.strip_prefix(attribute).and_then(|rest| rest.strip_prefix('='));
                values.extend(value.map(unescaped));
                part.clear();
            } else {
                part.push(character);
            }
            is_escaped = character == '\\' && !is_escaped;
        }
        values
    }
}

fn unescaped(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = vec![];
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(first) = bytes.next() else { break };
        match char::from(first).to_digit(16) {
            Some(high) => {
                let low = bytes.next().and_then(|low| char::from(low).to_digit(16)).unwrap_or_default();
                out.push((high * 16 + low) as u8);
            }
            None => out.push(first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl UserData for ParsedName {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("commonName", |_, this, ()| {
            this.life.stream()?;
            Ok(this.values("CN").into_iter().next().unwrap_or_default())
        });
        methods.add_method("organizationName", |_, this, ()| {
            this.life.stream()?;
            Ok(this.values("O"))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_a_name_are_found_in_its_text() {
        let stream = std::rc::Weak::new();
        let name = |subject: &str| ParsedName { life: Life::of_nothing(stream.clone()), subject: subject.to_owned() };
        let cases = [
            ("CN=admin,O=test", "CN", vec!["admin"]),
            ("CN=admin,O=a+O=b", "O", vec!["a", "b"]),
            (r"C=DE,CN=\ #a\, b=\C3\BC", "CN", vec![" #a, b=ü"]),
            (r"O=x\\,CN=y", "CN", vec!["y"]),
            ("", "CN", vec![]),
            ("OU=o", "O", vec![]),
        ];
        for (subject, attribute, expected) in cases {
            assert_eq!(name(subject).values(attribute), expected, "{subject}");
        }
    }

    #[test]
    fn pem_is_escaped() {
        let text = escaped_pem(&[vec![0xff; 49]]);
        assert!(text.starts_with("-----BEGIN%20CERTIFICATE-----%0A%2F%2F") && text.contains("%3D%3D%0A-----END"), "{text}");
    }
}
