//! Which services' instances depend on which objects: what a selector picks, and whom EndpointSlices refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::{Object, ObjectChange, ObjectKey, Spec};

use super::definitions::{Definition, DefinitionChange, Definitions};
use super::workload::Workload;
use super::workloads::WorkloadChange;
use super::{Settings, kubernetes};
use crate::changes::Name;
use crate::proxy::selects;
use crate::service::{Service, ServiceKey};
use crate::tree::{Groups, Tree};

/// Whom an EndpointSlice means by an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    /// The Pod of this namespace and name.
    Pod(String, String),
    /// Whoever in this namespace has this address.
    Address(String, String),
}

/// One label of a selector, in a namespace; none stands for a selector that picks everything.
type Pick = (String, Option<(String, String)>);

/// An object that lists instances, as it is now; none if it is gone.
type Slice = (ObjectKey, Option<Arc<Object>>);

/// Which services' instances depend on which objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Links {
    /// EndpointSlices and Endpoints, by namespace and the name of their Service.
    slices: Groups<Name, ObjectKey, Arc<Object>>,
    /// Services whose slices refer to somebody.
    referring: Groups<Reference, ServiceKey, ()>,
    /// Services with a selector, by the first of its labels.
    selecting: Groups<Pick, ServiceKey, ()>,
}

/// The labels that the workloads of a service have, if its definition has a selector.
fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    match &service.object.spec {
        Spec::ServiceEntry(entry) => entry.workload_selector.as_ref().map(|selector| &selector.labels),
        Spec::Service(written) => Some(&written.spec.selector).filter(|selector| !selector.is_empty()),
        _ => None,
    }
}

fn picks(definitions: &[Definition]) -> BTreeSet<Pick> {
    let pick = |(_, service): &Definition| {
        let first = selector(service)?.first_key_value();
        Some((service.object.meta.namespace.clone(), first.map(|(name, value)| (name.clone(), value.clone()))))
    };
    definitions.iter().filter_map(pick).collect()
}

impl Links {
    /// The objects that list instances of a Kubernetes Service, in the order of their keys.
    pub fn slices(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.slices.get(&(namespace.to_owned(), service.to_owned())).into_iter().flat_map(Tree::values)
    }

    /// Takes in what became of the objects that list instances. Returns the services whose instances those are.
    pub(super) fn update_slices(&mut self, objects: &[ObjectChange], settings: &Settings<'_>) -> BTreeSet<ServiceKey> {
        let mut by_service: BTreeMap<Name, Vec<Slice>> = BTreeMap::new();
        let named = |object: &Arc<Object>| Some((object.meta.namespace.clone(), kubernetes::service_of(object)?.to_owned()));
        for change in objects {
            if let Some((old, name)) = change.old.as_ref().and_then(|old| Some((old, named(old)?))) {
                by_service.entry(name).or_default().push((old.key(), None));
            }
            if let Some((new, name)) = change.new.as_ref().and_then(|new| Some((new, named(new)?))) {
                by_service.entry(name).or_default().push((new.key(), Some(new.clone())));
            }
        }
        by_service.into_iter().map(|(name, changed)| self.update_service(name, changed, settings)).collect()
    }

    fn update_service(&mut self, name: Name, changed: Vec<Slice>, settings: &Settings<'_>) -> ServiceKey {
        let service = kubernetes::service_key(&name.0, &name.1, settings.domain);
        let before = self.references(&name);
        for (key, object) in changed {
            match object {
                Some(object) => self.slices.insert(name.clone(), key, object),
                None => self.slices.remove(&name, &key),
            }
        }
        let after = self.references(&name);
        before.difference(&after).for_each(|reference| self.referring.remove(reference, &service));
        after.difference(&before).for_each(|reference| self.referring.insert(reference.clone(), service.clone(), ()));
        service
    }

    fn references(&self, service: &Name) -> BTreeSet<Reference> {
        self.slices.members(service).flat_map(|(_, object)| kubernetes::references(object)).collect()
    }

    /// Takes in how services are defined now.
    pub(super) fn update_selectors(&mut self, changed: &[DefinitionChange]) {
        for change in changed {
            let (before, after) = (picks(&change.old), picks(&change.new));
            before.difference(&after).for_each(|pick| self.selecting.remove(pick, &change.key));
            after.difference(&before).for_each(|pick| self.selecting.insert(pick.clone(), change.key.clone(), ()));
        }
    }

    /// The services whose instances depend on a workload that changed.
    pub(super) fn concerned(&self, change: &WorkloadChange, definitions: &Definitions) -> BTreeSet<ServiceKey> {
        let mut concerned = BTreeSet::new();
        for workload in change.sides() {
            let pod = Reference::Pod(workload.namespace.clone(), workload.name.clone());
            for reference in [pod, Reference::Address(workload.namespace.clone(), workload.address.clone())] {
                concerned.extend(self.referring.members(&reference).map(|(key, ())| key.clone()));
            }
            let each = workload.labels.iter().map(|(name, value)| Some((name.clone(), value.clone())));
            for label in each.chain([None]) {
                let pick = (workload.namespace.clone(), label);
                let selecting = self.selecting.members(&pick).map(|(key, ())| key);
                concerned.extend(selecting.filter(|key| select(&definitions.of(key), workload)).cloned());
            }
        }
        concerned
    }
}

fn select(definitions: &[Definition], workload: &Workload) -> bool {
    definitions.iter().any(|(_, service)| selector(service).is_some_and(|labels| selects(labels, &workload.labels)))
}
