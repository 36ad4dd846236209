//! The services and rules of an egress listener, by port: each is looked for among those that it may be among, so that a
//! mesh whose services all have ports of their own costs no more than one where all share a port.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::host::{is_wildcard, overlap};
use weir_model::{EgressListener, Service, VirtualService};

/// The port whose hosts need not be services: without a port of its own, a host is taken to be on it.
pub(super) const HTTP_PORT: u16 = 80;
/// Stands for all wildcards.
const ANY_WILDCARD: &str = "*";

/// What an egress listener has.
pub(super) struct Ports<'l> {
    listener: &'l EgressListener,
    by_port: HashMap<u16, Vec<&'l Arc<Service>>>,
    /// The rules of each host, as it is written, by their places in the list.
    rules: HashMap<&'l str, Vec<usize>>,
    /// The rules that have a host with a wildcard.
    with_wildcards: Vec<usize>,
}

impl<'l> Ports<'l> {
    pub fn new(listener: &'l EgressListener) -> Self {
        let mut ports = Self { listener, by_port: HashMap::new(), rules: HashMap::new(), with_wildcards: vec![] };
        for service in listener.services.iter() {
            let numbers: BTreeSet<u16> = service.ports.iter().map(|port| port.number).collect();
            numbers.into_iter().for_each(|port| ports.by_port.entry(port).or_default().push(service));
        }
        for (index, rule) in listener.virtual_services.iter().enumerate() {
            rule.hosts.iter().for_each(|host| ports.rules.entry(host).or_default().push(index));
            if rule.hosts.iter().any(|host| is_wildcard(host)) {
                ports.with_wildcards.push(index);
            }
        }
        ports
    }

    /// What counts at a port. Without one, all of it.
    pub fn at(&self, port: Option<u16>) -> AtPort<'l> {
        let services: Vec<Arc<Service>> = match port {
            Some(port) => self.by_port.get(&port).into_iter().flatten().filter_map(|service| cut(service, port)).collect(),
            None => self.listener.services.to_vec(),
        };
        let order: Vec<Arc<str>> = services.iter().map(|service| service.hostname.clone()).collect();
        let mut at = AtPort { listener: self.listener, port, by_host: HashMap::new(), order, rules: vec![], places: HashMap::new() };
        at.by_host = services.into_iter().map(|service| (service.hostname.clone(), service)).collect();
        let all = &self.listener.virtual_services;
        at.rules = match port {
            Some(HTTP_PORT) => all.iter().collect(),
            _ => self.concerning(&at.order).into_iter().filter_map(|index| all.get(index)).collect(),
        };
        for (place, rule) in at.rules.iter().enumerate() {
            let hosts: BTreeSet<&str> = rule.hosts.iter().map(|host| if is_wildcard(host) { ANY_WILDCARD } else { host }).collect();
            hosts.into_iter().for_each(|host| at.places.entry(host).or_default().push(place));
        }
        at
    }

    /// The rules that are about any of these services.
    fn concerning(&self, services: &[Arc<str>]) -> BTreeSet<usize> {
        let exact = services.iter().filter_map(|service| self.rules.get(&**service)).flatten().copied();
        let mut found: BTreeSet<usize> = exact.collect();
        for service in services.iter().filter(|service| is_wildcard(service)) {
            let overlapping = self.rules.iter().filter(|(host, _)| overlap(host, service));
            found.extend(overlapping.flat_map(|(_, rules)| rules));
        }
        let covers = |rule: &&usize| {
            let hosts = self.listener.virtual_services.get(**rule).into_iter().flat_map(|rule| &rule.hosts);
            let mut wildcards = hosts.filter(|host| is_wildcard(host));
            wildcards.any(|host| services.iter().any(|service| overlap(host, service)))
        };
        found.extend(self.with_wildcards.iter().filter(covers));
        found
    }
}

/// A service as if it had no other port.
fn cut(service: &Arc<Service>, port: u16) -> Option<Arc<Service>> {
    match service.ports.iter().all(|own| own.number == port) {
        true => Some(service.clone()),
        false => service.with_ports(|own| own.number == port).map(Arc::new),
    }
}

/// The services and rules that count at a port.
pub(super) struct AtPort<'l> {
    pub listener: &'l EgressListener,
    /// None for a listener that is a proxy for HTTP: it serves all ports.
    pub port: Option<u16>,
    /// The services, as if they had no other port.
    pub by_host: HashMap<Arc<str>, Arc<Service>>,
    order: Vec<Arc<str>>,
    /// The rules that may be about them, in order.
    pub rules: Vec<&'l Arc<VirtualService>>,
    /// Where those of each host stand among them, as it is written; all that have a wildcard are under one name.
    places: HashMap<&'l str, Vec<usize>>,
}

impl<'l> AtPort<'l> {
    pub fn in_order(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.order.iter().filter_map(|hostname| self.by_host.get(hostname))
    }

    /// Divides a rule's hosts into services and hosts that are none. A wildcard gets the services that no more
    /// specific rule governs.
    pub fn divide(&self, rule: &Arc<VirtualService>) -> (Vec<String>, Vec<Arc<Service>>) {
        let (mut hosts, mut services) = (vec![], vec![]);
        for host in rule.hosts.iter().filter(|host| !is_wildcard(host)) {
            match self.by_host.get(host.as_str()) {
                Some(service) => services.push(service.clone()),
                None => hosts.push(host.clone()),
            }
        }
        for host in rule.hosts.iter().filter(|host| is_wildcard(host)) {
            let covered: Vec<&Arc<Service>> = self.in_order().filter(|service| overlap(&service.hostname, host)).collect();
            if covered.is_empty() {
                hosts.push(host.clone());
            }
            services.extend(covered.into_iter().filter(|service| self.governs(rule, service)).cloned());
        }
        (hosts, services)
    }

    /// The rules that have one of the services among theirs, in order.
    pub fn rules_of(&self, service: &Service) -> Vec<&'l Arc<VirtualService>> {
        let of = |host: &str| self.places.get(host).into_iter().flatten().copied();
        let places: BTreeSet<usize> = of(&service.hostname).chain(of(ANY_WILDCARD)).collect();
        let rules = places.into_iter().filter_map(|place| self.rules.get(place).copied());
        rules.filter(|rule| self.has(rule, service)).collect()
    }

    /// Whether one of the services is among those of a rule, as [`Self::divide`] finds them.
    fn has(&self, rule: &Arc<VirtualService>, service: &Service) -> bool {
        let by_wildcard = |host: &str| overlap(&service.hostname, host) && self.governs(rule, service);
        rule.hosts.iter().any(|host| if is_wildcard(host) { by_wildcard(host) } else { **host == *service.hostname })
    }

    fn governs(&self, rule: &Arc<VirtualService>, service: &Service) -> bool {
        self.listener.virtual_service_of(&service.hostname).is_some_and(|own| Arc::ptr_eq(own, rule))
    }
}
