//! How a route changes the path, and where its redirects lead.

use weir_xds::route::RedirectAction;
use weir_xds::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};

use crate::error::CompileError;
use crate::host_index::split_port;
use crate::path::{PathCondition, PathMatch};
use crate::request::RequestHead;
use crate::substitution::Substitution;

/// What takes the place of a request's path. The query stays.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// Takes the place of what the route's condition matched: the prefix, or the whole path.
    Matched(Box<str>),
    /// Takes the place of every find of an expression.
    Regex(Box<Substitution>),
}

impl PathRewrite {
    /// The new path with the query of the old one.
    pub fn apply(&self, condition: &PathCondition, path: &str) -> String {
        let (only, query) = split_query(path);
        match self {
            Self::Matched(new) => {
                let rest = match &condition.path {
                    PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => only.get(prefix.len()..).unwrap_or_default(),
                    PathMatch::Exact(_) | PathMatch::Regex(_) => "",
                };
                format!("{new}{rest}{query}")
            }
            Self::Regex(substitution) => match substitution.apply(only) {
                // As in Envoy: what leaves nothing changes nothing.
                new if new.is_empty() => path.to_owned(),
                new => format!("{new}{query}"),
            },
        }
    }
}

/// A path, and its query with the `?`.
fn split_query(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

/// Where a request by plain HTTP is sent that must come by TLS: the same place, even where it named a port.
pub fn to_https(head: &RequestHead<'_>) -> String {
    format!("https://{}{}", head.authority, head.path)
}

/// Where an answer leads that is 201 or a redirect by its status alone: to what was asked for.
pub fn to_itself(head: &RequestHead<'_>) -> String {
    format!("{}://{}{}", head.scheme, head.authority, head.path)
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
    /// Compiles Envoy's redirect.
    ///
    /// # Errors
    /// If an expression of it is not valid.
    pub fn compile(redirect: &RedirectAction) -> Result<Self, CompileError> {
        let RedirectAction {
            host_redirect,
            port_redirect,
            response_code: _,
            strip_query,
            scheme_rewrite_specifier,
            path_rewrite_specifier,
        } = redirect;
        let status = match redirect.response_code() {
            RedirectResponseCode::MovedPermanently => 301,
            RedirectResponseCode::Found => 302,
            RedirectResponseCode::SeeOther => 303,
            RedirectResponseCode::TemporaryRedirect => 307,
            RedirectResponseCode::PermanentRedirect => 308,
        };
        let scheme = match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => Some(scheme.as_str().into()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(_) | SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
        };
        let path = match path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => RedirectPath::To(path.as_str().into()),
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
                RedirectPath::Rewrite(PathRewrite::Matched(prefix.as_str().into()))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                let substitution = Substitution::compile(rewrite).map_err(|error| error.within("regex_rewrite"))?;
                RedirectPath::Rewrite(PathRewrite::Regex(Box::new(substitution)))
            }
            Some(PathRewriteSpecifier::PathRewrite(template)) if !template.is_empty() => {
                return Err(CompileError::unsupported("path_rewrite"));
            }
            _ => RedirectPath::Same,
        };
        Ok(Self {
            status,
            scheme,
            host: (!host_redirect.is_empty()).then(|| host_redirect.as_str().into()),
            port: u16::try_from(*port_redirect).ok().filter(|port| *port != 0),
            path,
            strip_query: *strip_query,
        })
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
    /// it was the default of how the client came, which is not how it is to come.
    fn request_host<'h>(&self, head: &RequestHead<'h>, scheme: &str) -> &'h str {
        let Some((bare, port)) = split_port(head.authority) else { return head.authority };
        let came_by = head.came_by();
        let is_default = matches!((came_by, port), (b"http", "80") | (b"https", "443"));
        let changed = self.port.is_some() || (scheme.as_bytes() != came_by && is_default);
        if changed { bare } else { head.authority }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use weir_xds::matcher::{RegexMatchAndSubstitute, RegexMatcher};
    use weir_xds::route::route_match::PathSpecifier;

    use super::*;

    fn condition(path: PathSpecifier) -> PathCondition {
        PathCondition::compile(Some(&path), None).expect("valid")
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
    fn a_substitution_that_leaves_nothing_changes_nothing() {
        let pattern = RegexMatcher { regex: "[/abc]".into(), ..Default::default() };
        let substitution = RegexMatchAndSubstitute { pattern: Some(pattern), substitution: String::new() };
        let rewrite = PathRewrite::Regex(Box::new(Substitution::compile(&substitution).expect("valid")));
        for (path, new) in [("/", "/"), ("/abc?q=1", "/abc?q=1"), ("/x?q", "x?q")] {
            assert_eq!(rewrite.apply(&prefix("/"), path), new);
        }
    }

    fn location(action: RedirectAction, authority: &str, path: &str) -> String {
        let headers = HeaderMap::new();
        let head = RequestHead { method: "GET", scheme: "http", authority, path, headers: &headers, random: 0 };
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
        let ftp =
            RedirectAction { scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::SchemeRedirect("FTP".into())), ..Default::default() };
        assert_eq!(location(ftp, "a.test", "/x"), "FTP://a.test/x");
        assert_eq!(location(https.clone(), "a.test:80", "/x"), "https://a.test/x");
        assert_eq!(location(https.clone(), "a.test:8081", "/x"), "https://a.test:8081/x");
        assert_eq!(location(RedirectAction { port_redirect: 8443, ..https }, "a.test:8081", "/"), "https://a.test:8443/");
        assert_eq!(location(RedirectAction { host_redirect: "b.test".into(), ..Default::default() }, "a.test:8081", "/"), "http://b.test/");
    }

    #[test]
    fn a_redirect_looks_at_how_the_client_came() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", http::HeaderValue::from_static("https"));
        let to = |scheme: &str| RedirectAction {
            scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::SchemeRedirect(scheme.into())),
            ..Default::default()
        };
        let location = |action: &RedirectAction, authority| {
            let head = RequestHead { method: "GET", scheme: "http", authority, path: "/", headers: &headers, random: 0 };
            Redirect::compile(action).expect("valid").location(&prefix("/"), &head)
        };
        assert_eq!(location(&to("http"), "a.test:443"), "http://a.test/");
        assert_eq!(location(&to("http"), "a.test:80"), "http://a.test:80/");
        assert_eq!(location(&to("https"), "a.test:443"), "https://a.test:443/");
        assert_eq!(location(&RedirectAction::default(), "[::1]:443"), "http://[::1]/");
        assert_eq!(location(&RedirectAction { port_redirect: 1, ..Default::default() }, "[::1]"), "http://[::1]:1/");
        assert_eq!(location(&RedirectAction { port_redirect: 1, ..Default::default() }, "a.test:80."), "http://a.test:1/");
    }

    #[test]
    fn the_way_to_tls_keeps_a_port_that_was_named() {
        let headers = HeaderMap::new();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a.test:80", path: "/x?q", headers: &headers, random: 0 };
        assert_eq!(to_https(&head), "https://a.test:80/x?q");
        assert_eq!(to_itself(&head), "http://a.test:80/x?q");
    }
}
