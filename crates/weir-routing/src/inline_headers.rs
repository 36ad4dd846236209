//! Headers of which Envoy keeps one: repeated ones are joined, whether a peer sends them so or a route appends to them. A
//! condition then sees one value. Which they are was found by asking Envoy 1.40.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Those of a request.
pub static REQUEST: [HeaderName; 37] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName::from_static("access-control-request-private-network"),
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-loop"),
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-timeout"),
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::ORIGIN,
    header::PRAGMA,
    PROXY_STATUS,
    header::REFERER,
    header::USER_AGENT,
    header::VIA,
    HeaderName::from_static("x-client-trace-id"),
    HeaderName::from_static("x-envoy-attempt-count"),
    DECORATOR_OPERATION,
    HeaderName::from_static("x-envoy-downstream-service-cluster"),
    HeaderName::from_static("x-envoy-downstream-service-node"),
    HeaderName::from_static("x-envoy-external-address"),
    HeaderName::from_static("x-envoy-is-timeout-retry"),
    HeaderName::from_static("x-envoy-original-host"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    REQUEST_ID,
];

/// Those of an answer.
pub static RESPONSE: [HeaderName; 30] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    HeaderName::from_static("access-control-allow-private-network"),
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
    header::LAST_MODIFIED,
    header::LOCATION,
    PROXY_STATUS,
    header::VARY,
    header::VIA,
    HeaderName::from_static("x-envoy-attempt-count"),
    DECORATOR_OPERATION,
    HeaderName::from_static("x-envoy-degraded"),
    HeaderName::from_static("x-envoy-immediate-health-check-fail"),
    HeaderName::from_static("x-envoy-ratelimited"),
    HeaderName::from_static("x-envoy-upstream-canary"),
    HeaderName::from_static("x-envoy-upstream-healthchecked-cluster"),
    HeaderName::from_static("x-envoy-upstream-service-time"),
    REQUEST_ID,
];

const DECORATOR_OPERATION: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Joins those of these headers that are repeated.
pub fn join_repeated(headers: &mut HeaderMap, inline: &[HeaderName]) {
    inline.iter().for_each(|name| join(headers, name, b","));
}

/// Adds a value to a header: to its old one, where there can be one only.
pub fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, inline: &[HeaderName]) {
    if headers.append(name, value) && inline.contains(name) {
        join(headers, name, b",");
    }
}

/// Makes one header of several, if there are several; the empty ones among them say nothing.
pub fn join(headers: &mut HeaderMap, name: &HeaderName, between: &[u8]) {
    if headers.get_all(name).iter().nth(1).is_none() {
        return;
    }
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(|value| !value.is_empty()).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(between)) {
        headers.insert(name, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn only_headers_that_can_be_there_once_are_joined() {
        let mut headers = HeaderMap::new();
        for name in ["referer", "x-forwarded-host", "accept-language", "range", "vary"] {
            headers.append(name, HeaderValue::from_static("a"));
            headers.append(name, HeaderValue::from_static("b"));
        }
        join_repeated(&mut headers, &REQUEST);
        for (name, expected) in
            [("referer", vec!["a,b"]), ("x-forwarded-host", vec!["a,b"]), ("accept-language", vec!["a", "b"]), ("vary", vec!["a", "b"])]
        {
            assert_eq!(values(&headers, name), expected, "{name}");
        }
        join_repeated(&mut headers, &RESPONSE);
        assert_eq!(values(&headers, "vary"), ["a,b"]);
    }

    #[test]
    fn what_is_added_to_a_header_stands_in_its_only_value_or_beside_it() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b"] {
            for name in ["location", "x-a"] {
                append(&mut headers, &HeaderName::from_static(name), HeaderValue::from_static(value), &RESPONSE);
            }
        }
        assert_eq!((values(&headers, "location"), values(&headers, "x-a")), (vec!["a,b".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    }
}
