//! The value of a field.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bytes::Bytes;

/// The value of a field: visible characters, spaces, tabs, and bytes beyond ASCII (RFC 9110, 5.5).
#[derive(Clone)]
pub struct HeaderValue(Source);

/// Where it is. What the library for HTTP/2 has checked goes back to it without another look.
#[derive(Clone)]
enum Source {
    Short(Short),
    Own(Bytes),
    Library(http::HeaderValue),
}

/// So many bytes need no memory of their own; as most values do not.
const SHORT: usize = 31;

/// A short value.
#[derive(Clone, Copy)]
struct Short {
    length: u8,
    bytes: [u8; SHORT],
}

impl Short {
    fn of(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { length: value.len() as u8, bytes })
    }
}

impl Source {
    fn copy_of(value: &[u8]) -> Self {
        Short::of(value).map_or_else(|| Self::Own(Bytes::copy_from_slice(value)), Self::Short)
    }
}

/// Bytes are not the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid HTTP header value")]
pub struct InvalidHeaderValue;

/// A value is no text of visible ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header value that is no text")]
pub struct NoText;

impl HeaderValue {
    /// A value that is written in the program.
    ///
    /// # Panics
    /// If it is not of visible ASCII. In a constant that is found when it is compiled.
    pub const fn from_static(text: &'static str) -> Self {
        let (bytes, mut at) = (text.as_bytes(), 0);
        while at < bytes.len() {
            assert!(bytes[at] >= b' ' && bytes[at] < 0x7f || bytes[at] == b'\t', "no value of a header");
            at += 1;
        }
        Self(Source::Own(Bytes::from_static(bytes)))
    }

    /// A value of these bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidHeaderValue> {
        check(bytes)?;
        Ok(Self::copy_of_checked(bytes))
    }

    /// The same, of bytes that are shared and not copied.
    ///
    /// # Errors
    /// If they are none.
    pub fn from_shared(bytes: Bytes) -> Result<Self, InvalidHeaderValue> {
        check(&bytes)?;
        Ok(Self(Source::Own(bytes)))
    }

    /// The same, of a text.
    ///
    /// # Errors
    /// If it is none.
    #[allow(clippy::should_implement_trait, reason = "it does, too; so it need not be imported")]
    pub fn from_str(text: &str) -> Result<Self, InvalidHeaderValue> {
        Self::from_bytes(text.as_bytes())
    }

    /// As bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Source::Short(Short { length, bytes }) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Source::Own(bytes) => bytes,
            Source::Library(value) => value.as_bytes(),
        }
    }

    /// Writes it. Of a short one all bytes are copied, and those that are too many are cut off: that costs less than to ask how many
    /// there are.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Source::Short(Short { length, bytes }) => {
                let end = out.len() + usize::from(*length);
                out.extend_from_slice(bytes);
                out.truncate(end);
            }
            Source::Own(_) | Source::Library(_) => out.extend_from_slice(self.as_bytes()),
        }
    }

    /// As text.
    ///
    /// # Errors
    /// If it is not of ASCII alone.
    pub fn to_str(&self) -> Result<&str, NoText> {
        let bytes = self.as_bytes();
        if bytes.is_ascii() { std::str::from_utf8(bytes).map_err(|_| NoText) } else { Err(NoText) }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// One of bytes in which no control character stands, but for tabs.
    #[inline]
    pub(crate) fn copy_of_checked(bytes: &[u8]) -> Self {
        Self(Source::copy_of(bytes))
    }

    /// One of the library for HTTP/2.
    pub(super) fn of_library(value: http::HeaderValue) -> Self {
        Self(Source::Library(value))
    }

    /// The same as the library for HTTP/2 has it.
    pub(super) fn to_library(&self) -> http::HeaderValue {
        let value = match &self.0 {
            Source::Short(_) => http::HeaderValue::from_bytes(self.as_bytes()).ok(),
            Source::Own(bytes) => http::HeaderValue::from_maybe_shared(bytes.clone()).ok(),
            Source::Library(value) => return value.clone(),
        };
        // What is a value here is one there.
        value.unwrap_or(http::HeaderValue::from_static(""))
    }
}

/// Looks whether all bytes may stand in a value: eight at once.
pub(crate) fn check(bytes: &[u8]) -> Result<(), InvalidHeaderValue> {
    let is_bad = match bytes.last_chunk::<8>() {
        Some(last) => bytes.as_chunks::<8>().0.iter().chain([last]).fold(0, |bad, eight| bad | bad_of_eight(*eight)) != 0,
        None => bytes.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f),
    };
    if is_bad { Err(InvalidHeaderValue) } else { Ok(()) }
}

