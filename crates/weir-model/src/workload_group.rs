//! WorkloadGroups: which WorkloadEntries belong to one, and how these are probed.
//!
//! An entry belongs to the group that its annotation names (Istio's own, set when an instance registered itself), or, so
//! that entries written by hand belong somewhere, to one of its namespace all of whose labels it has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_api::resources::WorkloadGroup;
use weir_api::resources::workload::ReadinessProbe;
use weir_api::{Kind, Object, ObjectChange, Spec};

use crate::changes::Changes;
use crate::identity::Identity;
use crate::proxy::selects;
use crate::registry::workload::entry_labels;
use crate::tree::{Tree, put};

/// Says of a WorkloadEntry which group it was made of.
pub const GROUP_ANNOTATION: &str = "istio.io/autoRegistrationGroup";
/// Says of a workload that it needs no sidecar.
const INJECT: &str = "sidecar.istio.io/inject";

/// Which workload: its namespace and name.
pub type WorkloadKey = (String, String);
/// What is known of the health of workloads that are probed.
pub type WorkloadHealth = HashMap<WorkloadKey, bool>;

/// All WorkloadGroups of a mesh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkloadGroups(Tree<WorkloadKey, Arc<Object>>);

/// How a workload is probed, and by which group's word.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'g> {
    /// The group.
    pub group: &'g Arc<Object>,
    /// What it says.
    pub spec: &'g ReadinessProbe,
}

/// The namespace and name of an object.
pub fn key(object: &Object) -> WorkloadKey {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

impl WorkloadGroups {
    /// Takes in what became of objects.
    pub(crate) fn update(&mut self, objects: &[ObjectChange], changes: &mut Changes) {
        for change in objects.iter().filter(|change| change.sides().any(|object| object.kind == Kind::WorkloadGroup)) {
            if let Some(key) = change.sides().next().map(|object| key(object)) {
                changes.groups.insert(key.clone());
                put(&mut self.0, key, change.new.clone());
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The group of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.0.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All groups of a namespace.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.0.values().filter(move |group| group.meta.namespace == namespace)
    }

    /// The group that a WorkloadEntry belongs to; the first by name, if it has the labels of several.
    pub fn of_entry(&self, object: &Object) -> Option<&Arc<Object>> {
        let Spec::WorkloadEntry(entry) = &object.spec else { return None };
        if let Some(name) = object.meta.annotations.get(GROUP_ANNOTATION) {
            return self.get(&object.meta.namespace, name);
        }
        if self.0.is_empty() {
            return None;
        }
        let labels = entry_labels(entry, &object.meta.labels);
        let has_labels = |group: &&Arc<Object>| {
            let wanted = spec(group).and_then(|group| group.metadata.as_ref()).map(|metadata| &metadata.labels);
            wanted.is_some_and(|wanted| !wanted.is_empty() && selects(wanted, &labels))
        };
        self.0.values().filter(|group| group.meta.namespace == object.meta.namespace).find(has_labels)
    }

    /// How a WorkloadEntry is probed: as its group says, if it has a sidecar that could.
    pub fn probe_of(&self, object: &Object) -> Option<Probe<'_>> {
        let group = self.of_entry(object)?;
        let probe = spec(group)?.probe.as_ref().filter(|probe| is_known(probe))?;
        wants_sidecar(object).then_some(Probe { group, spec: probe })
    }
}

/// The labels of a group's instances: those of its template, and over them those of its metadata.
pub fn labels_of_instances(group: &Object) -> BTreeMap<String, String> {
    let Some(spec) = spec(group) else { return BTreeMap::new() };
    let mut labels = spec.template.as_ref().map(|template| template.labels.clone()).unwrap_or_default();
    labels.extend(spec.metadata.iter().flat_map(|metadata| metadata.labels.clone()));
    labels
}

/// Who a group's instances are.
pub fn identity_of_instances(group: &Object) -> Identity {
    let template = spec(group).and_then(|spec| spec.template.as_ref());
    Identity::new(&group.meta.namespace, template.map_or("", |template| &template.service_account))
}

fn spec(object: &Object) -> Option<&WorkloadGroup> {
    match &object.spec {
        Spec::WorkloadGroup(group) => Some(group),
        _ => None,
    }
}

/// An instance that nobody can probe is not left out for that.
fn is_known(probe: &ReadinessProbe) -> bool {
    probe.http_get.is_some() || probe.tcp_socket.is_some() || probe.grpc.is_some() || probe.exec.is_some()
}

/// Whether a workload has a sidecar, unless it says that it needs none. Only WorkloadEntries do.
pub fn wants_sidecar(object: &Object) -> bool {
    let says_no = |words: &BTreeMap<String, String>| words.get(INJECT).is_some_and(|word| word == "false");
    let Spec::WorkloadEntry(entry) = &object.spec else { return false };
    !says_no(&entry.labels) && !says_no(&object.meta.labels) && !says_no(&object.meta.annotations)
}
