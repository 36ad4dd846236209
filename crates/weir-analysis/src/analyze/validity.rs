//! From when to when a certificate is valid (RFC 5280, 4.1.2.5).

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// From then on.
    pub(super) from: SystemTime,
    /// Until then.
    pub(super) until: SystemTime,
}

impl Validity {
    /// That of a certificate in DER; none if it is no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self { from: time(validity.not_before.timestamp())?, until: time(validity.not_after.timestamp())? })
    }
}

/// A time by its seconds since 1970, which may be before that.
fn time(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(distance) } else { SystemTime::UNIX_EPOCH.checked_add(distance) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn validity_is_that_of_the_certificate() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // Years from 2050 on are written in another form.
        let found = Validity::of(&certificate(2026, 2060));
        assert_eq!(found, Some(Validity { from: at(1_767_225_600), until: at(2_840_140_800) }));
        let before = Validity::of(&certificate(1960, 1970)).unwrap();
        assert_eq!(before.until, SystemTime::UNIX_EPOCH);
        assert!(before.from < SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let whole = certificate(2026, 2027);
        for bad in [&[][..], b"0\x85", b"no certificate", &whole[..whole.len() / 2]] {
            assert_eq!(Validity::of(bad), None);
        }
    }
}
