//! The instances of services, and who has an instance at an address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definitions::Definitions;
use super::links::Links;
use super::workloads::Workloads;
use super::{external, kubernetes};
use crate::changes::Changes;
use crate::service::{Endpoint, Peers, Registry, Resolution, Service, ServiceKey};
use crate::tree::{Groups, Tree, put};

/// What instances are found in.
pub(super) struct Input<'i> {
    pub definitions: &'i Definitions,
    pub links: &'i Links,
    pub workloads: &'i Workloads,
}

impl Input<'_> {
    /// The instances of a service, whichever objects bring them: those that define it as the one does that has its name. None
    /// if nobody defines it.
    fn instances(&self, key: &ServiceKey) -> Option<Vec<Endpoint>> {
        let chosen = self.definitions.chosen(key)?;
        let is_alike = |service: &Service| (service.registry, service.resolution) == (chosen.registry, chosen.resolution);
        let definitions = self.definitions.of(key);
        let alike = definitions.iter().map(|(_, service)| service).filter(|service| is_alike(service));
        Some(alike.flat_map(|service| self.instances_by(service)).collect())
    }

    /// Those that the object brings along which defines the service.
    fn instances_by(&self, service: &Service) -> Vec<Endpoint> {
        match service.registry {
            Registry::External => external::endpoints(self.workloads, service),
            Registry::Kubernetes => kubernetes::endpoints(self, service),
        }
    }
}

/// The instances of all services.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instances {
    of_service: Tree<ServiceKey, Arc<[Endpoint]>>,
    /// The services that have an instance at an address.
    at: Groups<String, ServiceKey, ()>,
}

impl Instances {
    /// The instances of a service.
    pub fn of(&self, key: &ServiceKey) -> Option<&Arc<[Endpoint]>> {
        self.of_service.get(key)
    }

    /// The services that have an instance at one of these addresses.
    pub fn at(&self, addresses: &[String]) -> BTreeSet<&ServiceKey> {
        addresses.iter().flat_map(|address| self.at.members(address)).map(|(key, ())| key).collect()
    }

    /// Finds the instances of services anew.
    pub(super) fn update(&mut self, again: &BTreeSet<ServiceKey>, input: &Input<'_>, changes: &mut Changes) {
        for key in again {
            let new = input.instances(key);
            let old = self.of(key).cloned();
            if old.as_deref() == new.as_deref() {
                continue;
            }
            let (before, after) = (old.as_deref().unwrap_or_default(), new.as_deref().unwrap_or_default());
            self.index(key, before, after);
            if before != after {
                changes.endpoints.insert(key.clone());
                changes.addresses.extend(moved(before, after));
                // EDS carries the instances of no other services to all proxies, and does not say who they are.
                let is_by_eds = input.definitions.chosen(key).is_none_or(|service| service.resolution == Resolution::Static);
                if !is_by_eds || Peers::of(before) != Peers::of(after) {
                    changes.named_instances.insert(key.clone());
                }
            }
            put(&mut self.of_service, key.clone(), new.map(Arc::from));
        }
    }

    fn index(&mut self, key: &ServiceKey, before: &[Endpoint], after: &[Endpoint]) {
        let addresses = |endpoints: &[Endpoint]| endpoints.iter().map(|endpoint| endpoint.address.clone()).collect::<BTreeSet<_>>();
        let (before, after) = (addresses(before), addresses(after));
        before.difference(&after).for_each(|address| self.at.remove(address, key));
        after.difference(&before).for_each(|address| self.at.insert(address.clone(), key.clone(), ()));
    }
}

/// The addresses whose instances are not the same, whatever their health.
fn moved(before: &[Endpoint], after: &[Endpoint]) -> Vec<String> {
    if before.len() == after.len() && before.iter().zip(after).all(|(a, b)| is_same_place(a, b)) {
        return vec![];
    }
    let (before, after) = (by_address(before), by_address(after));
    let is_same = |address: &&str| match (before.get(address), after.get(address)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_place(a, b)),
        _ => false,
    };
    let all: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    all.into_iter().filter(|address| !is_same(address)).map(str::to_owned).collect()
}

fn by_address(endpoints: &[Endpoint]) -> BTreeMap<&str, Vec<&Endpoint>> {
    let mut all: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    endpoints.iter().for_each(|endpoint| all.entry(&endpoint.address).or_default().push(endpoint));
    all
}

fn is_same_place(a: &Endpoint, b: &Endpoint) -> bool {
    let Endpoint {
        address,
        port,
        service_port,
        labels,
        locality,
        weight,
        workload,
        namespace,
        service_account,
        takes_mutual_tls,
        own_name,
        health: _,
    } = a;
    (address, port, service_port, labels) == (&b.address, &b.port, &b.service_port, &b.labels)
        && (locality, weight, workload, namespace) == (&b.locality, &b.weight, &b.workload, &b.namespace)
        && (service_account, takes_mutual_tls, own_name) == (&b.service_account, &b.takes_mutual_tls, &b.own_name)
}
