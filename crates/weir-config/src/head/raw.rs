//! What a head of HTTP/1.1 says as it was written, where the HTTP library hides it: a fragment of the target, a length that is said
//! twice, or beside chunks.

use http::header::{self, HeaderMap};
use http::{StatusCode, Version};

use super::{Refusal, codec_error, refuse};

/// Looks at a head, and at what the library made of its headers.
///
/// # Errors
/// If it is to be refused.
pub fn check(raw: &[u8], version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    const BAD: Refusal = codec_error(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request");
    let start = raw.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    let raw = raw.get(start..).unwrap_or_default();
    let line = raw.iter().position(|byte| matches!(byte, b'\n' | b'#'));
    if line.and_then(|at| raw.get(at)) == Some(&b'#') {
        return Err(refuse(StatusCode::BAD_REQUEST, "path_normalization_failed", ""));
    }
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if version < Version::HTTP_2 && (chunked || headers.contains_key(header::CONTENT_LENGTH)) {
        let lengths = lines(raw).filter(|line| names(line, b"content-length")).count();
        if lengths > usize::from(!chunked) {
            return Err(BAD);
        }
    }
    Ok(())
}

/// The lines of a head, as far as its end.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'\n').take_while(|line| !matches!(*line, b"" | b"\r"))
}

fn names(line: &[u8], name: &[u8]) -> bool {
    line.split_at_checked(name.len())
        .is_some_and(|(first, rest)| first.eq_ignore_ascii_case(name) && rest.trim_ascii_start().starts_with(b":"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_the_library_hides_is_refused() {
        let length = || HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("5"))]);
        let chunks = || HeaderMap::from_iter([(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        for (raw, headers, good) in [
            ("GET /a?b HTTP/1.1\r\nreferer: #\r\n\r\n", HeaderMap::new(), true),
            ("GET /a#b HTTP/1.1\r\n\r\n", HeaderMap::new(), false),
            ("\r\nGET /a#b HTTP/1.1\r\n\r\n", HeaderMap::new(), false),
            ("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\ncontent-length: 5", length(), true),
            ("PUT / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", length(), false),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\ncontent-length: 5\r\n", chunks(), true),
            ("PUT / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(), false),
        ] {
            assert_eq!(check(raw.as_bytes(), Version::HTTP_11, &headers).is_ok(), good, "{raw:?}");
        }
    }
}
