//! Fills the canonical model of services and instances from platforms' objects: ServiceEntries and
//! WorkloadEntries ([`external`]), Kubernetes' Services and what stands behind them ([`kubernetes`]).
//!
//! What a service is ([`definitions`]), with the addresses that it is given ([`automatic`]), and its instances ([`instances`]) are kept by its host and namespace. An object that
//! changes touches the services that it defines, and those whose instances depend on it ([`links`]).

mod automatic;
mod definitions;
mod external;
mod instances;
mod kubernetes;
mod links;
pub mod workload;
pub mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::ObjectChange;
use weir_api::resources::MeshConfig;

use crate::changes::Changes;
use crate::service::{Endpoint, Service, ServiceKey};
pub(crate) use definitions::DefinitionChange;
use definitions::{Definitions, by_oldest};
use instances::{Input, Instances};
use links::Links;
use workloads::{WorkloadChange, Workloads};

/// What counts for all services of a mesh.
pub(crate) struct Settings<'s> {
    pub mesh: &'s MeshConfig,
    pub domain: &'s str,
}

/// By these labels a service says that its clients keep to an instance, by a cookie or by a header.
const SESSIONS: [&str; 2] = ["istio.io/persistent-session", "istio.io/persistent-session-header"];

/// Whether the clients of a service with these labels keep to an instance.
fn keeps_sessions(labels: &BTreeMap<String, String>) -> bool {
    SESSIONS.iter().any(|name| labels.get(*name).is_some_and(|value| !value.is_empty()))
}

/// All services of a mesh, and their instances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Services {
    definitions: Definitions,
    links: Links,
    instances: Instances,
}

impl Services {
    /// Takes in what became of objects, and of workloads. Returns the services that are not defined as they were.
    pub(crate) fn update(
        &mut self,
        objects: &[ObjectChange],
        (all, changed): (&Workloads, &[WorkloadChange]),
        settings: &Settings<'_>,
        changes: &mut Changes,
    ) -> Vec<DefinitionChange> {
        let defined = self.definitions.update(objects, settings);
        self.links.update_selectors(&defined);
        let mut again: BTreeSet<ServiceKey> = self.links.update_slices(objects, settings);
        again.extend(changed.iter().flat_map(|change| self.links.concerned(change, &self.definitions)));
        again.extend(defined.iter().map(|change| change.key.clone()));
        for change in &defined {
            let endpoints = self.instances.of(&change.key).into_iter().flat_map(|endpoints| endpoints.iter());
            changes.addresses.extend(endpoints.map(|endpoint| endpoint.address.clone()));
        }
        let input = Input { definitions: &self.definitions, links: &self.links, workloads: all };
        self.instances.update(&again, &input, changes);
        let otherwise = defined.iter().filter(|change| !change.is_of_instances_alone());
        changes.services.extend(otherwise.map(|change| change.key.clone()));
        defined
    }

    /// From the oldest to the youngest, as they are defined: of one host and namespace there may be several, each with
    /// its own `exportTo`.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.definitions.all.values()
    }

    /// The services of a host name, by namespace: where several define it, the oldest alone.
    pub fn of_host(&self, hostname: &str) -> Option<&BTreeMap<Arc<str>, Arc<Service>>> {
        self.definitions.by_host.get(hostname).map(|named| &**named)
    }

    /// The services that a namespace may see: its own that not all may see, those exported to it, those for all; the
    /// older first.
    pub fn visible_to(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut visible: Vec<Arc<Service>> = self.all().filter(|service| service.visibility.allows(namespace)).cloned().collect();
        visible.sort_by_key(|service| service.visibility.rank(&service.namespace, namespace));
        visible
    }

    /// The service that a host name means to a rule's destination: the one of the namespace itself, else, of those
    /// that it may see, the one of the alphabetically first namespace.
    pub fn choose(&self, hostname: &str, namespace: &str) -> Option<Arc<Service>> {
        let by_namespace = self.of_host(hostname)?;
        let visible = || by_namespace.values().find(|service| service.visibility.allows(namespace));
        by_namespace.get(namespace).or_else(visible).cloned()
    }

    /// The instances of a service, at all of its ports, whichever object brings them.
    pub fn endpoints(&self, service: &Service) -> Arc<[Endpoint]> {
        self.instances.of(&service.key()).cloned().unwrap_or_default()
    }

    /// What the oldest service that has an instance at one of these addresses knows of it.
    pub fn first_instance(&self, addresses: &[String]) -> Option<&Endpoint> {
        let oldest = self.instances.at(addresses).into_iter().min_by(|a, b| by_oldest(&self.definitions.of(a), &self.definitions.of(b)))?;
        self.instances.of(oldest)?.iter().find(|endpoint| addresses.contains(&endpoint.address))
    }

    /// The services and ports that an instance at one of these addresses serves; the oldest service first.
    pub fn of_instance(&self, addresses: &[String]) -> Vec<(Arc<Service>, Endpoint)> {
        let defined = |key| Some((self.definitions.of(key), self.instances.of(key)?));
        let mut serving: Vec<_> = self.instances.at(addresses).into_iter().filter_map(defined).collect();
        serving.sort_by(|(a, _), (b, _)| by_oldest(a, b));
        let mut found = vec![];
        for (definitions, endpoints) in serving {
            let Some((_, service)) = definitions.first() else { continue };
            let own = endpoints.iter().filter(|endpoint| addresses.contains(&endpoint.address));
            found.extend(own.map(|endpoint| (service.clone(), endpoint.clone())));
        }
        found
    }
}
