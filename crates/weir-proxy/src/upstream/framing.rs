//! Where a message ends, whatever its head says (RFC 9112, 6).
//!
//! What a client wrote of the length of its body was for its own connection. A request goes out with the length of the body
//! that follows it, or in chunks; an answer whose head leaves its end in doubt is no answer.

use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use weir_config::head::Head;
use weir_http1::header::{self, HeaderValue, Headers};

use super::body::RequestBody;
use crate::exchange::failure::{Failure, FailureKind};

/// How the end of a request of HTTP/1.1 is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// Nothing follows it, as goes without saying.
    Nothing,
    /// By its length.
    Length(u64),
    /// In chunks.
    Chunks,
}

/// Frames a request of HTTP/1.1 by its body.
pub fn frame_request(head: &Head, body: &RequestBody) -> Framed {
    // A length that a filter, or the client's connection as its head asked, has taken away is not said again.
    let said = head.headers.contains_key(header::CONTENT_LENGTH);
    if body.is_end_stream() {
        // Who takes a request that usually has a body expects to be told that nothing follows (RFC 9110, 8.6).
        let usual = !matches!(head.method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT);
        return if said || usual && head.upgrade.is_none() { Framed::Length(0) } else { Framed::Nothing };
    }
    match body.size_hint().exact() {
        Some(length) if said => Framed::Length(length),
        // It is withheld, and nobody who changes to another protocol is told of it.
        _ if head.upgrade.is_some() && !said => Framed::Nothing,
        _ => Framed::Chunks,
    }
}

/// Frames a request of HTTP/2 by its body: the length is but a promise there, which must be true.
pub fn frame_stream(headers: &mut HeaderMap, body: &RequestBody) {
    headers.remove(http::header::TRANSFER_ENCODING);
    match body.size_hint().exact() {
        Some(length) if headers.contains_key(http::header::CONTENT_LENGTH) => {
            drop(headers.insert(http::header::CONTENT_LENGTH, length.into()))
        }
        Some(_) => {}
        None => drop(headers.remove(http::header::CONTENT_LENGTH)),
    }
}

/// Looks whether it is beyond doubt where an answer of HTTP/2 ends, also for those behind us. Of HTTP/1.1 the codec knows.
///
/// # Errors
/// If it is not.
pub fn check_answer(status: StatusCode, headers: &Headers) -> Result<(), Failure> {
    let doubtful = || Failure::after_sending(FailureKind::Protocol);
    let mut length = None;
    for (name, value) in headers {
        match *name {
            header::CONTENT_LENGTH if length.replace(value).is_some() => return Err(doubtful()),
            header::TRANSFER_ENCODING => return Err(doubtful()),
            _ => {}
        }
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // HTTP/2 has no such answer (RFC 9113, 8.6).
        return Err(doubtful());
    }
    let fine = length.is_none_or(|length| is_number(length) && (status != StatusCode::NO_CONTENT || length == "0"));
    if fine { Ok(()) } else { Err(doubtful()) }
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.len() <= 19 && value.as_bytes().iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use weir_http1::header::to_map;

    use super::super::body::ClientBody;
    use super::super::body::testing::{exchange, sized};
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
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
            (&[("content-length", "5, 5")], false),
            (&[LENGTH, LENGTH], false),
            (&[("content-length", "+5")], false),
            (&[("content-length", "")], false),
            (&[("content-length", "99999999999999999999")], false),
            (&[("transfer-encoding", "chunked")], false),
        ];
        for (pairs, good) in cases {
            let pairs: Vec<(&'static str, &'static str)> = pairs.to_vec();
            assert_eq!(check_answer(StatusCode::OK, &headers(&pairs)).is_ok(), *good, "{pairs:?}");
        }
        for (length, good) in [("0", true), ("7", false)] {
            assert_eq!(check_answer(StatusCode::NO_CONTENT, &headers(&[("content-length", length)])).is_ok(), good, "{length}");
        }
    }

    #[tokio::test]
    async fn the_length_of_a_request_is_told_if_its_head_tells_one() {
        let source = ClientBody::new(sized("hello").await, false, exchange()).expect("it has a body");
        for (said, length, framed) in
            [(Some("5"), Some("5"), Framed::Length(5)), (Some("9"), Some("5"), Framed::Length(5)), (None, None, Framed::Chunks)]
        {
            let body = RequestBody::attempt(Some(&source));
            let mut head = Head { method: Method::POST, ..Head::default() };
            head.headers.extend(said.map(|said| (header::CONTENT_LENGTH, HeaderValue::from_static(said))));
            let mut stream = to_map(&head.headers);
            frame_stream(&mut stream, &body);
            assert_eq!(stream.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()), length);
            assert_eq!(frame_request(&head, &body), framed);
        }
    }

    #[test]
    fn a_request_without_a_body_says_so_where_one_is_usual() {
        let cases = [
            (Method::GET, None, Framed::Nothing),
            (Method::GET, Some("0"), Framed::Length(0)),
            (Method::DELETE, None, Framed::Nothing),
            (Method::POST, None, Framed::Length(0)),
            (Method::PUT, Some("60"), Framed::Length(0)),
            (Method::OPTIONS, None, Framed::Length(0)),
        ];
        for (method, said, wanted) in cases {
            let mut head = Head { method, ..Head::default() };
            head.headers.extend(said.map(|said| (header::CONTENT_LENGTH, HeaderValue::from_static(said))));
            assert_eq!(frame_request(&head, &RequestBody::empty()), wanted, "{} {said:?}", head.method);
        }
    }
}
