//! The path of a request, normalised before anything looks at it.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use weir_routing::normalize::Unsettled;

use super::{Refusal, codec_error, refuse};
use crate::http::HttpConfig;

/// Envoy's words for a path that is refused, and for one whose client is sent elsewhere.
const NOT_NORMAL: &str = "path_normalization_failed";

/// The path and query that routes and instances see.
pub(super) fn settle(uri: &Uri, method: &Method, config: &HttpConfig) -> Result<PathAndQuery, Refusal> {
    const BAD_REQUEST: Refusal = codec_error(StatusCode::BAD_REQUEST, "http1.codec_error", "Bad Request");
    const BAD_PATH: Refusal = refuse(StatusCode::BAD_REQUEST, NOT_NORMAL, "");
    let path = uri.path_and_query().ok_or(BAD_REQUEST)?;
    match (path.as_str(), method) {
        (text, &Method::OPTIONS) if text.starts_with('*') => return Err(refuse(StatusCode::NOT_FOUND, "absolute_path_rejected", "")),
        (text, _) if !text.starts_with('/') || !text.is_ascii() => return Err(BAD_REQUEST),
        _ => {}
    }
    let settled = config.paths.settle(path.as_str()).map_err(|unsettled| match unsettled {
        Unsettled::Refused => BAD_PATH,
        Unsettled::Elsewhere(path) => match PathAndQuery::try_from(path) {
            Ok(path) => Refusal { location: Some(path), ..refuse(StatusCode::TEMPORARY_REDIRECT, NOT_NORMAL, "") },
            Err(_) => BAD_PATH,
        },
    })?;
    match settled {
        // A URL without a path has an empty one, which prints as `/` but would be written as nothing.
        Cow::Borrowed(text) if uri.scheme().is_some() => PathAndQuery::try_from(text).map_err(|_| BAD_PATH),
        Cow::Borrowed(_) => Ok(path.clone()),
        Cow::Owned(normal) => PathAndQuery::try_from(normal).map_err(|_| BAD_PATH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::config;

    #[test]
    fn targets_that_are_no_paths_are_refused() {
        for (target, method, status) in
            [("*", Method::OPTIONS, 404), ("*", Method::GET, 400), ("/\u{e9}", Method::GET, 400), ("http://a?q", Method::GET, 400)]
        {
            let refused = settle(&target.parse().expect("a target"), &method, &config()).map_err(|no| no.status.as_u16());
            assert_eq!(refused, Err(status), "{target}");
        }
    }

    #[test]
    fn a_url_without_a_path_asks_for_the_root() {
        let path = settle(&Uri::from_static("http://a.test"), &Method::GET, &config()).expect("a path");
        assert_eq!(Uri::from(path).to_string(), "/");
    }
}
