//! What routing looks at in a request.

use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::grpc;

// A name that is read already: each request is asked for it.
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request's head, borrowed from wherever it lives.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// `http` or `https`, or what else the client said; it need not be how the client came.
    pub scheme: &'a str,
    /// The `Host` header or `:authority`, as it was sent.
    pub authority: &'a str,
    /// The path with its query, normalised.
    pub path: &'a str,
    /// All other headers.
    pub headers: &'a HeaderMap,
    /// What chance gave this request: a route may take only some requests. It stays the same however often the request is
    /// matched.
    pub random: u64,
}

impl<'a> RequestHead<'a> {
    /// The path without its query.
    pub fn path_only(&self) -> &'a str {
        self.path.split_once('?').map_or(self.path, |(path, _)| path)
    }

    /// The query as it was sent, if there is one.
    pub fn query(&self) -> Option<&'a str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// The first value of a query parameter, raw: Envoy decodes nothing. A name without `=` has an empty value.
    pub fn query_parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether the client came by TLS, for those that let nobody in without it. Envoy looks at what it is told, to the letter.
    pub fn came_by_tls(&self) -> bool {
        self.came_by() == b"https"
    }

    /// The scheme by which the client came, as it is told; where nothing is told, the request's own.
    pub(crate) fn came_by(&self) -> &'a [u8] {
        self.headers.get(&FORWARDED_PROTO).map_or(self.scheme.as_bytes(), HeaderValue::as_bytes)
    }

    /// Whether it is a gRPC call.
    pub fn is_grpc(&self) -> bool {
        self.headers.get(CONTENT_TYPE).is_some_and(grpc::is_content_type)
    }

    /// The first value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        cookie(self.headers, name)
    }
}

/// The first value of a cookie. As in Envoy, what has no `=` is passed over, only spaces before the name are, and quotes
/// around the value do not belong to it.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    let value = pairs.into_iter().find_map(|pair| {
        let pair = &pair[pair.iter().take_while(|byte| **byte == b' ').count()..];
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })?;
    Some(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
}

/// The scheme that a proxy before this one tells in `x-forwarded-proto`. At the edge of a mesh nobody is believed but
/// proxies of one's own, of which so many stand before it.
pub fn told_scheme(headers: &HeaderMap, edge: bool, trusted_hops: u32) -> Option<&'static str> {
    if edge && trusted_hops == 0 {
        return None;
    }
    known_scheme(headers.get(&FORWARDED_PROTO)?.as_bytes())
}

/// The scheme of HTTP that a text is, in whatever case.
pub fn known_scheme(text: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_are_read_as_envoy_reads_them() {
        let headers: HeaderMap =
            ["a=1; b=\"2\";c=; d", "a=3;e = 4;f=\""].map(|text| (COOKIE, HeaderValue::from_static(text))).into_iter().collect();
        let cases: [(&str, Option<&str>); 8] = [
            ("a", Some("1")),
            ("b", Some("2")),
            ("c", Some("")),
            ("d", None),
            ("e", None),
            ("e ", Some(" 4")),
            ("f", Some("\"")),
            ("g", None),
        ];
        for (name, expected) in cases {
            assert_eq!(cookie(&headers, name), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn at_the_edge_only_trusted_proxies_are_believed_about_the_scheme() {
        let headers = HeaderMap::from_iter([("x-forwarded-proto".parse().expect("a name"), "https".parse().expect("a value"))]);
        for (edge, trusted_hops, expected) in [(false, 0, Some("https")), (true, 0, None), (true, 1, Some("https"))] {
            assert_eq!(told_scheme(&headers, edge, trusted_hops), expected, "{edge} {trusted_hops}");
        }
        assert_eq!(told_scheme(&HeaderMap::new(), true, 1), None);
    }
}