/// Not 0 if one of eight bytes is a control character, but for the tab.
fn bad_of_eight(eight: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const LOW: u64 = 0x7f * ONES;
    const HIGH: u64 = 0x80 * ONES;
    let bytes = u64::from_ne_bytes(eight);
    // The highest bit of each byte that is not zero.
    let is_not = |differs: u64| ((differs & LOW) + LOW) | differs;
    let below_space = !(((bytes & LOW) + (0x80 - 0x20) * ONES) | bytes);
    let is_no_tab = is_not(bytes ^ (0x09 * ONES));
    let is_delete = !is_not(bytes ^ LOW);
    (below_space & is_no_tab | is_delete) & HIGH
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl PartialEq for HeaderValue {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for HeaderValue {}

impl Hash for HeaderValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq<str> for HeaderValue {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<[u8]> for HeaderValue {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}

impl PartialEq<String> for HeaderValue {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

impl<T: ?Sized> PartialEq<&T> for HeaderValue
where
    Self: PartialEq<T>,
{
    fn eq(&self, other: &&T) -> bool {
        *self == **other
    }
}

impl PartialEq<HeaderValue> for &HeaderValue {
    fn eq(&self, other: &HeaderValue) -> bool {
        **self == *other
    }
}

impl FromStr for HeaderValue {
    type Err = InvalidHeaderValue;

    fn from_str(text: &str) -> Result<Self, InvalidHeaderValue> {
        Self::from_str(text)
    }
}

impl TryFrom<&str> for HeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(text: &str) -> Result<Self, InvalidHeaderValue> {
        Self::from_str(text)
    }
}

impl TryFrom<String> for HeaderValue {
    type Error = InvalidHeaderValue;

    fn try_from(text: String) -> Result<Self, InvalidHeaderValue> {
        Self::from_shared(text.into())
    }
}

impl From<u64> for HeaderValue {
    fn from(number: u64) -> Self {
        with_digits(number, Self::copy_of_checked)
    }
}

impl From<u32> for HeaderValue {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl From<u16> for HeaderValue {
    fn from(number: u16) -> Self {
        u64::from(number).into()
    }
}

impl From<usize> for HeaderValue {
    fn from(number: usize) -> Self {
        (number as u64).into()
    }
}

/// Gives the digits of a number to somebody.
pub(crate) fn with_digits<R>(number: u64, take: impl FnOnce(&[u8]) -> R) -> R {
    const MOST: usize = u64::MAX.ilog10() as usize + 1;
    let (mut digits, mut rest, mut from) = ([b'0'; MOST], number, MOST);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        (rest, from) = (rest / 10, from - 1);
        if rest == 0 {
            break;
        }
    }
    take(digits.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_no_part_of_a_value_wherever_they_stand() {
        for length in 1..30 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let good = byte >= b' ' && byte != 0x7f || byte == b'\t';
                    assert_eq!(HeaderValue::from_bytes(&bytes).is_ok(), good, "{byte} at {at} of {length}");
                    assert_eq!(http::HeaderValue::from_bytes(&bytes).is_ok(), good, "the library agrees on {byte}");
                }
            }
        }
    }

    #[test]
    fn a_value_is_the_same_wherever_it_is() {
        let own = HeaderValue::from_static("a b");
        let library = HeaderValue::of_library(http::HeaderValue::from_static("a b"));
        assert_eq!((&own, own.to_library()), (&library, library.to_library()));
        assert!(own == "a b" && library == "a b" && own != *"a" && library == b"a b"[..]);
        assert_eq!((own.to_str(), library.len(), HeaderValue::from_static("").is_empty()), (Ok("a b"), 3, true));
        assert_eq!(format!("{own:?}"), "\"a b\"");
        assert_eq!(size_of::<HeaderValue>(), size_of::<http::HeaderValue>());
    }

    #[test]
    fn a_value_is_whole_however_long_it_is() {
        for length in 0..3 * SHORT {
            let text = "abc ".repeat(SHORT).split_off(SHORT * 4 - length);
            let value = HeaderValue::from_str(&text).expect("a value");
            assert_eq!((value.as_bytes(), value.len()), (text.as_bytes(), length));
            assert_eq!((value.to_library().as_bytes(), &value.clone()), (text.as_bytes(), &HeaderValue::of_library(value.to_library())));
            let mut out = b"x".to_vec();
            value.write(&mut out);
            assert_eq!(out, format!("x{text}").into_bytes());
        }
    }

    #[test]
    fn what_is_beyond_ascii_is_a_value_and_no_text() {
        let bytes = HeaderValue::from_str("\u{e9}").expect("a value");
        assert_eq!(bytes.to_str(), Err(NoText));
        assert_eq!(HeaderValue::from_str("a\nb"), Err(InvalidHeaderValue));
        for number in [0, 9, 10, 15_000, u64::MAX] {
            assert_eq!(HeaderValue::from(number), number.to_string());
        }
    }
}
