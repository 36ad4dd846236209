//! The lines of header fields, in heads and trailers (RFC 9112, 5).

use crate::header::{HeaderName, HeaderValue, Headers};
use crate::scan::{find, find_control};
use crate::spelling::Spelling;
use crate::{Fault, Limits};

/// Reads the lines of a head from `start` on, to the empty line, into an empty map; where the head ends. With `spelling` it is noted how their
/// names are spelled.
///
/// A folded line is a fault, one of the two answers that the standard allows (5.2), as is a space before the colon (5.1).
pub(crate) fn read(
    headers: &mut Headers,
    head: &[u8],
    start: usize,
    limits: &Limits,
    mut spelling: Option<&mut Spelling>,
) -> Result<usize, Fault> {
    // Room for all at once costs less than to grow; there cannot be more of them than there is room for.
    headers.reserve(ROOM);
    let mut rest = head.get(start..).unwrap_or_default();
    loop {
        match rest {
            [b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..] => return Ok(head.len() - behind.len()),
            _ if headers.len() == limits.fields => return Err(Fault::TooMany),
            _ => {}
        }
        let (name, value, behind) = field(rest).ok_or(Fault::Field)?;
        // A name of other characters than those of a token, a space among them, is none.
        headers.push(HeaderName::from_bytes(name).map_err(|_| Fault::Field)?, HeaderValue::copy_of_checked(value));
        if let Some(spelling) = &mut spelling {
            spelling.note(name);
        }
        rest = behind;
    }
}

/// So many fields have room from the start: most heads have no more, after what a proxy adds.
const ROOM: usize = 16;

/// The field whose line comes first: what stands before its colon, its value, without the space around it, and what follows the line.
#[inline]
fn field(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // Where the line has no colon, another one has it: no name goes on over the end of a line.
    let (name, behind) = text.split_at_checked(find(b':', text)?)?;
    let leading = 1 + behind.get(1..)?.iter().position(|byte| !is_space(*byte))?;
    let text = behind.get(leading..)?;
    // No other control character may stand in a value than those that end its line.
    let (mut value, behind) = text.split_at_checked(find_control(text)?)?;
    while let Some((last, before)) = value.split_last()
        && is_space(*last)
    {
        value = before;
    }
    Some((name, value, behind.strip_prefix(b"\n").or_else(|| behind.strip_prefix(b"\r\n"))?))
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
        let mut headers = Headers::new();
        let end = read(&mut headers, text.as_bytes(), 0, &limits, None)?;
        assert_eq!(text.get(end..), Some(if text.ends_with('z') { "z" } else { "" }));
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
