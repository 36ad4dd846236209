//! Where a resource is: by the path of its text in the catalog, and by that of its kind at an API server.

use std::path::{Path, PathBuf};

use kube::core::ApiResource;
use weir_api::{Kind, ObjectKey, ObjectName};

/// A resource of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'p> {
    pub kind: Kind,
    pub namespace: &'p str,
    pub name: &'p str,
}

impl<'p> Place<'p> {
    /// By a path as `VirtualService/shop/reviews`.
    pub fn of(path: &'p Path) -> Option<Self> {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let [kind, namespace, name] = parts[..] else { return None };
        let kind = Kind::all().find(|known| known.name() == kind)?;
        Some(Self { kind, namespace, name })
    }

    /// Its key in the catalog.
    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.namespace.to_owned(), name: self.name.to_owned() }
    }
}

/// The path of an object in the catalog.
pub(super) fn path(name: &ObjectName) -> PathBuf {
    [&name.kind, &name.namespace, &name.name].into_iter().collect()
}

/// The same by its key.
pub(super) fn path_of(key: &ObjectKey) -> PathBuf {
    [key.kind.name(), &key.namespace, &key.name].into_iter().collect()
}

/// A kind at the API server, in this group and version.
pub(super) fn resource(kind: Kind, api_version: &str) -> ApiResource {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}
