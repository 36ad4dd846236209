//! The resources of a proxy as they were received, for `/config_dump`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use weir_xds::Any;
use weir_xds::resource::ResourceType;

/// Accepted resources, shared by who follows the server and who asks: nothing is copied when one changes.
#[derive(Debug, Default, Clone)]
pub struct Received(Arc<RwLock<Bodies>>);

type Bodies = HashMap<ResourceType, BTreeMap<Arc<str>, Any>>;

impl Received {
    /// Takes in a resource that was accepted.
    pub(super) fn put(&self, kind: ResourceType, name: &Arc<str>, body: &Any) {
        self.write().entry(kind).or_default().insert(name.clone(), body.clone());
    }

    /// Forgets a resource.
    pub(super) fn remove(&self, kind: ResourceType, name: &Arc<str>) {
        self.write().entry(kind).or_default().remove(name);
    }

    /// Forgets all resources of a type but these.
    pub(super) fn keep(&self, kind: ResourceType, is_wanted: impl Fn(&Arc<str>) -> bool) {
        self.write().entry(kind).or_default().retain(|name, _| is_wanted(name));
    }

    /// Whether just this was accepted last under a name.
    pub(super) fn is(&self, kind: ResourceType, name: &Arc<str>, body: &Any) -> bool {
        self.read().get(&kind).and_then(|bodies| bodies.get(name)) == Some(body)
    }

    /// The resources of a type, in the order of their names.
    pub fn of(&self, kind: ResourceType) -> Vec<(Arc<str>, Any)> {
        self.read().get(&kind).into_iter().flatten().map(|(name, body)| (name.clone(), body.clone())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Bodies> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Bodies> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
