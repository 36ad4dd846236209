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
    if is_plain(path) {
        return Ok(None);
    }
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

/// Whether a path is one that no rule changes or refuses, as most are: found by one look at each byte.
fn is_plain(path: &str) -> bool {
    let (mut before, mut bytes) = (None, path.bytes());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    for byte in bytes.by_ref() {
        match (before, byte) {
            (None, b'/') => {}
            (Some(_), b'?') => return bytes.all(|byte| byte.is_ascii_graphic() && byte != b'#'),
            // Two slashes may be one, and a segment that begins with a dot may be none.
            (None, _) | (Some(b'/'), b'/' | b'.') => return false,
            (Some(_), byte) if !is_plain(byte) => return false,
            _ => {}
        }
        before = Some(byte);
    }
    before.is_some()
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

    /// Whatever rules there are, they say of a plain path what is said without a look at them.
    #[test]
    fn a_plain_path_is_one_that_no_rule_changes() {
        use weir_routing::normalize::{EscapedSlashes, PathRules};
        const ESCAPED: [EscapedSlashes; 4] =
            [EscapedSlashes::Keep, EscapedSlashes::Reject, EscapedSlashes::Decode, EscapedSlashes::Redirect];
        let (mut paths, mut plain) = (vec!["/".to_owned()], 0);
        for _ in 0..5 {
            for path in paths.iter().filter(|path| is_plain(path)) {
                plain += 1;
                for (normalize, merge_slashes) in [(false, false), (false, true), (true, false), (true, true)] {
                    for escaped_slashes in ESCAPED {
                        let rules = PathRules { normalize, merge_slashes, escaped_slashes };
                        assert!(matches!(rules.settle(path), Ok(Cow::Borrowed(same)) if same == path), "{path} {rules:?}");
                    }
                }
                assert!(path.starts_with('/') && path.is_ascii() && !path.contains('#'), "{path}");
            }
            paths = paths.iter().flat_map(|path| b"/a.?#%-\\;<\x7f".map(|byte| format!("{path}{}", char::from(byte)))).collect();
        }
        assert!(plain > 100 && is_plain("/a-b/c_d.e~1?f=%2f") && !is_plain("") && !is_plain("?"));
    }
}
