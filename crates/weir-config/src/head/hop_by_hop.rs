//! What belongs to the client's connection alone (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Takes away what belongs to the client's connection alone (RFC 9110, 7.6.1). Returns the protocol that the
/// client wants to change to.
pub(super) fn take(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<String> = list(headers, &header::CONNECTION);
        if listed.iter().any(|word| word == "upgrade") {
            // To `h2c` nobody need change: it is passed over.
            upgrade = headers.get(header::UPGRADE).cloned().filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
        }
        for name in listed.iter().filter(|name| !matches!(name.as_str(), "close" | "keep-alive" | "te")) {
            headers.remove(name.as_str());
        }
        headers.remove(header::CONNECTION);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    if headers.contains_key(header::TE) {
        let trailers = list(headers, &header::TE).iter().any(|word| word == "trailers");
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    upgrade
}

/// The words of a header's lists, in lower case.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
}
