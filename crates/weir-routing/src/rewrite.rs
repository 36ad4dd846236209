//! How a route changes the path, and where its redirects lead.

use std::fmt::Write as _;

use regex::bytes::Regex;
use weir_xds::matcher::RegexMatchAndSubstitute;
use weir_xds::route::RedirectAction;
use weir_xds::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

use crate::error::CompileError;
use crate::path::{PathCondition, PathMatch};
use crate::request::RequestHead;
use crate::text_match::compile_search;

/// What takes the place of a request's path. The query stays.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Takes the place of what the route's condition matched: the prefix, or the whole path.
    Matched(Box<str>),
    /// Takes the place of every occurrence of an expression; `${1}` stands for its first group.
    Regex(Box<Regex>, Box<str>),
}

impl PathRewrite {
    /// Compiles Envoy's `regex_rewrite`.
    ///
    /// # Errors
    /// If the expression is not valid.
    pub fn compile_regex(rewrite: &RegexMatchAndSubstitute) -> Result<Self, CompileError> {
        let pattern = rewrite.pattern.as_ref().ok_or_else(|| CompileError::missing("pattern"))?;
        Ok(Self::Regex(Box::new(compile_search(pattern)?), substitution(&rewrite.substitution).into()))
    }

    /// The new path with the query of the old one.
    pub fn apply(&self, condition: &PathCondition, path: &str) -> String {
        let (only, query) = split_query(path);
        let rewritten = match self {
            Self::Matched(new) => {
                let rest = match &condition.path {
                    PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => only.get(prefix.len()..).unwrap_or_default(),
                    PathMatch::Exact(_) | PathMatch::Regex(_) => "",
                };
                return format!("{new}{rest}{query}");
            }
            Self::Regex(regex, new) => regex.replace_all(only.as_bytes(), new.as_bytes()),
        };
        format!("{}{query}", String::from_utf8_lossy(&rewritten))
    }
}

/// RE2's `\1` as this library's `${1}`.
fn substitution(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => drop(write!(out, "${{{digit}}}")),
            ('\\', Some(other)) => out.push(other),
            ('$', _) => out.push_str("$$"),
            (c, _) => out.push(c),
        }
    }
    out
}

/// A path, and its query with the `?`.
fn split_query(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Box<str>>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: RedirectPath,
    strip_query: bool,
}

#[derive(Debug, Clone)]
enum RedirectPath {
    Same,
    To(Box<str>),
    Rewrite(PathRewrite),
}

impl Redirect {
    /// A redirect to the same place by `https`, as `require_tls` asks for it.
    pub fn to_https() -> Self {
        Self { scheme: Some("https".into()), ..Self::to_itself() }
    }

    /// A redirect to the same place: its location is the request's own.
    pub fn to_itself() -> Self {
        Self { status: 301, scheme: None, host: None, port: None, path: RedirectPath::Same, strip_query: false }
    }

