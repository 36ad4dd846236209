//! From when to when a certificate is valid: as much of DER as that takes (ITU-T X.690; RFC 5280, 4.1.2.5).

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
/// `[0]` of a `TBSCertificate`: its version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

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
        let mut fields = Reader(Reader(Reader(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
        let (first, _) = fields.next()?;
        // The serial number, if that was the version; then the signature's algorithm and the issuer.
        for _ in 0..if first == VERSION { 3 } else { 2 } {
            fields.next()?;
        }
        let mut times = Reader(fields.expect(SEQUENCE)?);
        Some(Self { from: time(times.next()?)?, until: time(times.next()?)? })
    }
}

/// Elements of DER, one behind the other.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The tag and the content of the next one.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            let (bytes, behind) = rest.split_at_checked(length - 0x80).filter(|(bytes, _)| (1..=4).contains(&bytes.len()))?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((*tag, content))
    }

    /// The content of the next one, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ`, where years before 50 are of this century, or `YYYYMMDDHHMMSSZ`.
fn time((tag, content): (u8, &[u8])) -> Option<SystemTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |start: usize| rest.get(start..start + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0).filter(|month| (1..=12).contains(month))?, part(2).filter(|day| (1..=31).contains(day))?);
    let seconds = days(year, month, day) * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(distance) } else { SystemTime::UNIX_EPOCH.checked_add(distance) }
}

/// The days from 1970 to a date: years begin in March, so that the day of a leap year is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: SystemTime) -> i64 {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap(),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap(),
        }
    }

    #[test]
    fn times_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "500101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())).map(seconds), expected, "{text}");
        }
    }

    #[test]
    fn validity_is_found_behind_what_comes_before() {
        let element = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let times = [element(UTC_TIME, b"260101000000Z"), element(UTC_TIME, b"270101000000Z")].concat();
        let of = |before: &[&[u8]]| {
            let fields = [before.concat(), element(SEQUENCE, &times), element(SEQUENCE, b"")].concat();
            Validity::of(&element(SEQUENCE, &element(SEQUENCE, &fields)))
        };
        let (number, sequence, version) = (element(2, b"\x01"), element(SEQUENCE, b""), element(VERSION, b"\x02\x01\x02"));
        let found = of(&[&version, &number, &sequence, &sequence]).unwrap();
        assert_eq!((seconds(found.from), seconds(found.until)), (1_767_225_600, 1_798_761_600));
        assert_eq!(of(&[&number, &sequence, &sequence]), Some(found));
        assert_eq!(of(&[]), None);
        assert_eq!(Validity::of(b"\x30\x85"), None);
        assert_eq!(Validity::of(b""), None);
    }
}
