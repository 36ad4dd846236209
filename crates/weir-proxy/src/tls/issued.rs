//! What an issuer writes into a certificate besides its names and key, for those who are told of it.

use super::subject;
use super::x509::{Element, Reader, SEQUENCE};

/// `[0]` of a `TBSCertificate`: its version.
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What an issuer writes into a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Issued {
    /// The serial number, without leading zeros.
    pub serial: Vec<u8>,
    /// Who the issuer is, as RFC 2253 writes it.
    pub issuer: String,
    /// From when it holds, in seconds since 1970.
    pub not_before: i64,
    /// Until when it holds.
    pub not_after: i64,
}

/// Reads a certificate; none if it is none.
pub fn read(der: &[u8]) -> Option<Issued> {
    let mut fields = Reader(Reader(Reader(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let mut serial = fields.next()?;
    if serial.tag == VERSION {
        serial = fields.next()?;
    }
    let digits = (serial.tag == INTEGER).then_some(serial.content)?;
    let start = digits.iter().position(|byte| *byte != 0).unwrap_or(digits.len());
    // The signature's algorithm.
    fields.next()?;
    let issuer = subject::text(fields.expect(SEQUENCE)?)?;
    let mut times = Reader(fields.expect(SEQUENCE)?);
    let (not_before, not_after) = (seconds(&times.next()?)?, seconds(&times.next()?)?);
    Some(Issued { serial: digits.get(start..)?.to_vec(), issuer, not_before, not_after })
}

/// A time, which is always in UTC (RFC 5280, 4.1.2.5).
pub(super) fn seconds(time: &Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    let text = match (time.tag, text.len()) {
        (UTC_TIME, 12) if text.get(..2)? < "50" => format!("20{text}"),
        (UTC_TIME, 12) => format!("19{text}"),
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    #[test]
    fn what_an_issuer_writes_is_found() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.serial_number = Some(SerialNumber::from_slice(&[0x80, 1, 0xff]));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 2), date_time_ymd(2061, 1, 1));
        let written = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected =
            Issued { serial: vec![0x80, 1, 0xff], issuer: "CN=root".to_owned(), not_before: 1_577_923_200, not_after: 2_871_763_200 };
        assert_eq!(read(written.der()), Some(expected));
        assert_eq!(read(&written.der()[..50]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
