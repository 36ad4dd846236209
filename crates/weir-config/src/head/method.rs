//! Which methods a client may use.

use http::{Method, StatusCode, Version};

use super::{Refusal, codec_error};
use crate::http::HttpConfig;

/// The methods that Envoy's parser of HTTP/1.1 knows, in order.
const KNOWN: [&str; 34] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Refuses a method that nobody knows, where HTTP/1.1 is spoken: HTTP/2 takes any.
pub(super) fn check(method: &Method, version: Version, config: &HttpConfig) -> Result<(), Refusal> {
    let usual = matches!(*method, Method::GET | Method::POST | Method::PUT | Method::HEAD | Method::DELETE | Method::OPTIONS);
    if usual || version >= Version::HTTP_2 || config.custom_methods || KNOWN.binary_search(&method.as_str()).is_ok() {
        return Ok(());
    }
    Err(codec_error(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_methods_are_in_order() {
        assert!(KNOWN.is_sorted());
    }
}
