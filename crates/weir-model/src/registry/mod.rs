//! Fills the canonical model of services and instances from platforms' objects: ServiceEntries and
//! WorkloadEntries ([`external`]), Kubernetes' Services and what stands behind them ([`kubernetes`]).

mod external;
mod kubernetes;
pub mod workload;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Object, Spec};

use crate::proxy::selects;
use crate::rule::by_age;
use crate::service::{Endpoint, Registry, Service, ServiceKey};
use workload::Workload;

/// All services of a mesh, and their instances.
#[derive(Debug, Default)]
pub struct Services {
    /// From the oldest to the youngest.
    pub all: Vec<Arc<Service>>,
    by_host: HashMap<Arc<str>, BTreeMap<Arc<str>, Arc<Service>>>,
    endpoints: HashMap<ServiceKey, Arc<[Endpoint]>>,
}

/// A service as one object defines it, and the instances that the object brings along.
struct Registered {
    service: Service,
    endpoints: Vec<Endpoint>,
}

/// What services are read from, found by what they are asked for.
struct Input<'a> {
    mesh: &'a MeshConfig,
    domain: &'a str,
    /// By namespace.
    workloads: HashMap<&'a str, Vec<&'a Arc<Workload>>>,
    /// By namespace and name.
    pods: HashMap<(&'a str, &'a str), &'a Arc<Workload>>,
    by_address: HashMap<&'a str, &'a Arc<Workload>>,
    /// EndpointSlices and Endpoints, by namespace and the name of their Service.
    slices: HashMap<(&'a str, &'a str), Vec<&'a Spec>>,
}

impl<'a> Input<'a> {
    fn new(objects: &'a [Arc<Object>], workloads: &'a [Arc<Workload>], mesh: &'a MeshConfig, domain: &'a str) -> Self {
        let mut input =
            Self { mesh, domain, workloads: HashMap::new(), pods: HashMap::new(), by_address: HashMap::new(), slices: HashMap::new() };
        for workload in workloads {
            input.workloads.entry(workload.namespace.as_str()).or_default().push(workload);
            input.by_address.entry(workload.address.as_str()).or_insert(workload);
            if workload.object.kind == Kind::Pod {
                input.pods.insert((&workload.namespace, &workload.name), workload);
            }
        }
        for object in objects {
            if let Some(service) = kubernetes::service_of(object) {
                input.slices.entry((object.meta.namespace.as_str(), service)).or_default().push(&object.spec);
            }
        }
        input
    }

    /// The workloads of a namespace that have all these labels.
    fn selected<'s>(&'s self, namespace: &str, selector: &'s BTreeMap<String, String>) -> impl Iterator<Item = &'a Arc<Workload>> {
        let all = self.workloads.get(namespace).into_iter().flatten().copied();
        all.filter(|workload| selects(selector, &workload.labels))
    }
}

impl Services {
    /// Reads the services of all objects.
    pub fn build(objects: &[Arc<Object>], workloads: &[Arc<Workload>], mesh: &MeshConfig, domain: &str) -> Self {
        let input = Input::new(objects, workloads, mesh, domain);
        let mut registered: Vec<Registered> = vec![];
        for object in objects {
            match &object.spec {
                Spec::ServiceEntry(entry) => registered.extend(external::services(&input, object, entry)),
                Spec::Service(service) => registered.push(kubernetes::service(&input, object, service)),
                _ => {}
            }
        }
        registered.sort_by(|a, b| by_age(&a.service.object, &b.service.object));
        let mut services = Self::default();
        let mut found: HashMap<ServiceKey, Vec<Registered>> = HashMap::new();
        let mut order: Vec<ServiceKey> = vec![];
        for entry in registered {
            let key = entry.service.key();
            if !found.contains_key(&key) {
                order.push(key.clone());
            }
            found.entry(key).or_default().push(entry);
        }
        let aliases = aliases(&found);
        for key in order {
            services.add(merge(found.remove(&key).unwrap_or_default()), &aliases);
        }
        services
    }

