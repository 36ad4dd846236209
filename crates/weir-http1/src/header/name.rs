//! The name of a field.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::known::{NAMES, WRITTEN, number_of, number_of_constant};

/// The name of a field, in lower case: as HTTP/2 has it, and as everybody may write it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub(super) Name);

/// A known name is never kept as text, so that two names are the same only if these are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Known(u8),
    Other(Bytes),
}

/// A text is not the name of a field (RFC 9110, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid HTTP header name")]
pub struct InvalidHeaderName;

/// The characters that a name may have, each in lower case; 0 for all others.
const TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let at = byte as u8;
        if at.is_ascii_alphanumeric()
            || matches!(at, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        {
            table[byte] = at.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

static LOWER: [u8; 256] = TOKEN;

fn lower(byte: u8) -> u8 {
    LOWER[usize::from(byte)]
}

/// How a name that is none of the known ones is spelled.
enum Spelled {
    /// In lower case.
    Lower,
    /// With capitals.
    Mixed,
}

impl Spelled {
    /// Looks at a name.
    fn of(name: &[u8]) -> Result<Self, InvalidHeaderName> {
        let (mut capitals, mut invalid) = (false, name.is_empty());
        for byte in name {
            capitals |= byte.is_ascii_uppercase();
            invalid |= lower(*byte) == 0;
        }
        match (invalid, capitals) {
            (true, _) => Err(InvalidHeaderName),
            (false, true) => Ok(Self::Mixed),
            (false, false) => Ok(Self::Lower),
        }
    }
}

impl HeaderName {
    /// A name that is written in the program, in lower case.
    ///
    /// # Panics
    /// If it is no name in lower case. In a constant that is found when it is compiled.
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut at = 0;
        assert!(!bytes.is_empty(), "a name is not empty");
        while at < bytes.len() {
            assert!(TOKEN[bytes[at] as usize] == bytes[at], "no name in lower case");
            at += 1;
        }
        match number_of_constant(bytes) {
            Some(number) => Self(Name::Known(number)),
            None => Self(Name::Other(Bytes::from_static(bytes))),
        }
    }

    /// A name, in whatever case.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_bytes(name: &[u8]) -> Result<Self, InvalidHeaderName> {
        if let Some(number) = number_of(name) {
            return Ok(Self(Name::Known(number)));
        }
        Ok(Self(Name::Other(match Spelled::of(name)? {
            Spelled::Lower => Bytes::copy_from_slice(name),
            Spelled::Mixed => name.to_ascii_lowercase().into(),
        })))
    }

    /// As text, in lower case.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(number) => NAMES.get(usize::from(*number)).copied().unwrap_or_default(),
            // It is ASCII.
            Name::Other(name) => std::str::from_utf8(name).unwrap_or_default(),
        }
    }

    /// Writes it in lower case, with what stands between it and its value.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Name::Known(number) => WRITTEN.get(usize::from(*number)).into_iter().for_each(|name| name.write(out)),
            Name::Other(name) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
            }
        }
    }

    /// As bytes, in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Name::Known(number) => NAMES.get(usize::from(*number)).copied().unwrap_or_default().as_bytes(),
            Name::Other(name) => name,
        }
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for HeaderName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for HeaderName {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes().eq_ignore_ascii_case(other.as_bytes())
    }
}

impl PartialEq<&str> for HeaderName {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl FromStr for HeaderName {
    type Err = InvalidHeaderName;

    fn from_str(name: &str) -> Result<Self, InvalidHeaderName> {
        Self::from_bytes(name.as_bytes())
    }
}

impl TryFrom<&str> for HeaderName {
    type Error = InvalidHeaderName;

    fn try_from(name: &str) -> Result<Self, InvalidHeaderName> {
        Self::from_bytes(name.as_bytes())
    }
}

impl TryFrom<String> for HeaderName {
    type Error = InvalidHeaderName;

    fn try_from(name: String) -> Result<Self, InvalidHeaderName> {
        Self::from_bytes(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;

    #[test]
    fn a_name_is_the_same_however_it_is_made() {
        for text in ["host", "x-envoy-retry-on", "x-own"] {
            let name = HeaderName::from_static(text);
            assert_eq!(HeaderName::from_bytes(text.to_uppercase().as_bytes()), Ok(name.clone()));
            assert_eq!((text.parse(), HeaderName::try_from(text.to_owned())), (Ok(name.clone()), Ok(name.clone())));
            assert_eq!((name.as_str(), name.to_string(), name.as_bytes()), (text, text.to_owned(), text.as_bytes()));
        }
        assert_eq!(HeaderName::from_static("host"), header::HOST);
        assert_ne!(HeaderName::from_static("x-own"), header::HOST);
        assert_eq!(size_of::<HeaderName>(), size_of::<Bytes>());
    }

    #[test]
    fn what_is_no_token_is_no_name() {
        assert_eq!(HeaderName::from_bytes(b"x!#$%&'*+-.^_`|~1").map(|name| name.to_string()), Ok("x!#$%&'*+-.^_`|~1".to_owned()));
        for bad in ["", "a b", "a:", "\u{e9}", "a\0", "(a)", "a\r", "content-\rlength", "hos\u{14}"] {
            assert_eq!(HeaderName::from_bytes(bad.as_bytes()), Err(InvalidHeaderName), "{bad:?}");
        }
    }
}
