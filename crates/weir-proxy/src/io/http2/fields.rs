//! Headers that belong to a connection of HTTP/1.1 (RFC 9113, 8.2.2): no message of HTTP/2 has them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

static OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes them out, with those that `connection` names.
pub fn strip(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned() {
        named.as_bytes().split(|byte| *byte == b',').filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).for_each(|name| {
            headers.remove(name);
        });
    }
    for name in &OF_CONNECTION {
        // Most are not there, and a head has few headers: comparing names costs less than hashing each of these.
        if headers.keys().any(|known| known == name) {
            headers.remove(name);
        }
    }
}

/// Takes out whatever `te` says but that trailers are welcome, which is all that HTTP/2 lets it say.
pub fn strip_te(headers: &mut HeaderMap) {
    let welcome = HeaderValue::from_static("trailers");
    if headers.contains_key(header::TE) && !headers.get_all(header::TE).iter().eq([&welcome]) {
        headers.remove(header::TE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_belongs_to_a_connection_of_http1_is_taken_out() {
        let mut all = headers(&[
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-other", "1"),
        ]);
        strip(&mut all);
        assert_eq!(all, headers(&[("x-other", "1")]));
    }

    #[test]
    fn trailers_are_all_that_te_may_ask_for() {
        for (said, kept) in [("trailers", true), ("gzip", false), ("trailers, gzip", false), ("TRAILERS", false)] {
            let mut request = headers(&[("te", said)]);
            strip_te(&mut request);
            assert_eq!(request.contains_key("te"), kept, "{said}");
        }
        let mut twice = headers(&[("te", "trailers"), ("te", "gzip")]);
        strip_te(&mut twice);
        assert!(twice.is_empty());
    }
}
