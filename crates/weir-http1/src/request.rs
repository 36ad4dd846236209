//! The head of a request.

use bytes::BytesMut;
use http::{Method, Version};

use crate::scan::find;
use crate::{Fault, HeadReader, Headers, Limits, Spelling, fields, head};

/// The head of a request, as it was written.
#[derive(Debug)]
pub struct Head {
    /// The method: any token.
    pub method: Method,
    /// The target as it stands, without a space or a control character in it; it is not looked at any further.
    pub target: Vec<u8>,
    /// HTTP/1.1, or HTTP/1.0, for which any other version is taken, as Envoy does.
    pub version: Version,
    /// The fields, in their order.
    pub headers: Headers,
    /// How the names were spelled, if that was asked for.
    pub spelling: Option<Spelling>,
}

/// Reads a head that [`HeadReader`] has found. With `keep_spelling` it is noted how names are spelled.
///
/// # Errors
/// If it is malformed, or has more fields than it may have.
pub fn read(bytes: &[u8], limits: &Limits, keep_spelling: bool) -> Result<Head, Fault> {
    read_into(Headers::new(), bytes, limits, keep_spelling).map(|(head, _)| head)
}

/// Takes a head off the front of `input` and reads it, into an empty map, if all of it is there.
///
/// # Errors
/// As [`HeadReader::take`] and [`read`].
pub fn take(
    reader: &mut HeadReader,
    input: &mut BytesMut,
    map: impl Fn() -> Headers,
    limits: &Limits,
    keep_spelling: bool,
) -> Result<Option<Head>, Fault> {
    reader.read(input, limits, |bytes| read_into(map(), bytes, limits, keep_spelling))
}

/// Reads a head with which `bytes` begin, where nothing came before them: also where it ends. None if not all of it is there, or if there is
/// anything to be said against it; [`take`] says what.
pub fn at_once(
    reader: &HeadReader,
    bytes: &[u8],
    map: impl FnOnce() -> Headers,
    limits: &Limits,
    keep_spelling: bool,
) -> Option<(Head, usize)> {
    reader.at_once(bytes, limits, |bytes| read_into(map(), bytes, limits, keep_spelling))
}

/// Reads a head into an empty map; where it ends, too.
fn read_into(mut headers: Headers, bytes: &[u8], limits: &Limits, keep_spelling: bool) -> Result<(Head, usize), Fault> {
    let (line, start) = head::first_line(bytes);
    let (method, target, version) = request_line(line)?;
    let mut spelling = keep_spelling.then(Spelling::default);
    let target = target.to_vec();
    let end = fields::read(&mut headers, bytes, start, limits, spelling.as_mut())?;
    let head = Head { method, target, version, headers, spelling: spelling.filter(|spelling| !spelling.is_empty()) };
    Ok((head, end))
}

/// Whether what has come of a head may become that of a request: who speaks another protocol may never send an empty line.
pub fn may_begin(input: &[u8]) -> bool {
    !input.contains(&b'\n') || request_line(head::first_line(input).0).is_ok()
}

fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), Fault> {
    let at = find(b' ', line).ok_or(Fault::FirstLine)?;
    let method = Method::from_bytes(line.get(..at).unwrap_or_default()).map_err(|_| Fault::FirstLine)?;
    let (before, version) = head::split_last(line).ok_or(Fault::FirstLine)?;
    let version = version_of(version)?;
    let target = target(before.get(at..).unwrap_or_default()).ok_or(Fault::FirstLine)?;
    Ok((method, target, version))
}

/// What stands between method and version. Envoy passes over more than one space, and over tabs (RFC 9112, 3 allows both, and warns of
/// it); here nothing but a space is taken for one.
fn target(between: &[u8]) -> Option<&[u8]> {
    let spaces = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == b' ').count();
    let from = spaces(between);
    let target = between.get(from..)?;
    let trailing = target.iter().rev().take_while(|byte| **byte == b' ').count();
    let target = target.get(..target.len() - trailing)?;
    let fine = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    fine.then_some(target)
}

fn version_of(text: &[u8]) -> Result<Version, Fault> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        _ => match text.strip_prefix(b"HTTP/") {
            Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => Ok(Version::HTTP_10),
            _ => Err(Fault::FirstLine),
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn parsed(line: &str) -> Result<(String, String, Version), Fault> {
        let bytes = Bytes::from(format!("{line}\r\nHost: a\r\n\r\n"));
        let head = read(&bytes, &Limits::default(), true)?;
        assert_eq!(head.headers["host"], "a");
        assert!(head.spelling.is_some_and(|spelling| spelling.of(b"host") == Some(b"Host")));
        Ok((head.method.to_string(), String::from_utf8_lossy(&head.target).into_owned(), head.version))
    }

    #[test]
    fn request_lines_are_read() {
        let cases = [
            ("GET / HTTP/1.1", "GET", "/", Version::HTTP_11),
            ("GET  /a  HTTP/1.0", "GET", "/a", Version::HTTP_10),
            ("OPTIONS * HTTP/1.1", "OPTIONS", "*", Version::HTTP_11),
            ("CONNECT a:1 HTTP/1.1", "CONNECT", "a:1", Version::HTTP_11),
            ("x-own! http://a/>?q#f HTTP/1.1", "x-own!", "http://a/>?q#f", Version::HTTP_11),
            ("GET / HTTP/2.0", "GET", "/", Version::HTTP_10),
            ("GET /\u{e9} HTTP/1.1", "GET", "/\u{e9}", Version::HTTP_11),
        ];
        for (line, method, target, version) in cases {
            assert_eq!(parsed(line), Ok((method.to_owned(), target.to_owned(), version)), "{line}");
        }
    }

    #[test]
    fn another_protocol_is_known_by_its_first_line() {
        for (input, may) in [("", true), ("hello", true), ("GET / HTTP/1.1\r\nho", true), ("hello\n", false), ("GET /\r\nhost", false)] {
            assert_eq!(may_begin(input.as_bytes()), may, "{input:?}");
        }
    }

    #[test]
    fn what_is_no_request_line_is_a_fault() {
        let bad = [
            "GET",
            "GET /",
            "GET HTTP/1.1",
            "GET  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/1",
            "GET / HTTP/11",
            "GET / HTTP/1.1.1",
            "GET / http/1.1",
            "GET / HTTP/a.b",
            "GET /a b HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\t HTTP/1.1",
            "GET /\r HTTP/1.1",
            "GET /\0 HTTP/1.1",
            " GET / HTTP/1.1",
            "G(T / HTTP/1.1",
        ];
        for line in bad {
            assert_eq!(parsed(line), Err(Fault::FirstLine), "{line:?}");
        }
    }
}
