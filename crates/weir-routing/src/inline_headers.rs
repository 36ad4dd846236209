//! Headers of which Envoy keeps one: repeated ones are joined, whether a peer sends them so or a route appends to them. A
//! condition then sees one value. Which they are was found by asking Envoy 1.40.

use weir_http1::header::{HeaderName, HeaderValue, Headers, NameSet};

/// Those of a request.
pub const REQUEST: NameSet = NameSet::of(&[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-is-timeout-retry",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
]);

/// Those of an answer.
pub const RESPONSE: NameSet = NameSet::of(&[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-status",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
]);

/// Joins those of these headers that are repeated.
pub fn join_repeated(headers: &mut Headers, inline: &NameSet) {
    let repeated = headers.repeated().and(inline);
    if !repeated.is_empty() {
        repeated.iter().for_each(|name| join(headers, &name, b","));
    }
}

/// Adds a value to a header: to its old one, where there can be one only.
pub fn append(headers: &mut Headers, name: &HeaderName, value: HeaderValue, inline: &NameSet) {
    if headers.append(name, value) && inline.contains(name) {
        join(headers, name, b",");
    }
}

/// Makes one header of several, if there are several; the empty ones among them say nothing.
pub fn join(headers: &mut Headers, name: &HeaderName, between: &[u8]) {
    if !headers.may_repeat(name) || headers.get_all(name).iter().nth(1).is_none() {
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

    fn values(headers: &Headers, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn what_is_appended_is_joined_unless_it_says_nothing() {
        for (name, told) in [("x-request-id", "a"), ("referer", "a"), ("x-own", "a+")] {
            let name: HeaderName = name.try_into().expect("a name");
            let mut headers = Headers::new();
            headers.insert(&name, HeaderValue::from_static("a"));
            append(&mut headers, &name, HeaderValue::from_static(""), &REQUEST);
            assert_eq!(values(&headers, name.as_str()).join("+"), told, "{name:?}");
        }
    }

    #[test]
    fn only_headers_that_can_be_there_once_are_joined() {
        let mut headers = Headers::new();
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
        let mut headers = Headers::new();
        for value in ["a", "b"] {
            for name in ["location", "x-a"] {
                append(&mut headers, &HeaderName::from_static(name), HeaderValue::from_static(value), &RESPONSE);
            }
        }
        assert_eq!((values(&headers, "location"), values(&headers, "x-a")), (vec!["a,b".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    }
}
