//! What the pilot knows of workloads that nobody has written down: instances that registered themselves
//! ([`registration`]), and how workloads are that their sidecars probe.
//!
//! All of it is in memory, as long as the pilot lives: a sidecar registers again, and tells again how its workload is, when
//! it comes back.

pub(crate) mod registration;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::Object;
use weir_model::{MeshSnapshot, Proxy, ProxyKind, Workload, WorkloadGroups, WorkloadHealth, WorkloadKey};
use weir_registry::Catalog;

use registration::Registration;

/// What is known of workloads besides the catalog.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    /// How those are that are probed.
    pub health: WorkloadHealth,
    registered: BTreeMap<WorkloadKey, Registered>,
}

/// An instance that registered itself.
#[derive(Debug)]
struct Registered {
    by: Registration,
    /// How many streams of it are open.
    streams: usize,
    /// How often it has gone: what was to happen when it had gone is off when it came back.
    departures: u64,
    /// Its entry, and the group that it was made of.
    made: Option<(Arc<Object>, Arc<Object>)>,
}

impl Workloads {
    /// An instance has come, or come back.
    pub fn register(&mut self, registration: Registration) {
        let new = || Registered { by: registration.clone(), streams: 0, departures: 0, made: None };
        let known = self.registered.entry(registration.key()).or_insert_with(new);
        known.streams += 1;
        if !known.by.is_like(&registration) {
            (known.by, known.made) = (registration, None);
        }
    }

    /// An instance has gone. If no stream of it is left: what to tell [`Self::expire`] later.
    pub fn leave(&mut self, key: &WorkloadKey) -> Option<u64> {
        let known = self.registered.get_mut(key)?;
        known.streams = known.streams.saturating_sub(1);
        known.departures += 1;
        (known.streams == 0).then_some(known.departures)
    }

    /// Forgets an instance that has not come back since. Whether it is forgotten.
    pub fn expire(&mut self, key: &WorkloadKey, departures: u64) -> bool {
        let is_gone = self.registered.get(key).is_some_and(|known| known.streams == 0 && known.departures == departures);
        is_gone && self.registered.remove(key).is_some()
    }

    /// The catalog, and the entries of instances that registered themselves in groups that there still are. One that is
    /// written down counts as it is written.
    pub fn added_to(&mut self, catalog: &Arc<Catalog>, groups: &WorkloadGroups) -> Arc<Catalog> {
        let mut entries = vec![];
        for known in self.registered.values_mut() {
            let Some(group) = groups.get(&known.by.namespace, &known.by.group) else {
                known.made = None;
                continue;
            };
            if !known.made.as_ref().is_some_and(|(_, of)| Arc::ptr_eq(of, group)) {
                known.made = known.by.entry(group).map(|entry| (entry, group.clone()));
            }
            entries.extend(known.made.as_ref().map(|(entry, _)| entry.clone()));
        }
        entries.retain(|entry| !catalog.objects.iter().any(|object| object.kind == entry.kind && object.name() == entry.name()));
        if entries.is_empty() {
            return catalog.clone();
        }
        let mut with = Catalog::clone(catalog);
        with.objects.extend(entries);
        Arc::new(with)
    }

    /// Takes what a sidecar says of workloads. Those of which that is new.
    pub fn report(&mut self, keys: Vec<WorkloadKey>, is_well: bool) -> Vec<WorkloadKey> {
        keys.into_iter().filter(|key| self.health.insert(key.clone(), is_well) != Some(is_well)).collect()
    }

    /// Forgets how workloads were that there are no more.
    pub fn forget_gone(&mut self, mesh: &MeshSnapshot) {
        if self.health.is_empty() {
            return;
        }
        let here: std::collections::HashSet<(&str, &str)> =
            mesh.workloads.iter().map(|workload| (workload.namespace.as_str(), workload.name.as_str())).collect();
        self.health.retain(|(namespace, name), _| here.contains(&(namespace.as_str(), name.as_str())));
    }
}

/// The workloads of a sidecar: the one that it stands beside, or else all at its addresses.
pub(crate) fn beside(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<WorkloadKey> {
    let key = |workload: &Arc<Workload>| (workload.namespace.clone(), workload.name.clone());
    if let Some(workload) = mesh.workload_of(proxy) {
        return vec![key(workload)];
    }
    let is_here = |workload: &&Arc<Workload>| {
        workload.namespace == proxy.namespace && proxy.addresses.contains(&workload.address) && proxy.kind == ProxyKind::Sidecar
    };
    mesh.workloads.iter().filter(is_here).map(key).collect()
}
