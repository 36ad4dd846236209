//! What tells the objects of a mesh apart.

use crate::kind::Kind;

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
