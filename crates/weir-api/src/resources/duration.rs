//! Durations as Istio's API writes them: Go's notation, such as `1.5s`, `30ms` or `1h15m`.

use std::fmt;
use std::time;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A duration. Negative ones can be written, and are refused by validation where they make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Duration {
    nanoseconds: i64,
}

const UNITS: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl Duration {
    /// A duration of whole milliseconds.
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self { nanoseconds: milliseconds * 1_000_000 }
    }

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self { nanoseconds: seconds * 1_000_000_000 }
    }

    /// Nanoseconds, negative for a negative duration.
    pub const fn as_nanos(self) -> i64 {
        self.nanoseconds
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.nanoseconds == 0
    }

    /// As the standard library's; a negative one is zero there.
    pub fn to_std(self) -> time::Duration {
        time::Duration::from_nanos(u64::try_from(self.nanoseconds).unwrap_or(0))
    }

    /// Reads Go's notation (`time.ParseDuration`): a sign, then numbers with units.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if rest == "0" {
            return Some(Self::default());
        }
        let mut nanoseconds = 0.0;
        loop {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            // The longest unit that fits: `ms` before `m`.
            let (unit, factor) = UNITS.iter().filter(|(unit, _)| rest.starts_with(unit)).max_by_key(|(unit, _)| unit.len())?;
            nanoseconds += number * factor;
            rest = &rest[unit.len()..];
            if rest.is_empty() {
                break;
            }
        }
        let nanoseconds = if negative { -nanoseconds } else { nanoseconds };
        (nanoseconds.abs() < i64::MAX as f64).then_some(Self { nanoseconds: nanoseconds.round() as i64 })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.nanoseconds as f64 / 1e9)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 1.5s, 30ms or 1h")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        let wrong = || E::custom(format_args!("\"{text}\" is not a duration; write a number with its unit, such as 1.5s, 30ms or 1h"));
        Duration::parse(text).ok_or_else(wrong)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        Err(E::custom(format_args!("the duration {number} has no unit; write {number}s or {number}ms")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        Err(E::custom(format_args!("the duration {number} has no unit; write {number}s or {number}ms")))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        Err(E::custom(format_args!("the duration {number} has no unit; write {number}s or {number}ms")))
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    #[test]
    fn gos_notation_is_understood() {
        for (text, milliseconds) in
            [("1s", 1000), ("1.5s", 1500), ("30ms", 30), ("1h15m", 4_500_000), ("0", 0), ("0s", 0), ("-2s", -2000), ("1m0.5s", 60_500)]
        {
            assert_eq!(Duration::parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(Duration::parse("5us").map(Duration::as_nanos), Some(5000));
        for text in ["", "1", "s", "1x", "1s2", "--1s", "1..5s", "9999999999h"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
