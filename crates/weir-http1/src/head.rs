//! Finds the end of a head.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memrchr;

use crate::scan::find;
use crate::{Fault, Limits};

/// Finds where a head ends, however its bytes come. What was looked at once is not looked at again, so that a head that comes byte
/// by byte costs no more than one that comes at once.
#[derive(Debug, Clone, Default)]
pub struct HeadReader {
    /// Whether the first line is complete.
    line: bool,
    /// How far was searched for the end.
    searched: usize,
}

impl HeadReader {
    /// Takes a head with its last empty line from the front of `input`, if all of it is there. Empty lines before it are passed over
    /// (RFC 9112, 2.2).
    ///
    /// # Errors
    /// If it is larger than it may be; or if it does not begin as a head does: another protocol may never send the end of a line.
    pub fn take(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Option<Bytes>, Fault> {
        if input.is_empty() {
            return Ok(None);
        }
        if !self.line {
            if skip_empty_lines(input) {
                self.searched = 0;
            }
            if input.first().is_some_and(|first| is_no_beginning(*first) && *first != b'\r') {
                return Err(Fault::FirstLine);
            }
        }
        let end = self.end(input);
        if end.unwrap_or(input.len()) > limits.bytes {
            return Err(Fault::TooLarge);
        }
        let Some(end) = end else { return Ok(None) };
        *self = Self::default();
        // Memory that nobody else needs is not divided.
        let head = if end == input.len() { std::mem::take(input) } else { input.split_to(end) };
        Ok(Some(head.freeze()))
    }

    /// Takes a head off the front of `input` and reads it, if all of it is there. One that comes at once, as most do, is read while its
    /// end is looked for; where that does not succeed, for whatever reason, nothing has happened.
    ///
    /// # Errors
    /// As [`take`](Self::take), and those of `read`, which tells where the head has ended.
    pub(crate) fn read<H>(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
        mut read: impl FnMut(&[u8]) -> Result<(H, usize), Fault>,
    ) -> Result<Option<H>, Fault> {
        if let Some((head, end)) = self.at_once(input, limits, &mut read) {
            if end == input.len() {
                input.clear();
            } else {
                input.advance(end);
            }
            return Ok(Some(head));
        }
        let Some(head) = self.take(input, limits)? else { return Ok(None) };
        read(&head).map(|(head, _)| Some(head))
    }

    /// Reads a head with which `bytes` begin, if all of it is there, nothing can be said against it, and nothing of it came before.
    pub(crate) fn at_once<H>(
        &self,
        bytes: &[u8],
        limits: &Limits,
        read: impl FnOnce(&[u8]) -> Result<(H, usize), Fault>,
    ) -> Option<(H, usize)> {
        let is_new = !self.line && self.searched == 0;
        if !is_new || bytes.len() > limits.bytes || is_no_beginning(*bytes.first()?) {
            return None;
        }
        read(bytes).ok()
    }

    /// Where the head ends, if its end is there: behind the first line that is empty.
    fn end(&mut self, input: &[u8]) -> Option<usize> {
        let mut from = self.searched;
        while let Some(at) = find(b'\n', input.get(from..).unwrap_or_default()) {
            let at = from + at;
            self.line = true;
            match input.get(at + 1..).unwrap_or_default() {
                [b'\n', ..] => return Some(at + 2),
                [b'\r', b'\n', ..] => return Some(at + 3),
                // What comes next decides.
                [] | [b'\r'] => {
                    self.searched = at;
                    return None;
                }
                _ => from = at + 1,
            }
        }
        self.searched = input.len();
        None
    }

    /// Whether its first line is complete, and not all of it.
    pub fn has_line(&self) -> bool {
        self.line
    }

    /// Whether a head has begun in `input` that is not complete.
    pub fn has_begun(&self, input: &[u8]) -> bool {
        !matches!(behind_empty_lines(input), b"" | b"\r")
    }
}

/// Whether no head begins with this.
fn is_no_beginning(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f)
}

