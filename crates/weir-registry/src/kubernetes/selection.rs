//! Which namespaces count: those that one of `meshConfig.discoverySelectors` selects, at any time by their labels then.
//!
//! What stands in others is kept aside, so that it is there when the namespace is labelled. Without selectors nothing is: when there are
//! some of a sudden, all is listed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_api::Kind;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;

use super::received::Received;

/// Objects by their paths.
pub(super) type Objects = BTreeMap<PathBuf, (Kind, Received)>;

/// The namespaces that count, and the objects of all.
pub(super) struct Selection {
    selectors: Vec<LabelSelector>,
    selected: BTreeSet<String>,
    objects: BTreeMap<String, Objects>,
}

impl Selection {
    /// One by these selectors; none if there are none, and everything counts.
    pub fn new(selectors: &[LabelSelector]) -> Option<Self> {
        let of = |selectors: &[LabelSelector]| Self { selectors: selectors.to_vec(), selected: BTreeSet::new(), objects: BTreeMap::new() };
        (!selectors.is_empty()).then(|| of(selectors))
    }

    /// Whether objects of a namespace count; those of none do.
    pub fn counts(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.selected.contains(namespace)
    }

    /// Keeps an object, in the place of its last version.
    pub fn keep(&mut self, kind: Kind, path: &Path, object: &Received) {
        let (namespace, _) = object.name();
        if !namespace.is_empty() {
            self.objects.entry(namespace.to_owned()).or_default().insert(path.to_owned(), (kind, object.clone()));
        }
    }

    /// An object is gone.
    pub fn forget(&mut self, path: &Path) {
        let Some(namespace) = namespace_of(path) else { return };
        if let Some(objects) = self.objects.get_mut(namespace) {
            objects.remove(path);
            if objects.is_empty() {
                self.objects.remove(namespace);
            }
        }
    }

    /// Takes in a namespace with its labels, or without any when it is gone. If it counts otherwise now than before, returns its objects.
    pub fn label(&mut self, namespace: &str, labels: Option<&Labels>) -> Objects {
        let is_selected = labels.is_some_and(|labels| self.selectors.iter().any(|selector| selector.matches(labels)));
        let has_changed = match is_selected {
            true => self.selected.insert(namespace.to_owned()),
            false => self.selected.remove(namespace),
        };
        if has_changed { self.objects.get(namespace).cloned().unwrap_or_default() } else { Objects::new() }
    }

    /// Selects by others of these namespaces. Returns the objects of those that count otherwise now.
    pub fn reselect(&mut self, selectors: &[LabelSelector], namespaces: &BTreeMap<String, Labels>) -> Objects {
        self.selectors = selectors.to_vec();
        namespaces.iter().flat_map(|(namespace, labels)| self.label(namespace, Some(labels))).collect()
    }

    /// The objects of namespaces that do not count.
    pub fn into_unselected(self) -> Objects {
        let Self { selected, objects, .. } = self;
        objects.into_iter().filter(|(namespace, _)| !selected.contains(namespace)).flat_map(|(_, objects)| objects).collect()
    }
}

/// The labels of an object.
pub(super) fn labels(object: &Value) -> Labels {
    let written = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    written.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The namespace in a path `Kind/namespace/name`.
pub(super) fn namespace_of(path: &Path) -> Option<&str> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        [_, namespace, _] => Some(namespace),
        _ => None,
    }
}
