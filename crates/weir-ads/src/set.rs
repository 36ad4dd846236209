//! What a server wants one client to have.

use std::sync::Arc;

use weir_xds::resource::{ResourceType, route_configuration_of};

use crate::resources::{Resource, SLOTS, Version, slot};
use crate::shared_map::SharedMap;

/// All resources of one client, by type and name. A copy shares all that it does not change.
///
/// A set may lie over another one, which is that of many clients: then it is what all of them get, and what this one gets
/// besides, or in its place.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    types: [SharedMap<Arc<Resource>>; SLOTS],
    shared: Option<Arc<ResourceSet>>,
}

impl ResourceSet {
    /// A set that has what `shared` has, until it gets more.
    pub fn over(shared: Arc<Self>) -> Self {
        Self { types: Default::default(), shared: Some(shared) }
    }

    /// The same set over another one.
    #[must_use]
    pub fn moved_over(&self, shared: Arc<Self>) -> Self {
        Self { types: self.types.clone(), shared: Some(shared) }
    }

    /// The set that it lies over.
    pub fn shared(&self) -> Option<&Arc<Self>> {
        self.shared.as_ref()
    }

    /// The resources of a type: its own ones first, then those that it shares; each in alphabetical order.
    pub fn of(&self, kind: ResourceType) -> Box<dyn Iterator<Item = (&Arc<str>, &Arc<Resource>)> + '_> {
        let own = &self.types[slot(kind)];
        match &self.shared {
            None => Box::new(own.iter()),
            Some(shared) => Box::new(own.iter().chain(shared.of(kind).filter(|(name, _)| own.get(name).is_none()))),
        }
    }

    /// The virtual hosts that a route configuration leaves to resources of their own, each once, with their versions.
    pub(crate) fn hosts_of(&self, route_configuration: &str) -> Vec<(Arc<str>, Version)> {
        let below = format!("{route_configuration}/");
        let is_its = |(name, _): &(&Arc<str>, _)| route_configuration_of(name) == Some(route_configuration);
        let own = &self.types[slot(ResourceType::VirtualHost)];
        let its = own.below(&below).filter(is_its).map(|(name, resource)| (name.clone(), resource.version));
        let shared = self.shared.iter().flat_map(|shared| shared.hosts_of(route_configuration));
        its.chain(shared.filter(|(name, _)| own.get(name).is_none())).collect()
    }

    /// The resource of a name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.entry(kind, name).map(|(_, resource)| resource)
    }

    /// A name as all who have it share it, with the version that there is.
    pub(crate) fn shared_name(&self, kind: ResourceType, name: &str) -> (Arc<str>, Option<Version>) {
        self.entry(kind, name).map_or_else(|| (name.into(), None), |(name, resource)| (name.clone(), Some(resource.version)))
    }

    fn entry(&self, kind: ResourceType, name: &str) -> Option<(&Arc<str>, &Arc<Resource>)> {
        let own = self.types[slot(kind)].get(name);
        own.or_else(|| self.shared.as_ref()?.entry(kind, name))
    }

    /// Whether there is none of a type.
    pub fn has_none(&self, kind: ResourceType) -> bool {
        self.types[slot(kind)].is_empty() && self.shared.as_ref().is_none_or(|shared| shared.has_none(kind))
    }

    /// Adds a resource, or replaces the one of that name.
    pub fn insert(&mut self, kind: ResourceType, name: impl Into<Arc<str>>, resource: impl Into<Arc<Resource>>) {
        self.types[slot(kind)].insert(name.into(), resource.into());
    }

    /// Takes a resource away.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        self.types[slot(kind)].remove(name);
    }

    /// Whether any of its secrets is [private](Resource::is_private).
    pub fn holds_private(&self) -> bool {
        let own = &self.types[slot(ResourceType::Secret)];
        own.iter().any(|(_, secret)| secret.is_private) || self.shared.as_ref().is_some_and(|shared| shared.holds_private())
    }

    /// The same set without the secrets that are.
    #[must_use]
    pub fn without_private(&self) -> Self {
        let mut public = self.clone();
        let (kept, own) = (&mut public.types[slot(ResourceType::Secret)], &self.types[slot(ResourceType::Secret)]);
        own.iter().filter(|(_, secret)| secret.is_private).for_each(|(name, _)| drop(kept.remove(name)));
        public.shared = self.shared.as_ref().map(|shared| Arc::new(shared.without_private()));
        public
    }

    /// The names of what may differ between two sets. What they share is not looked at.
    pub fn compare(&self, other: &Self) -> Names {
        let mut names = Names::default();
        self.compare_into(other, &mut names);
        names
    }

    fn compare_into(&self, other: &Self, names: &mut Names) {
        let same = |a: &Arc<Resource>, b: &Arc<Resource>| Arc::ptr_eq(a, b) || a.version == b.version;
        for kind in ResourceType::ALL {
            self.types[slot(kind)].compare(&other.types[slot(kind)], same, |name| names.insert(kind, name.clone()));
        }
        match (&self.shared, &other.shared) {
            (None, None) => {}
            (Some(ours), Some(theirs)) if Arc::ptr_eq(ours, theirs) => {}
            (Some(ours), Some(theirs)) => ours.compare_into(theirs, names),
            (Some(shared), None) | (None, Some(shared)) => shared.compare_into(&Self::default(), names),
        }
    }
}

/// Names of resources, by type.
#[derive(Debug, Clone, Default)]
pub struct Names {
    types: [Vec<Arc<str>>; SLOTS],
}

impl Names {
    /// Adds a name. It may be added twice.
    pub fn insert(&mut self, kind: ResourceType, name: Arc<str>) {
        self.types[slot(kind)].push(name);
    }

    /// The names of a type.
    pub fn of(&self, kind: ResourceType) -> &[Arc<str>] {
        &self.types[slot(kind)]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.types.iter().all(Vec::is_empty)
    }
}
