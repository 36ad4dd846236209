//! What is asked of a certificate beyond its chain: the names that it is for, and its key. As much of DER as that takes (ITU-T
//! X.690; RFC 5280, 4.1 and 4.2.1.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_config::tls::{AltName, NameKind};

pub(super) const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]` of a `TBSCertificate`: its version.
const VERSION: u8 = 0xa0;
/// `[3]` of a `TBSCertificate`: its extensions.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What is read of a certificate.
#[derive(Debug)]
pub(super) struct Certificate<'c> {
    /// Its key, as a whole `SubjectPublicKeyInfo`.
    pub key: &'c [u8],
    /// Whose it is: a `Name`, without its tag and length.
    pub subject: &'c [u8],
    /// The names that it is for.
    pub names: Vec<AltName<'c>>,
}

impl<'c> Certificate<'c> {
    /// Reads a certificate; none if it is none.
    pub(super) fn read(der: &'c [u8]) -> Option<Self> {
        let mut fields = Reader(Reader(Reader(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
        let first = fields.next()?;
        if first.tag == VERSION {
            // The serial number.
            fields.next()?;
        }
        // The signature's algorithm, the issuer, the validity.
        for _ in 0..3 {
            fields.next()?;
        }
        let subject = fields.expect(SEQUENCE)?;
        let key = fields.next().filter(|key| key.tag == SEQUENCE)?.whole;
        let mut names = vec![];
        while let Some(field) = fields.next() {
            if field.tag == EXTENSIONS {
                names = alt_names(Reader(field.content).expect(SEQUENCE)?)?;
            }
        }
        Some(Self { key, subject, names })
    }
}

/// The subject's alternative names, among all extensions.
fn alt_names(extensions: &[u8]) -> Option<Vec<AltName<'_>>> {
    let mut extensions = Reader(extensions);
    while let Some(extension) = extensions.next() {
        let mut parts = Reader(extension.content);
        if parts.expect(OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        // Whether it is critical may stand before its value.
        while let Some(part) = parts.next() {
            if part.tag == OCTET_STRING {
                return Some(general_names(Reader(part.content).expect(SEQUENCE)?));
            }
        }
    }
    Some(vec![])
}

/// The names of those sorts that can be asked for.
fn general_names(names: &[u8]) -> Vec<AltName<'_>> {
    let mut names = Reader(names);
    let mut found = vec![];
    while let Some(Element { tag, content, .. }) = names.next() {
        let text = |kind| Some(AltName { kind, text: std::str::from_utf8(content).ok()?.into() });
        found.extend(match tag {
            0x81 => text(NameKind::Email),
            0x82 => text(NameKind::Dns),
            0x86 => text(NameKind::Uri),
            0x87 => address(content).map(|text| AltName { kind: NameKind::Ip, text: text.into() }),
            _ => None,
        });
    }
    found
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
}

/// Elements of DER, one after the other.
pub(super) struct Reader<'d>(pub(super) &'d [u8]);

/// One of them.
pub(super) struct Element<'d> {
    pub(super) tag: u8,
    pub(super) content: &'d [u8],
    /// With its tag and length.
    pub(super) whole: &'d [u8],
}

impl<'d> Reader<'d> {
    /// The next one; none at the end, or where what follows is none.
    pub(super) fn next(&mut self) -> Option<Element<'d>> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, after) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // No certificate is longer than a length of four bytes can say.
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), after)
            }
            _ => return None,
        };
        let (content, next) = after.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - next.len())?;
        self.0 = next;
        Some(Element { tag: *tag, content, whole })
    }

    /// The content of the next one, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|element| element.tag == tag).map(|element| element.content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SanType};

    use super::*;

    #[test]
    fn names_and_key_are_found() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::URI("spiffe://td/ns/a/sa/b".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
        ]);
        let key = KeyPair::generate().unwrap();
        let written = params.self_signed(&key).unwrap();
        let read = Certificate::read(written.der()).unwrap();
        let names: Vec<(NameKind, &str)> = read.names.iter().map(|name| (name.kind, &*name.text)).collect();
        let expected = [
            (NameKind::Dns, "a.example"),
            (NameKind::Uri, "spiffe://td/ns/a/sa/b"),
            (NameKind::Ip, "192.0.2.1"),
            (NameKind::Ip, "2001:db8::1"),
            (NameKind::Email, "a@b.example"),
        ];
        assert_eq!(names, expected);
        assert_eq!(read.key, key.subject_public_key_info());
    }

    #[test]
    fn a_certificate_without_names_has_none() {
        let written = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Certificate::read(written.der()).unwrap().names, []);
        assert!(Certificate::read(&written.der()[..100]).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&bytes);
        }
    }
}
