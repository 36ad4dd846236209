//! What may stand behind a body (RFC 9110, 6.5): what a head would have been refused for, or would have been taken out of it, must
//! not come in by the back door.

use http::header::{HeaderMap, HeaderName};

/// Headers that say how a message is framed or routed, who sent it, or what the connection is to do: they mean something in a head
/// only.
const OF_HEADS: [&str; 24] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// Takes out of trailers what they must not hold.
pub fn strip(trailers: &mut HeaderMap) {
    let bad: Vec<HeaderName> = trailers.keys().filter(|name| !may_follow(name)).cloned().collect();
    for name in bad {
        trailers.remove(name);
    }
}

fn may_follow(name: &HeaderName) -> bool {
    let name = name.as_str();
    // How long a body was before it was decompressed is told behind it.
    let is_reserved = name.starts_with("x-envoy-") && !name.starts_with("x-envoy-decompressor-");
    OF_HEADS.binary_search(&name).is_err() && !is_reserved
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn nothing_that_a_head_is_checked_for_follows_a_body() {
        assert!(OF_HEADS.is_sorted());
        let mut trailers = HeaderMap::new();
        for name in OF_HEADS.into_iter().chain(["x-envoy-original-path", "x-envoy-decompressor-l-compressed-bytes", "grpc-status", "x-own"])
        {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip(&mut trailers);
        let mut left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-envoy-decompressor-l-compressed-bytes", "x-own"]);
    }
}
