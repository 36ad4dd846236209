//! The head of an answer.

use bytes::BytesMut;
use http::{StatusCode, Version};

use crate::scan::find;
use crate::{Fault, HeadReader, Headers, Limits, Spelling, fields, head, header};

/// The head of an answer, as it was written. Its reason phrase is for nobody: each hop writes its own, as Envoy does.
#[derive(Debug)]
pub struct Head {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The status.
    pub status: StatusCode,
    /// The fields, in their order.
    pub headers: Headers,
    /// How the names were spelled, if that was asked for.
    pub spelling: Option<Spelling>,
}

impl Head {
    /// Whether the connection may carry another request after this answer, by what it says (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        if self.version == Version::HTTP_11 && self.says_nothing_new() {
            return true;
        }
        let values = || self.headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let says = |word: &[u8]| values().any(|value| value.trim_ascii().eq_ignore_ascii_case(word));
        // A coding in HTTP/1.0 is in doubt, and nothing may follow it (RFC 9112, 6.1).
        let is_sure = self.version == Version::HTTP_11 || says(b"keep-alive") && !self.headers.contains_key(header::TRANSFER_ENCODING);
        is_sure && !says(b"close")
    }

    /// Whether it says of the connection what goes without saying, as most do.
    fn says_nothing_new(&self) -> bool {
        let said = self.headers.get(header::CONNECTION);
        said.is_none_or(|said| said == "keep-alive" && !self.headers.may_repeat(header::CONNECTION))
    }
}

/// Whether what has come of an answer may become one: who speaks another protocol may never send the end of a line.
pub fn may_begin(input: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/";
    let length = input.len().min(BEGINNING.len());
    input.get(..length) == BEGINNING.get(..length)
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
    let (version, status, phrase) = status_line(line)?;
    // Nobody reads the phrase, but what is no text in it (RFC 9112, 4), a CR above all, is a line's end to some.
    header::check(phrase).map_err(|_| Fault::FirstLine)?;
    let mut spelling = keep_spelling.then(Spelling::default);
    let end = fields::read(&mut headers, bytes, start, limits, spelling.as_mut())?;
    let head = Head { version, status, headers, spelling: spelling.filter(|spelling| !spelling.is_empty()) };
    Ok((head, end))
}

/// Version, status and what stands behind them. The phrase, and the space before it, may be missing.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode, &[u8]), Fault> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9', b' ', rest @ ..] = line else { return Err(no_status_line(line)) };
    // A later one is read as the latest that is known (RFC 9110, 2.5).
    let version = if *minor == b'0' { Version::HTTP_10 } else { Version::HTTP_11 };
    let (status, phrase) = rest.split_at_checked(3).ok_or(Fault::FirstLine)?;
    if phrase.first().is_some_and(|byte| *byte != b' ') {
        return Err(Fault::FirstLine);
    }
    Ok((version, StatusCode::from_bytes(status).map_err(|_| Fault::FirstLine)?, phrase))
}

/// What is wrong with a line that does not begin as an answer of HTTP/1 does.
#[cold]
fn no_status_line(line: &[u8]) -> Fault {
    match find(b' ', line) {
        Some(5..) if line.starts_with(b"HTTP/") => Fault::Version,
        _ => Fault::FirstLine,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn parsed(text: &str) -> Result<Head, Fault> {
        read(&Bytes::from(format!("{text}\r\n\r\n")), &Limits::default(), false)
    }

    #[test]
    fn status_lines_are_read() {
        for (line, status, version) in [
            ("HTTP/1.1 200 OK", 200, Version::HTTP_11),
            ("HTTP/1.0 404 Not Found", 404, Version::HTTP_10),
            ("HTTP/1.1 200", 200, Version::HTTP_11),
            ("HTTP/1.1 200 ", 200, Version::HTTP_11),
            ("HTTP/1.9 200", 200, Version::HTTP_11),
            ("HTTP/1.1 999 \u{e9}", 999, Version::HTTP_11),
        ] {
            let head = parsed(line).expect(line);
            assert_eq!((head.status.as_u16(), head.version), (status, version), "{line}");
        }
        for line in [
            "HTTP/1.1",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000",
            "HTTP/1.1 099 x",
            "HTTP/1.1  200 OK",
            "ICY 200 OK",
            "",
            "HTTP/1.1 abc",
            "HTTP/1.1 200 O\rK",
            "HTTP/1.1 200 \u{1}",
        ] {
            assert!(matches!(parsed(line), Err(Fault::FirstLine)), "{line}");
        }
        for line in ["HTTP/2.0 200 OK", "HTTP/1.x 200", "HTTP/1.10 200"] {
            assert!(matches!(parsed(line), Err(Fault::Version)), "{line}");
        }
    }

    #[test]
    fn another_protocol_is_known_by_its_first_bytes() {
        for (input, may) in [("", true), ("HTT", true), ("HTTP/1.1 200", true), ("SSH-2.0", false), ("HTTX", false), ("http/", false)] {
            assert_eq!(may_begin(input.as_bytes()), may, "{input}");
        }
    }

    #[test]
    fn what_keeps_a_connection() {
        for (text, keeps) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close", false),
            ("HTTP/1.1 200 OK\r\nconnection: x\r\nconnection: close", false),
            ("HTTP/1.1 200 OK\r\nconnection: keep-alive", true),
            ("HTTP/1.0 200 OK", false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive", true),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive, close", false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked", false),
        ] {
            assert_eq!(parsed(text).expect(text).keeps_alive(), keeps, "{text}");
        }
    }
}
