//! The name in a certificate, as text (RFC 2253), in the form that OpenSSL and Envoy give it.

use std::fmt::Write;

use super::x509::{Element, OBJECT_IDENTIFIER, Reader, SEQUENCE};

const SET: u8 = 0x31;

/// What attributes are called, by their object identifiers.
const NAMES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 13], "description"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 41], "name"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// The text of a `Name`, the most particular part first; none if it is malformed.
pub(super) fn text(name: &[u8]) -> Option<String> {
    let mut parts = vec![];
    let mut sets = Reader(name);
    while let Some(Element { tag, content, .. }) = sets.next() {
        let mut attributes = (tag == SET).then_some(Reader(content))?;
        let mut of_set = vec![];
        while let Some(attribute) = attributes.next() {
            let mut fields = (attribute.tag == SEQUENCE).then_some(Reader(attribute.content))?;
            let (kind, value) = (fields.expect(OBJECT_IDENTIFIER)?, fields.next()?);
            of_set.push(of_attribute(kind, &value)?);
        }
        of_set.reverse();
        parts.push(of_set.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// An attribute that nobody has a name for is written as it stands.
fn of_attribute(kind: &[u8], value: &Element<'_>) -> Option<String> {
    let known = NAMES.iter().find(|(identifier, _)| *identifier == kind).map(|(_, name)| *name);
    match known.zip(characters(value)) {
        Some((name, text)) => Some(format!("{name}={}", escaped(&text))),
        None => {
            let mut text = known.map_or_else(|| dotted(kind), |name| Some(name.to_owned()))?;
            text.push_str("=#");
            value.whole.iter().try_for_each(|byte| write!(text, "{byte:02X}")).ok()?;
            Some(text)
        }
    }
}

/// The text of a string of DER; none if it is of no known kind.
fn characters(value: &Element<'_>) -> Option<String> {
    let bytes = value.content;
    match value.tag {
        0x0c => String::from_utf8(bytes.to_vec()).ok(),
        // Numeric, printable, T61, IA5 and visible strings: each byte a character.
        0x12 | 0x13 | 0x14 | 0x16 | 0x1a => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        0x1e => {
            let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// Characters that mean something in such a text, or that are no plain ASCII, are escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            0x20..=0x7e => out.push(char::from(byte)),
            // Writing to a text does not fail.
            other => drop(write!(out, "\\{other:02X}")),
        }
    }
    out
}

/// An object identifier in numbers.
fn dotted(bytes: &[u8]) -> Option<String> {
    let (mut numbers, mut number) = (vec![], 0_u64);
    for byte in bytes {
        number = number.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let (first, rest) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let all = [top, first - top * 40].into_iter().chain(rest.iter().copied());
    Some(all.map(|number| number.to_string()).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::super::x509::Certificate;
    use super::*;

    /// The text of a name of these attributes.
    fn subject(attributes: &[(DnType, DnValue)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let written = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        text(Certificate::read(written.der()).unwrap().subject).unwrap()
    }

    #[test]
    fn the_most_particular_part_comes_first() {
        let of = |text: &str| DnValue::Utf8String(text.to_owned());
        assert_eq!(subject(&[]), "");
        assert_eq!(subject(&[(DnType::OrganizationName, of("test")), (DnType::CommonName, of("admin"))]), "CN=admin,O=test");
        let odd = [(DnType::CommonName, of(" #a, b=\"c\";ü ")), (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()))];
        assert_eq!(subject(&odd), r#"C=DE,CN=\ #a\, b=\"c\"\;\C3\BC\ "#);
        assert_eq!(subject(&[(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999]), of("x"))]), "1.3.6.1.4.1.99999=#0C0178");
        assert_eq!(subject(&[(DnType::CommonName, of("#a"))]), r"CN=\#a");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = text(&bytes);
        }
    }
}
