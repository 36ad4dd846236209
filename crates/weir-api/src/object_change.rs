//! What became of one object.

use std::sync::Arc;

use crate::object::Object;
use crate::object_key::ObjectKey;

/// An object before and after a change. One that came has no `old`, one that went no `new`; both are of one key.
#[derive(Debug, Clone, Default)]
pub struct ObjectChange {
    /// As it was.
    pub old: Option<Arc<Object>>,
    /// As it is.
    pub new: Option<Arc<Object>>,
}

impl ObjectChange {
    /// An object that came.
    pub fn added(object: Arc<Object>) -> Self {
        Self { old: None, new: Some(object) }
    }

    /// What became of an object between two looks; none if it is the same.
    pub fn between(old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) -> Option<Self> {
        let is_same = match (old, new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        (!is_same).then(|| Self { old: old.cloned(), new: new.cloned() })
    }

    /// Both, as far as they are there.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.old.iter().chain(&self.new)
    }

    /// Which object it is about.
    pub fn key(&self) -> Option<ObjectKey> {
        self.sides().next().map(|object| object.key())
    }
}
