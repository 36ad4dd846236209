//! What a server wants one client to have.

use std::collections::BTreeMap;
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
}

/// A resource's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Resource {
    /// Packs a message.
    pub fn new<M: Message + Name>(message: &M) -> Self {
        let body = Any::pack(message);
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self { version: Version(hasher.finish()), body, endpoints: None }
    }

    /// Says that the resource is a cluster that needs a certain assignment.
    #[must_use]
    pub fn needing_endpoints(mut self, name: Arc<str>) -> Self {
        self.endpoints = Some(name);
        self
    }
}

/// All resources of one client, by type and name.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    types: [BTreeMap<Arc<str>, Resource>; 5],
}

impl ResourceSet {
    /// The resources of a type.
    pub fn of(&self, kind: ResourceType) -> &BTreeMap<Arc<str>, Resource> {
        &self.types[slot(kind)]
    }

    /// Adds a resource, or replaces the one of that name.
    pub fn insert(&mut self, kind: ResourceType, name: impl Into<Arc<str>>, resource: Resource) {
        self.types[slot(kind)].insert(name.into(), resource);
    }
}

/// Where a type's state is kept in an array.
pub(crate) fn slot(kind: ResourceType) -> usize {
    match kind {
        ResourceType::Cluster => 0,
        ResourceType::Endpoint => 1,
        ResourceType::Secret => 2,
        ResourceType::Listener => 3,
        ResourceType::Route => 4,
    }
}
