//! Where a probe goes that is answered with a redirect. The kubelet follows one to the same host, to whichever port, ten times at most; one to
//! another host it takes for success, since whoever sends it is well enough to do so.
//!
//! Facts: `RedirectChecker` in pkg/probe/http of Kubernetes, `Client.do` in net/http of Go.

use http::StatusCode;
use http::uri::{Authority, Uri};

/// So often a probe is sent on.
pub(super) const MOST: usize = 10;

/// Where something is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub port: u16,
    pub tls: bool,
    /// With its query; begins with a slash.
    pub path: String,
    /// The host and port that a redirect named; none if none did.
    pub named: Option<Authority>,
}

/// Whether a status sends on whoever asks, if it says where to.
pub(super) fn sends_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Place {
    /// Where a `Location` leads from here; none if that is no place on this host.
    pub fn follow(&self, location: &str, is_this_host: impl Fn(&str) -> bool) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{}://{rest}", if self.tls { "https" } else { "http" }),
            None => location.to_owned(),
        };
        if !has_scheme(&absolute) {
            return Some(Self { path: self.resolve(location), ..self.clone() });
        }
        let uri: Uri = absolute.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        if !is_this_host(authority.host()) {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { port, tls, path: without_dots(&path), named: Some(authority.clone()) })
    }

    /// A reference as RFC 3986 has it, section 5.2.
    fn resolve(&self, reference: &str) -> String {
        let (own, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        if reference.is_empty() {
            return self.path.clone();
        }
        if reference.starts_with('?') {
            return format!("{own}{reference}");
        }
        if reference.starts_with('/') {
            return without_dots(reference);
        }
        let folder = own.rfind('/').map_or("/", |end| &own[..=end]);
        without_dots(&format!("{folder}{reference}"))
    }
}

/// Whether a reference begins with a scheme (RFC 3986, section 3.1).
fn has_scheme(reference: &str) -> bool {
    let is_scheme = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    reference.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// A path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut parts: Vec<&str> = vec![];
    let mut all = path.trim_start_matches('/').split('/').peekable();
    while let Some(part) = all.next() {
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                // What ends so is a folder.
                if all.peek().is_none() {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_on_the_same_host() {
        let here = Place { port: 8080, tls: false, path: "/a/b?c=d".to_owned(), named: None };
        let follow = |location: &str| {
            let next = here.follow(location, |host| host == "10.0.0.1" || host == "[fd00::1]");
            next.map(|next| (next.port, next.tls, next.path))
        };
        for (location, expected) in [
            ("/x", Some((8080, false, "/x"))),
            ("x", Some((8080, false, "/a/x"))),
            ("../x?y=http://z", Some((8080, false, "/x?y=http://z"))),
            ("../../../x/.", Some((8080, false, "/x/"))),
            ("?e", Some((8080, false, "/a/b?e"))),
            ("", Some((8080, false, "/a/b?c=d"))),
            ("/x#part", Some((8080, false, "/x"))),
            ("http://10.0.0.1:9090/x", Some((9090, false, "/x"))),
            ("http://10.0.0.1", Some((80, false, "/"))),
            ("https://10.0.0.1/x?y", Some((443, true, "/x?y"))),
            ("https://[fd00::1]:8443/", Some((8443, true, "/"))),
            ("//10.0.0.1/x", Some((80, false, "/x"))),
            ("http://example.com/x", None),
            ("https://10.0.0.2/", None),
            ("ftp://10.0.0.1/", None),
            ("http://", None),
        ] {
            let expected = expected.map(|(port, tls, path)| (port, tls, path.to_owned()));
            assert_eq!(follow(location), expected, "{location}");
        }
    }

    #[test]
    fn only_some_statuses_send_on() {
        let all: Vec<u16> = (300..400).filter(|status| sends_on(StatusCode::from_u16(*status).unwrap())).collect();
        assert_eq!(all, [301, 302, 303, 307, 308]);
    }
}