/// Empty lines before a head: Envoy passes over any number of them. A CR alone is no line (RFC 9112, 2.2). Tells whether there were
/// any.
fn skip_empty_lines(input: &mut BytesMut) -> bool {
    let empty = input.len() - behind_empty_lines(input).len();
    if empty > 0 {
        input.advance(empty);
    }
    empty > 0
}

fn behind_empty_lines(input: &[u8]) -> &[u8] {
    let mut rest = input;
    while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
        rest = behind;
    }
    rest
}

/// The first line of a head without its end, and what follows it.
pub(crate) fn first_line(head: &[u8]) -> (&[u8], usize) {
    let end = find(b'\n', head).unwrap_or(head.len());
    let line = head.get(..end).unwrap_or_default();
    (line.strip_suffix(b"\r").unwrap_or(line), (end + 1).min(head.len()))
}

/// What stands before the last space of a line, and after it.
pub(crate) fn split_last(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memrchr(b' ', line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 64, fields: 10 };

    #[test]
    fn a_head_is_found_however_it_comes() {
        for head in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n", "\r\n\nGET / HTTP/1.1\r\nhost: a\r\n\n"] {
            let whole = head.trim_start();
            for size in 1..=head.len() {
                let (mut reader, mut input, mut found) = (HeadReader::default(), BytesMut::new(), None);
                for part in head.as_bytes().chunks(size) {
                    assert_eq!(found, None);
                    input.extend_from_slice(part);
                    found = reader.take(&mut input, &LIMITS).expect("it is small");
                }
                assert_eq!(found.as_deref(), Some(whole.as_bytes()), "{size}");
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn what_follows_stays() {
        let mut input = BytesMut::from("GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nrest");
        let mut reader = HeadReader::default();
        assert_eq!(reader.take(&mut input, &LIMITS).expect("fine").expect("it is there"), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(reader.take(&mut input, &LIMITS).expect("fine").expect("it is there"), "GET /2 HTTP/1.1\r\n\r\n");
        assert_eq!(reader.take(&mut input, &LIMITS), Ok(None));
        assert!(reader.has_begun(&input) && !reader.has_begun(b"\r\n"));
    }

    #[test]
    fn one_that_is_too_large_is_given_up_as_soon_as_that_is_known() {
        for (line, given_up) in [(63, false), (64, false), (65, true)] {
            let mut input = BytesMut::from("a".repeat(line).as_str());
            assert_eq!(HeadReader::default().take(&mut input, &LIMITS).is_err(), given_up, "{line}");
        }
        let mut complete = BytesMut::from(format!("{}\r\n\r\n", "a".repeat(61)).as_str());
        assert_eq!(HeadReader::default().take(&mut complete, &LIMITS), Err(Fault::TooLarge));
        let mut tls = BytesMut::from(&b"\x16\x03\x01"[..]);
        assert_eq!(HeadReader::default().take(&mut tls, &LIMITS), Err(Fault::FirstLine));
        let mut empty_lines = BytesMut::from("\r\n".repeat(100).as_str());
        assert_eq!((HeadReader::default().take(&mut empty_lines, &LIMITS), empty_lines.len()), (Ok(None), 0));
    }

    #[test]
    fn a_cr_alone_before_a_head_is_no_empty_line() {
        let mut input = BytesMut::from("\r\n\rGET / HTTP/1.1\r\n\r\n");
        let head = HeadReader::default().take(&mut input, &LIMITS).expect("it is small").expect("it is there");
        assert_eq!(head, "\rGET / HTTP/1.1\r\n\r\n");
        for (bytes, begun) in [("\r\n\r", false), ("\r\r", true), ("\rG", true)] {
            assert_eq!(HeadReader::default().has_begun(bytes.as_bytes()), begun, "{bytes:?}");
        }
    }
}
