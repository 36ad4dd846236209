//! What an application saw of a request.

use hyper::{HeaderMap, Method, Uri};

/// A request's head, as it reached a [`Peer`](crate::Peer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers in their order; those of one name stand together. `host` is one of them.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The text that tells of a request: the method and the path, then a line for each header.
    pub(crate) fn write(method: &Method, path: &Uri, headers: &HeaderMap) -> String {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        format!("{method} {path}\n{}", lines.collect::<String>())
    }

    /// Reads such a text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (method, path) = lines.next()?.split_once(' ')?;
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = lines.map(header).collect::<Option<_>>()?;
        Some(Self { method: method.to_owned(), path: path.to_owned(), headers })
    }

    /// All values of a header, in their order.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }
}
