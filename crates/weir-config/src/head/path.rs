//! The path of a request, normalised before anything looks at it.

use std::borrow::Cow;

use http::{Method, StatusCode};
use weir_routing::normalize::Unsettled;

use super::target::Parts;
use super::{MALFORMED, Refusal, refuse};
use crate::http::HttpConfig;

/// Envoy's words for a path that is refused, and for one whose client is sent elsewhere.
const NOT_NORMAL: &str = "path_normalization_failed";

/// The path and query that routes and instances see; none if they are what was said.
pub(super) fn settle(target: &Parts<'_>, method: &Method, config: &HttpConfig) -> Result<Option<String>, Refusal> {
    const BAD_PATH: Refusal = refuse(StatusCode::BAD_REQUEST, NOT_NORMAL, "");
    let path = target.path.ok_or(MALFORMED)?;
    match (path, method) {
        (text, &Method::OPTIONS) if text.starts_with('*') => return Err(refuse(StatusCode::NOT_FOUND, "absolute_path_rejected", "")),
        (text, _) if !text.starts_with('/') || !text.is_ascii() => return Err(MALFORMED),
        // What follows is for nobody but the client; Envoy refuses it, too.
        (text, _) if text.contains('#') => return Err(BAD_PATH),
        _ => {}
    }
    let settled = config.paths.settle(path).map_err(|unsettled| match unsettled {
        Unsettled::Refused => BAD_PATH,
        Unsettled::Elsewhere(path) => Refusal { location: Some(path), ..refuse(StatusCode::TEMPORARY_REDIRECT, NOT_NORMAL, "") },
    })?;
    match settled {
        Cow::Borrowed(text) if text.len() == path.len() => Ok(None),
        settled => Ok(Some(settled.into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::config;

    fn path(path: &str, method: &Method) -> Result<Option<String>, u16> {
        let target = Parts { scheme: None, authority: None, path: Some(path) };
        settle(&target, method, &config()).map_err(|no| no.status.as_u16())
    }

    #[test]
    fn targets_that_are_no_paths_are_refused() {
        for (target, method, status) in [
            ("*", Method::OPTIONS, 404),
            ("*", Method::GET, 400),
            ("/\u{e9}", Method::GET, 400),
            ("?q", Method::GET, 400),
            ("/a#b", Method::GET, 400),
        ] {
            assert_eq!(path(target, &method), Err(status), "{target}");
        }
        assert_eq!(path("/<a>`", &Method::GET), Ok(None));
    }
}
