//! Which namespaces count: those that one of `meshConfig.discoverySelectors` selects, at any time by their labels then.
//!
//! What stands in others is kept aside, so that it is there when the namespace is labelled. Without selectors nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_api::Kind;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::resources::meta::Labels;

use super::received::Received;

/// Objects by their paths.
type Objects = BTreeMap<PathBuf, (Kind, Received)>;

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
    pub fn label(&mut self, namespace: &str, object: Option<&Value>) -> Objects {
        let labels = object.and_then(|object| object.pointer("/metadata")).map(|metadata| {
            let written = metadata.get("labels").and_then(Value::as_object).into_iter().flatten();
            written.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect::<Labels>()
        });
        let is_selected = labels.is_some_and(|labels| self.selectors.iter().any(|selector| selector.matches(&labels)));
        let has_changed = match is_selected {
            true => self.selected.insert(namespace.to_owned()),
            false => self.selected.remove(namespace),
        };
        if has_changed { self.objects.get(namespace).cloned().unwrap_or_default() } else { Objects::new() }
    }
}

/// The namespace in a path `Kind/namespace/name`.
fn namespace_of(path: &Path) -> Option<&str> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        [_, namespace, _] => Some(namespace),
        _ => None,
    }
}
