//! The path of a request, normalised before anything looks at it.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

use super::{Refusal, refuse};
use crate::http::HttpConfig;

/// The path and query that routes and instances see.
pub(super) fn settle(uri: &Uri, method: &Method, config: &HttpConfig) -> Result<PathAndQuery, Refusal> {
    const BAD_REQUEST: Refusal = refuse(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request", false);
    const BAD_PATH: Refusal = refuse(StatusCode::BAD_REQUEST, "path_normalization_failed", "", true);
    let path = uri.path_and_query().ok_or(BAD_REQUEST)?;
    match (path.as_str(), method) {
        ("*", &Method::OPTIONS) => return Err(refuse(StatusCode::NOT_FOUND, "path_normalization_failed", "", true)),
        (text, _) if !text.starts_with('/') => return Err(BAD_REQUEST),
        _ => {}
    }
    match config.paths.settle(path.as_str()).map_err(|_| BAD_PATH)? {
        Cow::Borrowed(_) => Ok(path.clone()),
        Cow::Owned(normal) => PathAndQuery::try_from(normal).map_err(|_| BAD_PATH),
    }
}
