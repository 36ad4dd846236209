//! What HTTP/2 has of its own in heads: headers of a request line (RFC 9113, 8.3.1), and limits that its library counts otherwise.

use http::{Method, StatusCode};
use weir_http1::header::{self, Headers};

use super::target::Parts;
use super::{Head, Refusal, codec_error};
use crate::cluster::Http2Options;
use crate::http::HttpConfig;

/// What is counted for each header beside its name and value (RFC 9113, 6.5.2).
const OVERHEAD: usize = 32;
/// Method, scheme and path: every request has them.
const PSEUDO: usize = 3;

/// What the library of HTTP/2 is told to take: as much again as is allowed, for it refuses without a line in the log.
pub fn list_limit(bytes: usize, headers: usize) -> u32 {
    u32::try_from(bytes.saturating_mul(2).saturating_add(headers.saturating_mul(OVERHEAD))).unwrap_or(u32::MAX)
}

/// Refuses a head that is too large. What HTTP/2 makes headers of a request line counts with the others.
pub(super) fn check_size(head: &Head, target: &Parts<'_>, config: &HttpConfig) -> Result<(), Refusal> {
    const STATUS: StatusCode = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let authority = target.authority.map(|authority| ":authority".len() + authority.len());
    if head.headers.len() + PSEUDO + usize::from(authority.is_some()) > config.max_headers {
        return Err(codec_error(STATUS, "http2.too_many_headers", ""));
    }
    let line = ":method:scheme:path".len() + head.method.as_str().len() + "http".len() + target.path.unwrap_or("/").len();
    if size(&head.headers) + line + authority.unwrap_or(0) > config.max_header_bytes {
        return Err(codec_error(STATUS, "http2.header_list_size_too_large", ""));
    }
    Ok(())
}

/// Whether the head of an answer is larger than it may be.
pub fn answer_is_too_large(headers: &Headers, options: &Http2Options) -> bool {
    headers.len() + 1 > options.max_headers || size(headers) + ":status200".len() > options.max_header_bytes
}

fn size(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Refuses a request that is for nobody. One that was HTTP/1.1 before may have a `host` in place of `:authority`.
pub(super) fn check_authority(method: &Method, target: &Parts<'_>, headers: &Headers) -> Result<(), Refusal> {
    let names_one = target.authority.is_some() || headers.contains_key(header::HOST) || *method == Method::CONNECT;
    if names_one { Ok(()) } else { Err(codec_error(StatusCode::BAD_REQUEST, "http2.violation.of.messaging.rule", "")) }
}

#[cfg(test)]
mod tests {
    use weir_http1::HeaderValue;

    use super::*;
    use crate::head::tests::config;
    use crate::http::Http2Windows;

    fn with(count: usize, length: usize) -> Head {
        let mut head = Head::default();
        for i in 0..count {
            let name = weir_http1::HeaderName::from_bytes(format!("x-{i:04}").as_bytes()).expect("a name");
            head.headers.insert(name, HeaderValue::from_bytes(&vec![b'x'; length]).expect("a value"));
        }
        head
    }

    #[test]
    fn heads_beyond_the_limits_are_refused_and_said_why() {
        let target = Parts { scheme: Some("http"), authority: Some("one.test"), path: Some("/") };
        for (count, length, refused) in [
            (96, 1, None),
            (97, 1, Some("http2.too_many_headers")),
            (1600, 1, Some("http2.too_many_headers")),
            (60, 1017, None),
            (61, 1017, Some("http2.header_list_size_too_large")),
            (1, 61 << 10, Some("http2.header_list_size_too_large")),
        ] {
            let result = check_size(&with(count, length), &target, &config());
            assert_eq!(result.err().map(|refusal| (refusal.status.as_u16(), refusal.details)), refused.map(|details| (431, details)));
        }
    }

    #[test]
    fn the_path_counts() {
        let (config, path) = (config(), format!("/{}", "x".repeat(60 << 10)));
        let target = Parts { scheme: Some("http"), authority: Some("one.test"), path: Some(&path) };
        assert!(check_size(&with(1, 1), &target, &config).is_err());
    }

    #[test]
    fn answers_beyond_the_limits_are_told() {
        let options = Http2Options {
            max_concurrent_streams: None,
            keepalive: None,
            windows: Http2Windows::default(),
            max_headers: 100,
            max_header_bytes: 60 << 10,
        };
        for (count, length, expected) in [(99, 1, false), (100, 1, true), (60, 1017, false), (61, 1017, true)] {
            assert_eq!(answer_is_too_large(&with(count, length).headers, &options), expected, "{count} of {length}");
        }
    }

    #[test]
    fn the_library_is_told_more_than_a_head_within_the_limits_can_have() {
        assert_eq!(list_limit(60 << 10, 100), 126_080);
        assert_eq!(list_limit(usize::MAX, 100), u32::MAX);
    }

    #[test]
    fn a_request_names_a_host_in_one_way_or_the_other() {
        let named = Headers::from_iter([(header::HOST, HeaderValue::from_static("one.test"))]);
        for (authority, headers, good) in [(Some("one.test"), Headers::new(), true), (None, named, true), (None, Headers::new(), false)] {
            let target = Parts { scheme: Some("http"), authority, path: Some("/") };
            assert_eq!(check_authority(&Method::GET, &target, &headers).is_ok(), good, "{target:?}");
        }
    }
}
