//! What every rule has: where it came from, its age, and who may see it.

use std::cmp::Ordering;
use std::sync::Arc;

use weir_api::{FieldPath, Object, Place};

/// A part of an object: where a rule, or a part of one, was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The object.
    pub object: Arc<Object>,
    /// The part of it.
    pub path: FieldPath,
}

impl Origin {
    /// A part of an object.
    pub fn new(object: &Arc<Object>, path: FieldPath) -> Self {
        Self { object: object.clone(), path }
    }

    /// Where it stands in its text, if it came from one.
    pub fn place(&self) -> Option<Place> {
        self.object.place(&self.path)
    }
}

/// When an object was created. One without a time is as old as can be, so that all without one are of one age.
pub fn creation_time(object: &Object) -> jiff::Timestamp {
    object.meta.creation_timestamp.unwrap_or(jiff::Timestamp::MIN)
}

/// Which of two objects is older: by creation time, then name, then namespace.
pub fn by_age(a: &Object, b: &Object) -> Ordering {
    creation_time(a)
        .cmp(&creation_time(b))
        .then_with(|| a.meta.name.cmp(&b.meta.name))
        .then_with(|| a.meta.namespace.cmp(&b.meta.namespace))
}

/// Where an object stands among those of its kind, in the order of [`by_age`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    created: jiff::Timestamp,
    pub name: String,
    pub namespace: String,
}

impl Age {
    /// That of an object.
    pub fn of(object: &Object) -> Self {
        Self { created: creation_time(object), name: object.meta.name.clone(), namespace: object.meta.namespace.clone() }
    }
}
