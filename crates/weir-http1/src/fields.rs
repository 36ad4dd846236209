//! The lines of header fields, in heads and trailers (RFC 9112, 5).

use std::ops::Range;

use bytes::Bytes;

use crate::header::{HeaderName, HeaderValue, Headers, Spelled};
use crate::scan::{find, places};
use crate::spelling::Spelling;
use crate::{Fault, Limits};

/// Reads the lines of `head` from `start` on, to the empty line, into an empty map. Their values share its memory. With `spelling` it is noted how
/// their names are spelled.
///
/// A folded line is a fault, one of the two answers that the standard allows (5.2), as is a space before the colon (5.1).
pub(crate) fn read(
    mut headers: Headers,
    head: &Bytes,
    start: usize,
    limits: &Limits,
    mut spelling: Option<&mut Spelling>,
) -> Result<Headers, Fault> {
    // Room for all at once costs less than to grow; there cannot be more of them than there is room for.
    headers.reserve(ROOM);
    let mut others = OtherNames::of(head);
    let (mut at, mut count) = (start, 0);
    for end in places(b'\n', head.get(start..).unwrap_or_default()) {
        let end = start + end;
        let line = head.get(at..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.fields {
            return Err(Fault::TooMany);
        }
        let colon = find(b':', line).ok_or(Fault::Field)?;
        if let Some(spelling) = &mut spelling {
            spelling.note(head.slice(at..at + colon));
        }
        headers.push(name(head, at..at + colon, &mut others)?, value(head, at + colon + 1..at + line.len())?);
        at = end + 1;
    }
    Ok(headers)
}

/// So many fields have room from the start: most heads have no more, after what a proxy adds.
const ROOM: usize = 16;

/// Names that are not known, as they are read from one head. One that has capitals is made lower with all others of its head at once.
struct OtherNames<'h> {
    head: &'h Bytes,
    lower: Option<Bytes>,
}

impl<'h> OtherNames<'h> {
    fn of(head: &'h Bytes) -> Self {
        Self { head, lower: None }
    }

    /// The name at this place of the head.
    fn lower(&mut self, place: Range<usize>) -> Bytes {
        self.lower.get_or_insert_with(|| self.head.to_ascii_lowercase().into()).slice(place)
    }
}

/// The name that stands at this place of a head.
fn name(head: &Bytes, place: Range<usize>, others: &mut OtherNames<'_>) -> Result<HeaderName, Fault> {
    let text = head.get(place.clone()).unwrap_or_default();
    if let Some(known) = HeaderName::known(text) {
        return Ok(known);
    }
    // A name of other characters than those of a token, a space among them, is none.
    Ok(HeaderName::other(match Spelled::of(text).map_err(|_| Fault::Field)? {
        Spelled::Lower => head.slice(place),
        Spelled::Mixed => others.lower(place),
    }))
}

/// The value that stands at this place, without the space around it.
fn value(head: &Bytes, place: Range<usize>) -> Result<HeaderValue, Fault> {
    let text = head.get(place.clone()).unwrap_or_default();
    let leading = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let trailing = text.iter().rev().position(|byte| !is_space(*byte)).unwrap_or(0);
    let from = place.start + leading;
    let to = (place.end - trailing).max(from);
    HeaderValue::from_shared(head.slice(from..to)).map_err(|_| Fault::Field)
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
        let headers = read(Headers::new(), &Bytes::from(text.to_owned()), 0, &limits, None)?;
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
