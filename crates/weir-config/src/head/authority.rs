//! Whom a request is for.

use http::StatusCode;
use http::Uri;
use http::header::{self, HeaderMap, HeaderValue};

use super::{Refusal, refuse};
use weir_routing::inline_headers::join;

/// Leaves one `host` header: an absolute request line, or HTTP/2's `:authority`, goes before it.
pub(super) fn settle(uri: &Uri, headers: &mut HeaderMap) -> Result<(), Refusal> {
    if let Some(authority) = uri.authority() {
        if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
            headers.insert(header::HOST, value);
        }
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Err(refuse(StatusCode::BAD_REQUEST, "missing_host_header", "", true)),
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => {
            join(headers, &header::HOST, b",");
            Ok(())
        }
    }
}
