//! Heads, chunks and trailers as they are written.
//!
//! Nothing is checked here: methods, names and values are of types that cannot hold a line break, and a target is the caller's, who
//! has read it from a request line.

use http::{Method, StatusCode, Version};

use crate::header::{HeaderName, HeaderValue, Headers, NameSet, with_digits};
use crate::spelling::{self, Case, Spelling};

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What ends a head.
pub const HEAD_END: &[u8] = b"\r\n";

/// Writes a request line.
pub fn request_line(method: &Method, target: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes the status line of an answer.
pub fn status_line(version: Version, status: StatusCode, out: &mut Vec<u8>) {
    if version == Version::HTTP_11 && status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    status_line_with(version, status, reason(status).as_bytes(), out);
}

/// Writes the status line of an answer with another reason than the usual one.
pub fn status_line_with(version: Version, status: StatusCode, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if version < Version::HTTP_11 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase, in Envoy's words. No program may read it (RFC 9112, 4).
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::IM_A_TEAPOT | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => "Unknown",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

/// Writes fields.
pub fn fields(headers: &Headers, case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    for (name, value) in headers {
        line(name, value, case, spelling, out);
    }
}

/// Writes one field.
#[inline]
pub fn line(name: &HeaderName, value: &HeaderValue, case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    write_name(name, case, spelling, out);
    value.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Writes one field of a value that is written down nowhere else.
pub fn field(name: &HeaderName, value: &[u8], case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    write_name(name, case, spelling, out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_name(name: &HeaderName, case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    if spelling.is_none() && case != Case::Proper {
        name.write(out);
    } else {
        spelling::write(name.as_bytes(), case, spelling, out);
        out.extend_from_slice(b": ");
    }
}

/// Writes one field whose value is a number.
pub fn number(name: &HeaderName, value: u64, case: Case, spelling: Option<&Spelling>, out: &mut Vec<u8>) {
    with_digits(value, |digits| field(name, digits, case, spelling, out));
}

/// Writes an interim answer (RFC 9110, 15.2), without what belongs to the connection that it came by.
pub fn interim(status: StatusCode, headers: &Headers, case: Case, out: &mut Vec<u8>) {
    status_line(Version::HTTP_11, status, out);
    const OF_CONNECTION: NameSet = NameSet::of(&["connection", "upgrade", "keep-alive", "proxy-connection"]);
    for (name, value) in headers.iter().filter(|(name, _)| !OF_CONNECTION.contains(name)) {
        line(name, value, case, None, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes what stands before the data of a chunk. The data must not be empty: that would be the end.
pub fn chunk_size(length: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.extend(DIGITS.get(length >> (4 * digit) & 0xf));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk, and trailers if there are any.
pub fn last_chunk(trailers: Option<&Headers>, case: Case, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(trailers, case, None, out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = vec![];
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn headers() -> Headers {
        let mut headers = Headers::new();
        headers.insert("x-own", HeaderValue::from_static("1"));
        headers.append("x-own", HeaderValue::from_static("2"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers
    }

    #[test]
    fn heads_are_written() {
        assert_eq!(written(|out| request_line(&Method::PUT, b"/a?b", out)), "PUT /a?b HTTP/1.1\r\n");
        assert_eq!(written(|out| fields(&headers(), Case::Proper, None, out)), "X-Own: 1\r\nX-Own: 2\r\nConnection: close\r\n");
        let line = |version, status: u16| written(|out| status_line(version, StatusCode::from_u16(status).expect("a status"), out));
        assert_eq!(line(Version::HTTP_11, 200), "HTTP/1.1 200 OK\r\n");
        assert_eq!(line(Version::HTTP_10, 200), "HTTP/1.0 200 OK\r\n");
        for (status, expected) in [(404, "404 Not Found"), (418, "418 Unknown"), (451, "451 Unknown"), (799, "799 Unknown")] {
            assert_eq!(line(Version::HTTP_11, status), format!("HTTP/1.1 {expected}\r\n"));
        }
    }

    #[test]
    fn numbers_are_written() {
        for value in [0, 7, 10, 128, 4096, u64::MAX] {
            let line = written(|out| number(&header::CONTENT_LENGTH, value, Case::Lower, None, out));
            assert_eq!(line, format!("content-length: {value}\r\n"));
        }
    }

    #[test]
    fn an_interim_answer_is_written_without_what_belongs_to_its_connection() {
        let hints = written(|out| interim(StatusCode::EARLY_HINTS, &headers(), Case::Lower, out));
        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nx-own: 1\r\nx-own: 2\r\n\r\n");
    }

    #[test]
    fn sizes_of_chunks_are_written() {
        for size in [0, 1, 15, 16, 255, 256, 4096, 65535, 1 << 20, usize::MAX] {
            assert_eq!(written(|out| chunk_size(size, out)), format!("{size:x}\r\n"));
        }
        assert_eq!(written(|out| last_chunk(None, Case::Lower, out)), "0\r\n\r\n");
        assert_eq!(written(|out| last_chunk(Some(&headers()), Case::Lower, out)), "0\r\nx-own: 1\r\nx-own: 2\r\nconnection: close\r\n\r\n");
    }
}
