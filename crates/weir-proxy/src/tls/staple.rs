//! What an authority says of a certificate that is shown with it (OCSP, RFC 6960): as much as tells whether it is about that
//! certificate, and until when it may be shown. Whether it is true, clients look themselves.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::issued::{self, seconds};
use super::x509::{Element, OBJECT_IDENTIFIER, Reader, SEQUENCE};

const ENUMERATED: u8 = 0x0a;
const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
/// `[0]` of several messages.
const FIRST: u8 = 0xa0;

/// Why a staple is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StapleError {
    #[error("is no answer of OCSP")]
    Malformed,
    #[error("is an answer without success")]
    Unsuccessful,
    #[error("is about another certificate")]
    Foreign,
}

/// What an answer says of one certificate.
struct Answer<'a> {
    serial: &'a [u8],
    /// In seconds since 1970; none where it says nothing of it.
    until: Option<i64>,
}

/// Until when an answer about a certificate may be shown, in seconds since 1970. One that does not say it is out of date at once, as
/// with Envoy.
///
/// # Errors
/// If it is not about that certificate.
pub(super) fn valid_until(staple: &[u8], certificate: &[u8]) -> Result<i64, StapleError> {
    let answers = answers(staple)?;
    let serial = issued::read(certificate).ok_or(StapleError::Malformed)?.serial;
    match answers.as_slice() {
        [only] if *only.serial == *serial => Ok(only.until.unwrap_or(i64::MIN)),
        _ => Err(StapleError::Foreign),
    }
}

/// Whether what is said of a certificate may be shown now, if anything is.
pub(super) fn is_current(key: &CertifiedKey) -> bool {
    let (Some(staple), Some(own)) = (&key.ocsp, key.cert.first()) else { return true };
    valid_until(staple, own).is_ok_and(|until| until > jiff::Timestamp::now().as_second())
}

/// The same certificate, without what is out of date.
pub(super) fn without_outdated(key: Arc<CertifiedKey>) -> Arc<CertifiedKey> {
    if is_current(&key) {
        return key;
    }
    Arc::new(CertifiedKey { cert: key.cert.clone(), key: key.key.clone(), ocsp: None })
}

fn answers(staple: &[u8]) -> Result<Vec<Answer<'_>>, StapleError> {
    let mut response = Reader(Reader(staple).expect(SEQUENCE).ok_or(StapleError::Malformed)?);
    if response.expect(ENUMERATED).ok_or(StapleError::Malformed)? != [0] {
        return Err(StapleError::Unsuccessful);
    }
    response.expect(FIRST).and_then(basic).ok_or(StapleError::Malformed)
}

/// Of `ResponseBytes` to its `SingleResponse`s.
fn basic(bytes: &[u8]) -> Option<Vec<Answer<'_>>> {
    let mut bytes = Reader(Reader(bytes).expect(SEQUENCE)?);
    bytes.expect(OBJECT_IDENTIFIER)?;
    let signed = Reader(bytes.expect(OCTET_STRING)?).expect(SEQUENCE)?;
    let mut data = Reader(Reader(signed).expect(SEQUENCE)?);
    // The version, if it is said; who answers; when.
    let first = data.next()?;
    if first.tag == FIRST {
        data.next()?;
    }
    data.next()?;
    let mut responses = Reader(data.expect(SEQUENCE)?);
    let mut answers = vec![];
    while let Some(response) = responses.next() {
        answers.push(single(&response)?);
    }
    Some(answers)
}

fn single<'a>(response: &Element<'a>) -> Option<Answer<'a>> {
    let mut fields = Reader(response.content);
    let mut certificate = Reader(fields.expect(SEQUENCE)?);
    // How names are hashed, and the hashes of the issuer's.
    for _ in 0..3 {
        certificate.next()?;
    }
    let serial = certificate.expect(INTEGER)?;
    // What is said of it, and when.
    fields.next()?;
    fields.next()?;
    let until = match fields.next() {
        Some(Element { tag: FIRST, content, .. }) => Some(seconds(&Reader(content).next()?)?),
        _ => None,
    };
    let start = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
    Some(Answer { serial: serial.get(start..)?, until })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SerialNumber};

    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]][..], &content].concat()
    }

    /// An answer about the certificate of a number.
    fn staple(status: u8, serial: &[u8], until: Option<&str>) -> Vec<u8> {
        let time = |text: &str| der(0x18, &[text.as_bytes()]);
        let algorithm = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[&[0x2b, 0x0e, 3, 2, 0x1a]])]);
        let hash = der(OCTET_STRING, &[&[1; 20]]);
        let certificate = der(SEQUENCE, &[&algorithm, &hash, &hash, &der(INTEGER, &[serial])]);
        let until = until.map(|until| der(FIRST, &[&time(until)])).unwrap_or_default();
        let single = der(SEQUENCE, &[&certificate, &[0x80, 0], &time("20260101000000Z"), &until]);
        let data = der(SEQUENCE, &[&der(0xa2, &[&hash]), &time("20260101000000Z"), &der(SEQUENCE, &[&single])]);
        let signed = der(SEQUENCE, &[&data, &algorithm, &der(0x03, &[&[0, 1]])]);
        let bytes = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[&[0x2b, 6, 1, 5, 5, 7, 48, 1, 1]]), &der(OCTET_STRING, &[&signed])]);
        der(SEQUENCE, &[&der(ENUMERATED, &[&[status]]), &der(FIRST, &[&bytes])])
    }

    #[test]
    fn an_answer_is_about_one_certificate_until_some_time() {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[0x80, 7]));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = |staple: &[u8]| valid_until(staple, certificate.der());
        assert_eq!(read(&staple(0, &[0, 0x80, 7], Some("20260102000000Z"))), Ok(1_767_312_000));
        assert_eq!(read(&staple(0, &[0, 0x80, 7], None)), Ok(i64::MIN));
        assert_eq!(read(&staple(0, &[0, 0x80, 8], None)), Err(StapleError::Foreign));
        assert_eq!(read(&staple(3, &[0, 0x80, 7], None)), Err(StapleError::Unsuccessful));
        assert_eq!(read(b"no answer"), Err(StapleError::Malformed));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes);
        }
    }
}
