//! The lines of header fields, in heads and trailers (RFC 9112, 5).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use crate::spelling::Spelling;
use crate::{Fault, Limits};

/// Reads the lines of `head` from `start` on, to the empty line, into an empty map. Their values share its memory. With `spelling` it is noted how
/// their names are spelled.
///
/// A folded line is a fault, one of the two answers that the standard allows (5.2), as is a space before the colon (5.1).
pub(crate) fn read(
    mut headers: HeaderMap,
    head: &Bytes,
    start: usize,
    limits: &Limits,
    mut spelling: Option<&mut Spelling>,
) -> Result<HeaderMap, Fault> {
    // Room for all at once costs less than to grow; there cannot be more of them than there is room for.
    headers.try_reserve(ROOM).map_err(|_| Fault::TooMany)?;
    let (mut at, mut count) = (start, 0);
    while let Some(length) = memchr(b'\n', head.get(at..).unwrap_or_default()) {
        let line = head.get(at..at + length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.fields {
            return Err(Fault::TooMany);
        }
        let (name, value) = field(head, at, line)?;
        if let Some(spelling) = &mut spelling {
            spelling.note(head.slice(at..at + name.as_str().len()));
        }
        headers.append(name, value);
        at += length + 1;
    }
    Ok(headers)
}

/// So many fields have room from the start: most heads have no more, after what a proxy adds.
const ROOM: usize = 16;

/// One field, of the line that begins at `at`.
fn field(head: &Bytes, at: usize, line: &[u8]) -> Result<(HeaderName, HeaderValue), Fault> {
    let colon = memchr(b':', line).ok_or(Fault::Field)?;
    // A name of other characters than those of a token, a space among them, is none.
    let name = HeaderName::from_bytes(line.get(..colon).unwrap_or_default()).map_err(|_| Fault::Field)?;
    let value = line.get(colon + 1..).unwrap_or_default();
    let leading = value.iter().position(|byte| !is_space(*byte)).unwrap_or(value.len());
    let trailing = value.iter().rev().position(|byte| !is_space(*byte)).unwrap_or(0);
    let from = at + colon + 1 + leading;
    let to = (at + line.len() - trailing).max(from);
    let value = HeaderValue::from_maybe_shared(head.slice(from..to)).map_err(|_| Fault::Field)?;
    Ok((name, value))
}

/// Space that may stand around a value (RFC 9110, 5.6.3).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, Fault> {
        let limits = Limits { bytes: 1000, fields: 3 };
        let headers = read(HeaderMap::new(), &Bytes::from(text.to_owned()), 0, &limits, None)?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    #[test]
    fn names_and_values_are_told_apart() {
        let cases = [
            ("Host: a\r\n\r\n", ("host", "a")),
            ("host:a\n\n", ("host", "a")),
            ("x: \t a b\t \r\n\r\n", ("x", "a b")),
            ("x:\r\n\r\n", ("x", "")),
            ("x:  \t\r\n\r\n", ("x", "")),
            ("x: a:b\r\n\r\n", ("x", "a:b")),
            ("x: \u{e9}\r\n\r\n", ("x", "\u{e9}")),
            ("x!#$%&'*+-.^_`|~1: y\r\n\r\nz", ("x!#$%&'*+-.^_`|~1", "y")),
        ];
        for (text, (name, value)) in cases {
            assert_eq!(fields(text), Ok(vec![(name.to_owned(), value.to_owned())]), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_field_is_a_fault() {
        let bad = [
            "no colon\r\n\r\n",
            ": empty\r\n\r\n",
            "x : 1\r\n\r\n",
            "x\t: 1\r\n\r\n",
            " x: 1\r\n\r\n",
            "x: 1\r\n folded\r\n\r\n",
            "x: 1\r\n\tfolded: 2\r\n\r\n",
            "x: a\rb\r\n\r\n",
            "x: a\0b\r\n\r\n",
            "x: a\u{7f}\r\n\r\n",
            "x\r: 1\r\n\r\n",
            "x\u{e9}: 1\r\n\r\n",
            "(x): 1\r\n\r\n",
        ];
        for text in bad {
            assert_eq!(fields(text), Err(Fault::Field), "{text:?}");
        }
        assert_eq!(fields("a: 1\r\na: 2\r\na: 3\r\na: 4\r\n\r\n"), Err(Fault::TooMany));
    }
}
