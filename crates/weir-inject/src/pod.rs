//! A pod as JSON, read with tolerance: what is absent or of another type is empty. The API server has checked it; files have not been.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A pod, or the template of pods: `metadata` and `spec`.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'p>(pub &'p Value);

impl<'p> Pod<'p> {
    /// Its labels.
    pub fn labels(self) -> BTreeMap<String, String> {
        words(&self.0["metadata"]["labels"])
    }

    /// Its annotations.
    pub fn annotations(self) -> BTreeMap<String, String> {
        words(&self.0["metadata"]["annotations"])
    }

    /// A label.
    pub fn label(self, name: &str) -> Option<&'p str> {
        self.0["metadata"]["labels"][name].as_str()
    }

    /// An annotation.
    pub fn annotation(self, name: &str) -> Option<&'p str> {
        self.0["metadata"]["annotations"][name].as_str()
    }

    /// Its name, or what its name will begin with.
    pub fn name(self) -> &'p str {
        let metadata = &self.0["metadata"];
        metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default()
    }

    /// Whether it shares the machine's network.
    pub fn has_host_network(self) -> bool {
        self.0["spec"]["hostNetwork"].as_bool() == Some(true)
    }

    /// Its containers, or with `initContainers` those.
    pub fn containers(self, field: &str) -> &'p [Value] {
        self.0["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether it has a container, among the usual or the init containers.
    pub fn has_container(self, name: &str) -> bool {
        ["containers", "initContainers"].iter().any(|field| self.containers(field).iter().any(|container| container["name"] == name))
    }
}

/// A map of texts.
pub(crate) fn words(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The map in a field, which becomes one if it is none.
pub(crate) fn map_in<'v>(value: &'v mut Value, field: &str) -> &'v mut Map<String, Value> {
    let entry = as_map(value).entry(field).or_insert_with(|| Value::Object(Map::new()));
    as_map(entry)
}

/// The list in a field, which becomes one if it is none.
pub(crate) fn list_in<'v>(value: &'v mut Value, field: &str) -> &'v mut Vec<Value> {
    let entry = as_map(value).entry(field).or_insert_with(|| Value::Array(vec![]));
    if !entry.is_array() {
        *entry = Value::Array(vec![]);
    }
    match entry {
        Value::Array(items) => items,
        _ => unreachable!("it has just become a list"),
    }
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it has just become a map"),
    }
}