    fn add(&mut self, merged: Option<Registered>, aliases: &HashMap<Arc<str>, Vec<Arc<str>>>) {
        let Some(Registered { mut service, endpoints }) = merged else { return };
        service.aliases = aliases.get(&service.hostname).cloned().unwrap_or_default();
        let service = Arc::new(service);
        self.endpoints.insert(service.key(), endpoints.into());
        self.by_host.entry(service.hostname.clone()).or_default().insert(service.namespace.clone(), service.clone());
        self.all.push(service);
    }

    /// The services of a host name, by namespace.
    pub fn of_host(&self, hostname: &str) -> Option<&BTreeMap<Arc<str>, Arc<Service>>> {
        self.by_host.get(hostname)
    }

    /// The services that a namespace may see: those of its own only, those exported to it, those for all; the
    /// older first.
    pub fn visible_to(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut visible: Vec<Arc<Service>> = self.all.iter().filter(|service| service.visibility.allows(namespace)).cloned().collect();
        visible.sort_by_key(|service| service.visibility.rank(&service.namespace));
        visible
    }

    /// The service that a host name means to a rule's destination: the one of the namespace itself, else, of those
    /// that it may see, the one of the alphabetically first namespace.
    pub fn choose(&self, hostname: &str, namespace: &str) -> Option<Arc<Service>> {
        let by_namespace = self.of_host(hostname)?;
        let visible = || by_namespace.values().find(|service| service.visibility.allows(namespace));
        by_namespace.get(namespace).or_else(visible).cloned()
    }

    /// The instances of a service, at all of its ports.
    pub fn endpoints(&self, service: &Service) -> Arc<[Endpoint]> {
        self.endpoints.get(&service.key()).cloned().unwrap_or_default()
    }

    /// What the oldest service that has an instance at one of these addresses knows of it.
    pub fn first_instance(&self, addresses: &[String]) -> Option<&Endpoint> {
        if addresses.is_empty() {
            return None;
        }
        let of_service =
            |service: &Arc<Service>| self.endpoints.get(&service.key())?.iter().find(|endpoint| addresses.contains(&endpoint.address));
        self.all.iter().find_map(of_service)
    }

    /// The services and ports that an instance at one of these addresses serves.
    pub fn of_instance(&self, addresses: &[String]) -> Vec<(Arc<Service>, Endpoint)> {
        let of_service = |service: &Arc<Service>| -> Vec<(Arc<Service>, Endpoint)> {
            let own = self.endpoints(service).iter().filter(|endpoint| addresses.contains(&endpoint.address)).cloned().collect::<Vec<_>>();
            own.into_iter().map(|endpoint| (service.clone(), endpoint)).collect()
        };
        self.all.iter().flat_map(of_service).collect()
    }
}

/// The names that services go by besides their own, in alphabetical order.
fn aliases(registered: &HashMap<ServiceKey, Vec<Registered>>) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut aliases: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
    for service in registered.values().flatten().map(|entry| &entry.service) {
        if let Some(target) = &service.alias_of {
            aliases.entry(target.clone()).or_default().push(service.hostname.clone());
        }
    }
    aliases.values_mut().for_each(|names| names.sort());
    aliases
}

/// One service of those that are registered under one host name in one namespace. A Kubernetes Service goes
/// before ServiceEntries; among these the oldest decides, and those that are resolved as it is add ports and
/// instances.
fn merge(mut registered: Vec<Registered>) -> Option<Registered> {
    registered.sort_by_key(|entry| entry.service.registry != Registry::Kubernetes);
    let mut entries = registered.into_iter();
    let mut first = entries.next()?;
    for other in entries {
        if first.service.registry != other.service.registry || first.service.resolution != other.service.resolution {
            continue;
        }
        for port in other.service.ports {
            if first.service.port(port.number.into()).is_none() {
                first.service.ports.push(port);
            }
        }
        first.service.addresses.extend(other.service.addresses);
        first.endpoints.extend(other.endpoints);
    }
    Some(first)
}
