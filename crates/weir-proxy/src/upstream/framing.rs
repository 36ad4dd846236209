//! Where a message ends: decided here, whatever its head says (RFC 9112, 6).
//!
//! What a client wrote of the length of its body was for its own connection. A request goes out with the length of the body
//! that follows it, or in chunks; an answer whose head leaves its end in doubt is no answer.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::Body;

use super::body::RequestBody;
use crate::exchange::failure::{Failure, FailureKind};

/// Frames a request of HTTP/1.1 by its body.
pub fn frame_request(method: &Method, headers: &mut HeaderMap, body: &RequestBody) {
    let (mut said, mut coded) = (false, false);
    // Most requests say neither: one look at each name costs less than a search for both.
    for name in headers.keys() {
        match *name {
            header::CONTENT_LENGTH => said = true,
            header::TRANSFER_ENCODING => coded = true,
            _ => {}
        }
    }
    if coded {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if body.is_end_stream() {
        // Who takes a request that usually has a body expects to be told that nothing follows (RFC 9110, 8.6).
        if said || !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        return;
    }
    // A length that a filter, or the client's connection as its head asked, has taken away is not said again.
    match body.size_hint().exact().filter(|_| said) {
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
        None => {
            headers.remove(header::CONTENT_LENGTH);
            // Said in words: without them the HTTP library takes a GET for one without a body.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Frames a request of HTTP/2 by its body: the length is but a promise there, which must be true.
pub fn frame_stream(headers: &mut HeaderMap, body: &RequestBody) {
    headers.remove(header::TRANSFER_ENCODING);
    match body.size_hint().exact() {
        Some(length) if headers.contains_key(header::CONTENT_LENGTH) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        Some(_) => {}
        None => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// Whether the head of an answer is larger than it may be.
pub fn is_too_large(headers: &HeaderMap, limit: usize) -> bool {
    // A line has a colon, a space, and its end.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() > limit
}

/// Looks whether it is beyond doubt where an answer ends.
///
/// # Errors
/// If it is not: its connection must not be used again.
pub fn check_answer(version: Version, status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let doubtful = || Failure::after_sending(FailureKind::Protocol);
    let (mut length, mut coding) = (None, None);
    // An answer has few headers: one look at each costs less than a search for each of these.
    for (name, value) in headers {
        let said = match *name {
            header::CONTENT_LENGTH => &mut length,
            header::TRANSFER_ENCODING => &mut coding,
            _ => continue,
        };
        if said.replace(value).is_some() {
            return Err(doubtful());
        }
    }
    if length.is_some_and(|length| !is_number(length)) {
        return Err(doubtful());
    }
    if status == StatusCode::NO_CONTENT && (length.is_some_and(|length| length != "0") || coding.is_some()) {
        return Err(doubtful());
    }
    let Some(coding) = coding else { return Ok(()) };
    let is_chunked = version < Version::HTTP_2 && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if is_chunked && length.is_none() { Ok(()) } else { Err(doubtful()) }
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.len() <= 19 && value.as_bytes().iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::super::body::ClientBody;
    use super::super::body::testing::{exchange, sized};
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_answer_whose_end_is_in_doubt_is_none() {
        const LENGTH: (&str, &str) = ("content-length", "5");
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[LENGTH], true),
            (&[("transfer-encoding", "chunked")], true),
            (&[("transfer-encoding", "Chunked")], true),
            (&[("content-length", "5, 5")], false),
            (&[LENGTH, LENGTH], false),
            (&[("content-length", "+5")], false),
            (&[("content-length", "")], false),
            (&[("content-length", "99999999999999999999")], false),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (&[("transfer-encoding", "gzip")], false),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
            (&[LENGTH, ("transfer-encoding", "chunked")], false),
        ];
        for (pairs, good) in cases {
            let pairs: Vec<(&'static str, &'static str)> = pairs.to_vec();
            assert_eq!(check_answer(Version::HTTP_11, StatusCode::OK, &headers(&pairs)).is_ok(), *good, "{pairs:?}");
        }
        assert!(check_answer(Version::HTTP_2, StatusCode::OK, &headers(&[("transfer-encoding", "chunked")])).is_err());
    }

    #[test]
    fn an_answer_that_can_have_no_body_announces_none() {
        for (pairs, good) in [
            (vec![], true),
            (vec![("content-length", "0")], true),
            (vec![("content-length", "7")], false),
            (vec![("transfer-encoding", "chunked")], false),
        ] {
            assert_eq!(check_answer(Version::HTTP_11, StatusCode::NO_CONTENT, &headers(&pairs)).is_ok(), good, "{pairs:?}");
            assert!(check_answer(Version::HTTP_11, StatusCode::NOT_MODIFIED, &headers(&pairs)).is_ok(), "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn the_length_of_a_request_is_told_if_its_head_tells_one() {
        let source = ClientBody::new(sized("hello").await, false, exchange()).expect("it has a body");
        for (said, length, coding) in [(Some("5"), Some("5"), None), (Some("9"), Some("5"), None), (None, None, Some("chunked"))] {
            let body = RequestBody::attempt(Some(&source));
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|said| (header::CONTENT_LENGTH, HeaderValue::from_static(said))));
            let text = |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            frame_stream(&mut headers, &body);
            assert_eq!(text(&headers, header::CONTENT_LENGTH).as_deref(), length);
            frame_request(&Method::POST, &mut headers, &body);
            let framing = (text(&headers, header::CONTENT_LENGTH), text(&headers, header::TRANSFER_ENCODING));
            assert_eq!((framing.0.as_deref(), framing.1.as_deref()), (length, coding));
        }
    }

    #[test]
    fn a_request_without_a_body_says_so_where_one_is_usual() {
        let cases = [
            (Method::GET, None, None),
            (Method::GET, Some("0"), Some("0")),
            (Method::DELETE, None, None),
            (Method::POST, None, Some("0")),
            (Method::PUT, Some("60"), Some("0")),
            (Method::OPTIONS, None, Some("0")),
        ];
        for (method, said, wanted) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|said| (header::CONTENT_LENGTH, HeaderValue::from_static(said))));
            frame_request(&method, &mut headers, &RequestBody::empty());
            let written = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            assert_eq!(written, wanted, "{method} {said:?}");
            assert!(!headers.contains_key(header::TRANSFER_ENCODING));
        }
    }
}
