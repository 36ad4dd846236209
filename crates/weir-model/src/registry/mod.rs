//! Fills the canonical model of services and instances from platforms' objects: ServiceEntries and
//! WorkloadEntries ([`external`]), Kubernetes' Services and what stands behind them ([`kubernetes`]).

mod external;
mod kubernetes;
pub mod workload;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Object, Spec};

use crate::proxy::selects;
use crate::rule::{by_age, creation_time};
use crate::service::{Endpoint, Registry, Service, ServiceKey};
use workload::Workload;

/// All services of a mesh, and their instances.
#[derive(Debug, Default)]
pub struct Services {
    /// From the oldest to the youngest, as they are defined: of one host and namespace there may be several, each with
    /// its own `exportTo`.
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
        registered.sort_by(|a, b| older(&a.service, &b.service));
        let aliases = aliases(&registered);
        let mut services = Self::default();
        let mut endpoints: HashMap<ServiceKey, Vec<Endpoint>> = HashMap::new();
        for entry in &registered {
            services.name(entry, &aliases);
        }
        for entry in registered {
            let chosen = services.by_host.get(&entry.service.hostname).and_then(|named| named.get(&entry.service.namespace));
            let is_alike =
                |chosen: &Arc<Service>| (chosen.registry, chosen.resolution) == (entry.service.registry, entry.service.resolution);
            if chosen.is_some_and(is_alike) {
                endpoints.entry(entry.service.key()).or_default().extend(entry.endpoints);
            }
        }
        services.endpoints = endpoints.into_iter().map(|(key, endpoints)| (key, endpoints.into())).collect();
        services
    }

    /// Gives a service its name, unless an older one has it; a Kubernetes Service goes before ServiceEntries.
    fn name(&mut self, entry: &Registered, aliases: &HashMap<Arc<str>, Vec<Arc<str>>>) {
        let mut service = entry.service.clone();
        service.aliases = aliases.get(&service.hostname).cloned().unwrap_or_default();
        let service = Arc::new(service);
        self.all.push(service.clone());
        let of_host = self.by_host.entry(service.hostname.clone()).or_default();
        let known = of_host.entry(service.namespace.clone()).or_insert_with(|| service.clone());
        if known.registry != Registry::Kubernetes && service.registry == Registry::Kubernetes {
            *known = service;
        }
    }

    /// The services of a host name, by namespace: where several define it, the oldest alone.
    pub fn of_host(&self, hostname: &str) -> Option<&BTreeMap<Arc<str>, Arc<Service>>> {
        self.by_host.get(hostname)
    }

    /// The services that a namespace may see: its own that not all may see, those exported to it, those for all; the
    /// older first.
    pub fn visible_to(&self, namespace: &str) -> Vec<Arc<Service>> {
        let mut visible: Vec<Arc<Service>> = self.all.iter().filter(|service| service.visibility.allows(namespace)).cloned().collect();
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
        let mut known = HashSet::new();
        let mut found = vec![];
        for service in self.all.iter().filter(|service| known.insert(service.key())) {
            let endpoints = self.endpoints(service);
            let own = endpoints.iter().filter(|endpoint| addresses.contains(&endpoint.address));
            found.extend(own.map(|endpoint| (service.clone(), endpoint.clone())));
        }
        found
    }
}

/// Which of two services is older: by creation time; of one age, by name, then namespace. A ServiceEntry's service is
/// called by its host, a Kubernetes Service by its own name.
fn older(a: &Service, b: &Service) -> Ordering {
    fn name(service: &Service) -> &str {
        match service.registry {
            Registry::Kubernetes => &service.name,
            Registry::External => &service.hostname,
        }
    }
    creation_time(&a.object)
        .cmp(&creation_time(&b.object))
        .then_with(|| name(a).cmp(name(b)))
        .then_with(|| a.namespace.cmp(&b.namespace))
        .then_with(|| by_age(&a.object, &b.object))
}

/// The names that services go by besides their own, in alphabetical order.
fn aliases(registered: &[Registered]) -> HashMap<Arc<str>, Vec<Arc<str>>> {
    let mut aliases: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
    for service in registered.iter().map(|entry| &entry.service) {
        if let Some(target) = &service.alias_of {
            aliases.entry(target.clone()).or_default().push(service.hostname.clone());
        }
    }
    aliases.values_mut().for_each(|names| names.sort());
    aliases
}
