//! All workloads of a mesh, found by name, address and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::{Kind, Object, ObjectChange, ObjectKey};

use super::workload::{Workload, of_object};
use crate::changes::Changes;
use crate::proxy::selects;
use crate::topology;
use crate::tree::{Groups, Tree, put};

/// A label and its value, in a namespace; none stands for all workloads of it.
type Labelled = (String, Option<(String, String)>);

/// All workloads of a mesh, in the order of their objects' keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workloads {
    all: Tree<Arc<ObjectKey>, Arc<Workload>>,
    by_address: Groups<String, Arc<ObjectKey>, Arc<Workload>>,
    by_label: Groups<Labelled, Arc<ObjectKey>, Arc<Workload>>,
    /// Where nodes stand, by their names.
    nodes: Tree<String, String>,
    on_node: Groups<String, Arc<ObjectKey>, ()>,
}

/// A workload that is not what it was: before and after.
#[derive(Debug)]
pub(crate) struct WorkloadChange {
    pub old: Option<Arc<Workload>>,
    pub new: Option<Arc<Workload>>,
}

impl WorkloadChange {
    /// Both, as far as they are there.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.old.iter().chain(&self.new)
    }

    /// Whether it takes requests or not is all that is new.
    fn is_of_health(&self) -> bool {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return false };
        Workload { ready: new.ready, ..(**old).clone() } == **new
    }

    fn note(&self, changes: &mut Changes) {
        for workload in self.sides() {
            changes.workloads.insert((workload.namespace.clone(), workload.name.clone()));
            if !self.is_of_health() {
                changes.addresses.insert(workload.address.clone());
            }
        }
    }
}

impl Workloads {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.all.values()
    }

    /// The workload that an object defines.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Workload>> {
        self.all.get(key)
    }

    /// The WorkloadEntry of this name, or else the Pod.
    pub fn named(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        let of_kind = |kind| self.all.get(&ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() });
        of_kind(Kind::WorkloadEntry).or_else(|| of_kind(Kind::Pod))
    }

    /// Those at an address.
    pub fn at(&self, address: &str) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_address.members(address).map(|(_, workload)| workload)
    }

    /// Those of a namespace at an address: what it costs does not grow with how many others have it.
    pub fn at_in(&self, namespace: &str, address: &str) -> Vec<&Arc<Workload>> {
        let Some(here) = self.by_address.get(address) else { return vec![] };
        let of_kind = |kind| {
            let first = ObjectKey { kind, namespace: namespace.to_owned(), name: String::new() };
            let from_first = here.range(first..);
            from_first.take_while(move |(key, _)| key.kind == kind && key.namespace == namespace).map(|(_, workload)| workload)
        };
        [Kind::WorkloadEntry, Kind::Pod].into_iter().flat_map(of_kind).collect()
    }

    /// Those of a namespace that have all of these labels.
    pub(super) fn selected<'s>(
        &'s self,
        namespace: &str,
        selector: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'s Arc<Workload>> + use<'s> {
        let whole = || self.by_label.get(&(namespace.to_owned(), None));
        let labelled = |(name, value): (&String, &String)| (namespace.to_owned(), Some((name.clone(), value.clone())));
        let among = match selector.is_empty() {
            true => whole(),
            // The rarest label leaves the fewest to be looked at; one that nobody has leaves none.
            false => {
                let sets: Option<Vec<_>> = selector.iter().map(labelled).map(|label| self.by_label.get(&label)).collect();
                sets.and_then(|sets| sets.into_iter().min_by_key(|set| set.size()))
            }
        };
        among.into_iter().flat_map(Tree::values).filter(|workload| selects(selector, &workload.labels))
    }

    /// Takes in what became of objects. `again` are those whose health may not be what it was.
    pub(crate) fn update(
        &mut self,
        objects: &[ObjectChange],
        again: &BTreeSet<ObjectKey>,
        ready: &dyn Fn(&Object) -> bool,
        changes: &mut Changes,
    ) -> Vec<WorkloadChange> {
        let moved = self.update_nodes(objects);
        let on_moved = moved.iter().flat_map(|node| self.on_node.members(node).map(|(key, ())| &**key));
        let is_workload = |object: &Arc<Object>| matches!(object.kind, Kind::WorkloadEntry | Kind::Pod);
        let of_objects = objects.iter().filter(|change| change.sides().any(is_workload));
        let mut newest: BTreeMap<ObjectKey, Option<Arc<Object>>> =
            again.iter().chain(on_moved).filter_map(|key| Some((key.clone(), Some(self.get(key)?.object.clone())))).collect();
        newest.extend(of_objects.filter_map(|change| Some((change.key()?, change.new.clone()))));
        let mut changed = vec![];
        for (key, object) in newest {
            let standing = |node: &str| self.nodes.get(node).cloned().unwrap_or_default();
            let new = object.and_then(|object| of_object(&object, ready, &standing));
            let old = self.get(&key).cloned();
            if old.as_deref() == new.as_ref() {
                continue;
            }
            let change = WorkloadChange { old, new: new.map(Arc::new) };
            self.replace(key, &change);
            change.note(changes);
            changed.push(change);
        }
        changed
    }

    /// Takes in what became of nodes. Returns those that stand where they did not.
    fn update_nodes(&mut self, objects: &[ObjectChange]) -> Vec<String> {
        let mut moved = vec![];
        for change in objects.iter().filter(|change| change.sides().any(|object| object.kind == Kind::Node)) {
            let Some(ObjectKey { name, .. }) = change.key() else { continue };
            let now = change.new.as_ref().map(|node| topology::node_locality(&node.meta.labels)).filter(|locality| !locality.is_empty());
            if self.nodes.get(&name) != now.as_ref() {
                put(&mut self.nodes, name.clone(), now);
                moved.push(name);
            }
        }
        moved
    }

    fn replace(&mut self, key: ObjectKey, change: &WorkloadChange) {
        let key = Arc::new(key);
        if let Some(old) = &change.old {
            self.by_address.remove(&old.address, &*key);
            labels(old).for_each(|label| self.by_label.remove(&label, &*key));
            self.on_node.remove(&old.node, &*key);
            self.all.remove_mut(&*key);
        }
        if let Some(new) = &change.new {
            self.by_address.insert(new.address.clone(), key.clone(), new.clone());
            labels(new).for_each(|label| self.by_label.insert(label, key.clone(), new.clone()));
            if !new.node.is_empty() {
                self.on_node.insert(new.node.clone(), key.clone(), ());
            }
            self.all.insert_mut(key, new.clone());
        }
    }
}

/// What a workload is found by.
fn labels(workload: &Workload) -> impl Iterator<Item = Labelled> {
    let namespace = &workload.namespace;
    let each = workload.labels.iter().map(|(name, value)| (namespace.clone(), Some((name.clone(), value.clone()))));
    std::iter::once((namespace.clone(), None)).chain(each)
}