    /// Compiles Envoy's redirect.
    ///
    /// # Errors
    /// If an expression of it is not valid.
    pub fn compile(redirect: &RedirectAction) -> Result<Self, CompileError> {
        let status = match redirect.response_code() {
            RedirectResponseCode::MovedPermanently => 301,
            RedirectResponseCode::Found => 302,
            RedirectResponseCode::SeeOther => 303,
            RedirectResponseCode::TemporaryRedirect => 307,
            RedirectResponseCode::PermanentRedirect => 308,
        };
        let scheme = match &redirect.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme.to_ascii_lowercase().into()),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
        };
        let path = match &redirect.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => RedirectPath::To(path.as_str().into()),
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => RedirectPath::Rewrite(PathRewrite::Matched(prefix.as_str().into())),
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => RedirectPath::Rewrite(PathRewrite::compile_regex(rewrite)?),
            _ => RedirectPath::Same,
        };
        Ok(Self {
            status,
            scheme,
            host: (!redirect.host_redirect.is_empty()).then(|| redirect.host_redirect.as_str().into()),
            port: u16::try_from(redirect.port_redirect).ok().filter(|port| *port != 0),
            path,
            strip_query: redirect.strip_query,
        })
    }

    /// The value of the `location` header for a request that no route was asked about.
    pub fn location_of_whole_path(&self, head: &RequestHead<'_>) -> String {
        self.location(&PathCondition { path: PathMatch::Prefix("".into()), ignore_case: false }, head)
    }

    /// The value of the `location` header for a request that satisfied the route's condition.
    pub fn location(&self, condition: &PathCondition, head: &RequestHead<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme);
        let host = match &self.host {
            Some(host) => host,
            None => self.request_host(head, scheme),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let (only, query) = split_query(head.path);
        let path = match &self.path {
            RedirectPath::Same => only.to_owned(),
            // A query of its own takes the place of the request's, and is not stripped.
            RedirectPath::To(path) => path.to_string(),
            RedirectPath::Rewrite(rewrite) => rewrite.apply(condition, only),
        };
        let has_own_query = matches!(&self.path, RedirectPath::To(path) if path.contains('?'));
        let query = if self.strip_query || has_own_query { "" } else { query };
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{host}{port}{slash}{path}{query}")
    }

    /// The request's own host, without a port that the redirect changes: because it names another, or because
    /// it was the old scheme's default.
    fn request_host<'h>(&self, head: &RequestHead<'h>, scheme: &str) -> &'h str {
        let bare = crate::host_index::without_port(head.authority);
        let port = head.authority.get(bare.len() + 1..);
        let default = match head.scheme {
            "https" => "443",
            _ => "80",
        };
        let changed = self.port.is_some() || (scheme != head.scheme && port == Some(default));
        if changed { bare } else { head.authority }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use weir_xds::matcher::RegexMatcher;
    use weir_xds::route::RouteMatch;
    use weir_xds::route::route_match::PathSpecifier;

    use super::*;

    fn condition(path: PathSpecifier) -> PathCondition {
        PathCondition::compile(&RouteMatch { path_specifier: Some(path), ..Default::default() }).expect("valid")
    }

    fn prefix(prefix: &str) -> PathCondition {
        condition(PathSpecifier::Prefix(prefix.into()))
    }

    #[test]
    fn what_matched_is_replaced() {
        let rewrite = |to: &str, condition: &PathCondition, path: &str| PathRewrite::Matched(to.into()).apply(condition, path);
        assert_eq!(rewrite("/", &prefix("/api"), "/api/users?a=1"), "//users?a=1");
        assert_eq!(rewrite("/", &prefix("/api"), "/apiusers"), "/users");
        assert_eq!(rewrite("/none", &prefix("/"), "/any"), "/noneany");
        assert_eq!(rewrite("/new", &condition(PathSpecifier::Path("/old".into())), "/old?q"), "/new?q");
    }

    #[test]
    fn every_occurrence_is_replaced_and_the_query_kept() {
        let pattern = Some(RegexMatcher { regex: "/v([0-9])".into(), ..Default::default() });
        let rewrite = RegexMatchAndSubstitute { pattern, substitution: "/$\\1".into() };
        let rewrite = PathRewrite::compile_regex(&rewrite).expect("valid");
        assert_eq!(rewrite.apply(&prefix("/"), "/v1/v2?x=/v3"), "/$1/$2?x=/v3");
    }

    fn location(action: RedirectAction, authority: &str, path: &str) -> String {
        let headers = HeaderMap::new();
        let head = RequestHead { method: "GET", scheme: "http", authority, path, headers: &headers };
        Redirect::compile(&action).expect("valid").location(&prefix("/"), &head)
    }

    #[test]
    fn redirects_lead_where_envoys_do() {
        let to = |path: &str| RedirectAction {
            path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect(path.into())),
            ..Default::default()
        };
        let https = RedirectAction { scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::HttpsRedirect(true)), ..Default::default() };
        assert_eq!(location(to("/new"), "a.test", "/x?q=1"), "http://a.test/new?q=1");
        assert_eq!(location(to("/new?z"), "a.test", "/x?q=1"), "http://a.test/new?z");
        assert_eq!(location(to("new"), "a.test", "/x?q=1"), "http://a.test/new?q=1");
        assert_eq!(location(https.clone(), "a.test:80", "/x"), "https://a.test/x");
        assert_eq!(location(https.clone(), "a.test:8081", "/x"), "https://a.test:8081/x");
        assert_eq!(location(RedirectAction { port_redirect: 8443, ..https }, "a.test:8081", "/"), "https://a.test:8443/");
        assert_eq!(location(RedirectAction { host_redirect: "b.test".into(), ..Default::default() }, "a.test:8081", "/"), "http://b.test/");
    }
}
