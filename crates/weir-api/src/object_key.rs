//! What tells the objects of a mesh apart, and what became of one of them.

use std::sync::Arc;

use crate::kind::Kind;
use crate::object::Object;

/// Which object of a mesh: there is one for each key. Keys order objects by kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// Empty for kinds that live in no namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

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
