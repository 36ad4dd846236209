//! What a request asks for, taken apart (RFC 9112, 3.2).

use http::Method;

use super::{MALFORMED, Refusal, Target};

/// The parts of a target. What is missing was not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'t> {
    pub(super) scheme: Option<&'t str>,
    pub(super) authority: Option<&'t str>,
    /// With its query. As it was said, but for a URL without one, which has an empty path: that is `/`.
    pub(super) path: Option<&'t str>,
}

impl Parts<'_> {
    /// Whether a target is a path and nothing else, so that the path is all of it.
    pub(super) fn is_path(&self, target: &Target) -> bool {
        matches!((target, self.path), (Target::Line(line), Some(path)) if line.len() == path.len())
    }
}

/// Takes a target apart.
///
/// # Errors
/// If it is of no form.
pub(super) fn parts<'t>(target: &'t Target, method: &Method) -> Result<Parts<'t>, Refusal> {
    let line = match target {
        Target::Parts(uri) => {
            let path = uri.path_and_query().map(|path| if path.as_str().is_empty() { "/" } else { path.as_str() });
            return Ok(Parts { scheme: uri.scheme_str(), authority: uri.authority().map(|authority| authority.as_str()), path });
        }
        Target::Line(line) => line,
    };
    if !line.is_ascii() {
        return Err(MALFORMED);
    }
    if line.starts_with(['/', '*']) {
        return Ok(Parts { scheme: None, authority: None, path: Some(line) });
    }
    if *method == Method::CONNECT {
        return Ok(Parts { scheme: None, authority: Some(line), path: None });
    }
    let (scheme, rest) = line.split_once("://").ok_or(MALFORMED)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if scheme.is_empty() || authority.is_empty() {
        return Err(MALFORMED);
    }
    Ok(Parts { scheme: Some(scheme), authority: Some(authority), path: Some(if path.is_empty() { "/" } else { path }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Three<'t> = (Option<&'t str>, Option<&'t str>, Option<&'t str>);

    fn taken_apart(line: &str, method: &Method, check: impl FnOnce(Result<Three<'_>, u16>)) {
        let target = Target::Line(line.to_owned());
        let parts = parts(&target, method).map_err(|refusal| refusal.status.as_u16());
        check(parts.map(|Parts { scheme, authority, path }| (scheme, authority, path)));
    }

    #[test]
    fn each_form_has_its_parts() {
        let get = Method::GET;
        let cases: &[(&str, &Method, Result<Three<'_>, u16>)] = &[
            ("/a?b", &get, Ok((None, None, Some("/a?b")))),
            ("//a/b", &get, Ok((None, None, Some("//a/b")))),
            ("/<a>`", &get, Ok((None, None, Some("/<a>`")))),
            ("*", &Method::OPTIONS, Ok((None, None, Some("*")))),
            ("a:1", &Method::CONNECT, Ok((None, Some("a:1"), None))),
            ("http://a", &get, Ok((Some("http"), Some("a"), Some("/")))),
            ("HTTP://u@a:1/x?y", &get, Ok((Some("HTTP"), Some("u@a:1"), Some("/x?y")))),
            ("http://a?q", &get, Ok((Some("http"), Some("a"), Some("?q")))),
            ("http:///x", &get, Err(400)),
            ("://a/x", &get, Err(400)),
            ("a:1", &get, Err(400)),
            ("x/y", &get, Err(400)),
            ("/a#b", &get, Ok((None, None, Some("/a#b")))),
            ("http://a#b", &get, Ok((Some("http"), Some("a"), Some("#b")))),
            ("/\u{e9}", &get, Err(400)),
        ];
        for (line, method, expected) in cases {
            taken_apart(line, method, |parts| assert_eq!(parts, *expected, "{line}"));
        }
    }
}
