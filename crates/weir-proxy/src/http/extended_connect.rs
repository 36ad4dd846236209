//! How a client of HTTP/2 asks for another protocol on its stream, such as WebSocket (RFC 8441). From here on it is the request
//! that HTTP/1.1 has for that, so that routes, filters and instances know but one.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::ext::Protocol;

/// Makes an upgrade of a CONNECT that names a protocol; whether it was one.
pub(super) fn take<B>(request: &mut Request<B>) -> bool {
    let Some(protocol) = request.extensions_mut().remove::<Protocol>() else { return false };
    // A name that no header may have is refused with the CONNECT that it is.
    let Ok(name) = HeaderValue::from_str(protocol.as_str()) else { return false };
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if name.as_bytes().eq_ignore_ascii_case(b"websocket") {
        // HTTP/2 needs none, an instance of HTTP/1.1 insists.
        headers.entry(header::SEC_WEBSOCKET_KEY).or_insert_with(key);
    }
    headers.insert(header::UPGRADE, name);
    true
}

/// Makes the answer to a CONNECT of the answer to an upgrade. Where the instance has not agreed, no success may be told: the client
/// would take what follows for the other protocol.
pub(super) fn settle<B>(answer: &mut Response<B>) {
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *answer.status_mut() = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
            answer.headers_mut().remove(name);
        }
    } else if status.is_success() {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

/// Sixteen bytes that nobody has used before, in base 64 (RFC 6455, 4.1).
fn key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = fastrand::u128(..);
    // 21 digits of six bits, and one of two.
    let digit = |i: usize| DIGITS.get(((bits >> (6 * i)) % 64) as usize).copied().unwrap_or(b'A');
    let last = DIGITS.get(((bits >> 126) as usize) << 4).copied().unwrap_or(b'A');
    let text: Vec<u8> = (0..21).map(digit).chain([last, b'=', b'=']).collect();
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn a_connect_that_names_a_protocol_is_an_upgrade() {
        let mut request = Request::connect("http://a/chat").extension(Protocol::from_static("websocket")).body(()).expect("a request");
        assert!(take(&mut request));
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/chat"));
        assert_eq!(request.headers()["connection"], "Upgrade");
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(BASE64_STANDARD.decode(&request.headers()["sec-websocket-key"]).expect("base 64").len(), 16);
        let mut plain = Request::connect("a:80").body(()).expect("a request");
        assert!(!take(&mut plain));
        assert_eq!((plain.method(), plain.headers().len()), (&Method::CONNECT, 0));
    }

    #[test]
    fn only_agreement_is_success() {
        for (status, told) in [(101, 200), (200, 502), (204, 502), (403, 403), (302, 302), (503, 503)] {
            let mut answer = Response::builder().status(status).header("upgrade", "websocket").body(()).expect("an answer");
            settle(&mut answer);
            assert_eq!(answer.status(), told, "{status}");
        }
    }
}
