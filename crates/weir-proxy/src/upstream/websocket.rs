//! What a request for WebSocket needs in HTTP/1.1 that HTTP/2 has no need of.

use http::header::SEC_WEBSOCKET_KEY;
use http::{HeaderValue, Version};
use weir_config::head::Head;

/// Gives a request that came by HTTP/2 a key (RFC 8441, 5): an instance of HTTP/1.1 insists on one.
pub(super) fn complete(head: &mut Head, client: Option<Version>) {
    let wanted = head.upgrade.as_ref().is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if wanted && client == Some(Version::HTTP_2) {
        head.headers.entry(SEC_WEBSOCKET_KEY).or_insert_with(key);
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
    fn who_comes_by_http2_gets_a_key() {
        let asks = |protocol| Head { upgrade: Some(HeaderValue::from_static(protocol)), ..Head::default() };
        let mut head = asks("WebSocket");
        complete(&mut head, Some(Version::HTTP_11));
        assert!(head.headers.is_empty());
        complete(&mut head, Some(Version::HTTP_2));
        let first = head.headers[SEC_WEBSOCKET_KEY].clone();
        assert_eq!(BASE64_STANDARD.decode(&first).expect("base 64").len(), 16);
        complete(&mut head, Some(Version::HTTP_2));
        assert_eq!(head.headers[SEC_WEBSOCKET_KEY], first);
        let mut other = asks("connect-udp");
        complete(&mut other, Some(Version::HTTP_2));
        assert!(other.headers.is_empty());
    }
}
