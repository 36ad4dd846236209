//! A request as checks see and change it: nothing is done to the request itself before it is known that it goes on.

use weir_http1::{HeaderName, HeaderValue};

use crate::query::without_parameter;
use crate::request::RequestHead;

/// What checks change of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Headers that are taken away.
    pub removed: Vec<HeaderName>,
    /// Headers that are added then.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// The path, if it is another.
    pub path: Option<String>,
}

/// A request with what checks have changed so far: of two tokens the second check does not see the one that the first has
/// taken away.
pub(super) struct View<'r> {
    pub head: RequestHead<'r>,
    pub changes: Changes,
}

impl<'r> View<'r> {
    /// A request of which nothing is changed yet.
    pub fn new(head: RequestHead<'r>) -> Self {
        Self { head, changes: Changes::default() }
    }

    /// The values of a header.
    pub fn values(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        let own = (!self.changes.removed.contains(name)).then(|| self.head.headers.get_all(name).iter());
        let added = self.changes.added.iter().filter(move |(own, _)| own == name).map(|(_, value)| value);
        own.into_iter().flatten().chain(added)
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        self.changes.path.as_deref().unwrap_or(self.head.path)
    }

    /// Takes a header away.
    pub fn remove(&mut self, name: &HeaderName) {
        self.changes.added.retain(|(own, _)| own != name);
        if self.head.headers.contains_key(name) && !self.changes.removed.contains(name) {
            self.changes.removed.push(name.clone());
        }
    }

    /// Adds a header; false if it cannot have that value: one with a line break in it would be two.
    pub fn add(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        let value = HeaderValue::from_bytes(value);
        value.is_ok_and(|value| {
            self.changes.added.push((name.clone(), value));
            true
        })
    }

    /// Takes a parameter out of the query.
    pub fn remove_parameter(&mut self, name: &str) {
        self.changes.path = Some(without_parameter(self.path(), name.as_bytes()));
    }
}
