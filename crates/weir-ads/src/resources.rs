//! Resources as a server keeps them: encoded once, for all who get them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use weir_xds::resource::ResourceType;
use weir_xds::{Any, Message, Name};

/// One resource, encoded once for all who get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its version: a hash of its content, so that it outlives a restart of the server.
    pub version: Version,
    /// The packed message.
    pub body: Any,
    /// For a cluster whose instances come by EDS: the name of the assignment that a client will ask for, and
    /// without which it cannot use the cluster.
    pub endpoints: Option<Arc<str>>,
    /// Whether it is for those alone who may know secrets.
    pub is_private: bool,
}

/// A resource's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// How many characters a version has when it is written.
pub(crate) const VERSION_LEN: usize = 16;

impl Version {
    /// Stands for all versions that nobody here wrote.
    pub(crate) const OTHER: Self = Self(0);

    /// Reads what [`Display`](std::fmt::Display) wrote; none if that was somebody else.
    pub(crate) fn parse(written: &str) -> Option<Self> {
        let is_ours = written.len() == VERSION_LEN && written.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_ours.then(|| u64::from_str_radix(written, 16).ok().map(Self)).flatten()
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Resource {
    /// Packs a message.
    pub fn new<M: Message + Name>(message: &M) -> Self {
        Self::packed(Any::pack(message))
    }

    /// Takes a message that is packed already.
    pub fn packed(body: Any) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self { version: Version(hasher.finish().max(1)), body, endpoints: None, is_private: false }
    }

    /// Says that the resource is a cluster that needs a certain assignment.
    #[must_use]
    pub fn needing_endpoints(mut self, name: Arc<str>) -> Self {
        self.endpoints = Some(name);
        self
    }

    /// Says that it is for those alone who may know secrets.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }
}

/// How many types there are.
pub(crate) const SLOTS: usize = ResourceType::ALL.len();

/// Where a type's state is kept in an array.
pub(crate) fn slot(kind: ResourceType) -> usize {
    match kind {
        ResourceType::Cluster => 0,
        ResourceType::Endpoint => 1,
        ResourceType::Secret => 2,
        ResourceType::Listener => 3,
        ResourceType::Route => 4,
        ResourceType::VirtualHost => 5,
        ResourceType::Extension => 6,
        ResourceType::NameTable => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for version in [Version(0), Version(7), Version(u64::MAX)] {
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        for other in ["", "1", "+000000000000001", "000000000000000A", "00000000000000001", "2026-11-26T00:00"] {
            assert_eq!(Version::parse(other), None, "{other}");
        }
    }
}
