//! Headers that are there several times and of which Envoy makes one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::trust::REQUEST_ID;

/// Headers of which Envoy keeps one: repeated ones are joined.
static JOINED: [HeaderName; 8] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::USER_AGENT,
    header::VIA,
    REQUEST_ID,
];

/// Joins those that are repeated.
pub(super) fn join_repeated(headers: &mut HeaderMap) {
    for name in &JOINED {
        if headers.get_all(name).iter().nth(1).is_some() {
            join(headers, name);
        }
    }
}

/// Makes one header of several, as Envoy does: with a comma and no space.
pub fn join(headers: &mut HeaderMap, name: &HeaderName) {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b","[..])) {
        headers.insert(name, joined);
    }
}
