//! What one proxy knows of the mesh: the services and rules that its Sidecar resource imports, by egress
//! listener.
//!
//! Facts: pilot/pkg/model/sidecar.go of Istio. Without a Sidecar, a proxy imports all that
//! its namespace may see. Gateways ignore Sidecars.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_api::FieldPath;
use weir_api::resources::MeshConfig;
use weir_api::resources::protocol::Protocol;
use weir_api::resources::sidecar::{IstioEgressListener, OutboundTrafficPolicyMode};
use weir_api::resources::virtual_service::Destination;

use crate::host::{by_specificity, is_subset, is_wildcard, overlap};
use crate::proxy::ProxyKind;
use crate::registry::Services;
use crate::rule::Origin;
use crate::service::{Registry, Service};
use crate::sidecar::Sidecar;
use crate::tree::List;
use crate::virtual_service::{MESH, VirtualService};
use crate::virtual_services::VirtualServices;

/// What a scope is cut from: the whole mesh.
pub(crate) struct Mesh<'m> {
    pub config: &'m MeshConfig,
    pub domain: &'m str,
    pub services: &'m Services,
    pub virtual_services: &'m VirtualServices,
}

/// Where traffic goes that no service claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// Nowhere.
    RegistryOnly,
    /// To the address that it was sent to.
    AllowAny,
    /// HTTP to the host that a request names, looked up when it comes; everything else to the address that it was sent to.
    AllowAnyDynamicDns,
    /// Through a proxy for all of it.
    EgressProxy(Destination),
}

/// What a proxy knows of the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// Its namespace.
    pub namespace: String,
    /// Its Sidecar.
    pub sidecar: Option<Sidecar>,
    /// What it may reach, listener by listener; those with a port come first.
    pub egress: Vec<EgressListener>,
    /// Every service that it may reach, destinations of rules included; each host name once.
    pub services: Arc<[Arc<Service>]>,
    /// Where everything else goes.
    pub outbound_policy: OutboundPolicy,
    pub(crate) by_host: Arc<HashMap<Arc<str>, usize>>,
}

/// What a proxy may reach through one of its egress listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressListener {
    /// How it is written; none for the one that every proxy has unless it is told otherwise.
    pub spec: Option<IstioEgressListener>,
    /// Where that stands.
    pub origin: Option<Origin>,
    /// The services, each host name once.
    pub services: Arc<[Arc<Service>]>,
    /// The rules, in the order in which they count.
    pub virtual_services: List<Arc<VirtualService>>,
    /// For each host of a service: the rule whose host fits it best.
    pub(crate) by_host: Arc<HashMap<Arc<str>, usize>>,
}

impl EgressListener {
    /// The port that it is for; all if there is none.
    pub fn port(&self) -> Option<u16> {
        self.spec.as_ref()?.port.as_ref().and_then(|port| u16::try_from(port.number).ok()).filter(|port| *port != 0)
    }

    /// The Unix socket that it is bound at, as it is written, if it is bound at one. It is for all ports.
    pub fn socket(&self) -> Option<&str> {
        self.spec.as_ref().map(|spec| spec.bind.as_str()).filter(|bind| bind.starts_with("unix://"))
    }

    /// The rule that governs a service.
    pub fn virtual_service_of(&self, hostname: &str) -> Option<&Arc<VirtualService>> {
        self.virtual_services.get(*self.by_host.get(hostname)?)
    }
}

impl Scope {
    /// What a proxy knows. What it looks at of the proxy: its kind, namespace, and the Sidecar that selects it.
    pub(crate) fn new(mesh: &Mesh<'_>, kind: ProxyKind, namespace: &str, sidecar: Option<Sidecar>) -> Self {
        let everything = [IstioEgressListener { hosts: vec!["*/*".to_owned()], ..Default::default() }];
        let written: &[IstioEgressListener] = match &sidecar {
            Some(sidecar) if !sidecar.spec.egress.is_empty() => &sidecar.spec.egress,
            _ => &everything,
        };
        let visible = mesh.services.visible_to(namespace);
        let origin = |i: usize| {
            let sidecar = sidecar.as_ref().filter(|sidecar| !sidecar.spec.egress.is_empty())?;
            Some(Origin::new(&sidecar.object, FieldPath::default().key("spec").key("egress").index(i)))
        };
        let egress = written.iter().enumerate().map(|(i, spec)| EgressListener::new(mesh, namespace, spec, origin(i), &visible));
        let egress: Vec<EgressListener> = egress.collect();
        let mut imports = Imports::default();
        match kind {
            ProxyKind::Router => visible.iter().for_each(|service| imports.add(service)),
            ProxyKind::Sidecar => egress.iter().for_each(|listener| imports.add_listener(mesh, namespace, listener)),
        }
        Self {
            namespace: namespace.to_owned(),
            outbound_policy: outbound_policy(mesh, sidecar.as_ref(), namespace),
            sidecar,
            egress,
            services: imports.services.into(),
            by_host: imports.by_host.into(),
        }
    }

    /// The service of a host name.
    pub fn service(&self, hostname: &str) -> Option<&Arc<Service>> {
        self.by_host.get(hostname).map(|index| &self.services[*index])
    }

    /// Whether it is another one but for what its rules say: they are for the same hosts, and stand at the same places.
    pub fn has_other_rules_only(&self, before: &Self) -> bool {
        let is_alike = |(a, b): (&EgressListener, &EgressListener)| {
            let has_same = Arc::ptr_eq(&a.services, &b.services) && Arc::ptr_eq(&a.by_host, &b.by_host);
            has_same && a.virtual_services.len() == b.virtual_services.len() && a.spec == b.spec && a.origin == b.origin
        };
        Arc::ptr_eq(&self.services, &before.services)
            && Arc::ptr_eq(&self.by_host, &before.by_host)
            && self.sidecar == before.sidecar
            && self.outbound_policy == before.outbound_policy
            && self.egress.len() == before.egress.len()
            && self.egress.iter().zip(&before.egress).all(is_alike)
    }

    /// The listener whose services and rules count at a port: the one for that port, else the one for all.
    pub fn listener_for(&self, port: u16) -> Option<&EgressListener> {
        let mut others = self.egress.iter().filter(|listener| listener.socket().is_none());
        others.find(|listener| listener.port().is_none_or(|own| own == port))
    }

    /// The listener that is bound at a Unix socket.
    pub fn listener_at(&self, socket: &str) -> Option<&EgressListener> {
        self.egress.iter().find(|listener| listener.socket() == Some(socket))
    }
}

fn outbound_policy(mesh: &Mesh<'_>, sidecar: Option<&Sidecar>, namespace: &str) -> OutboundPolicy {
    use weir_api::resources::mesh_config::OutboundMode as MeshMode;
    if let Some(policy) = sidecar.and_then(|sidecar| sidecar.spec.outbound_traffic_policy.as_ref()) {
        return match (&policy.mode, &policy.egress_proxy) {
            (OutboundTrafficPolicyMode::RegistryOnly, _) => OutboundPolicy::RegistryOnly,
            (OutboundTrafficPolicyMode::AllowAny, None) => OutboundPolicy::AllowAny,
            (OutboundTrafficPolicyMode::AllowAny, Some(proxy)) => {
                let host = crate::host::expand(&proxy.host, namespace, mesh.domain);
                OutboundPolicy::EgressProxy(Destination { host, ..proxy.clone() })
            }
        };
    }
    match mesh.config.outbound_traffic_policy.mode {
        MeshMode::RegistryOnly => OutboundPolicy::RegistryOnly,
        MeshMode::AllowAny => OutboundPolicy::AllowAny,
        MeshMode::AllowAnyDynamicDns => OutboundPolicy::AllowAnyDynamicDns,
    }
}

/// Hosts by namespace; `*` stands for all.
type ByNamespace = BTreeMap<String, Vec<String>>;

/// What a listener imports, and what of that it leaves out: `~ns/host`, and `~/host` for all namespaces, so that `~/*`
/// leaves nothing, whatever stands beside it.
#[derive(Default)]
struct Hosts {
    imported: ByNamespace,
    excluded: ByNamespace,
}

impl Hosts {
    fn read(written: &[String], namespace: &str) -> Self {
        let mut hosts = Self::default();
        for (owner, host) in written.iter().filter_map(|host| host.split_once('/')) {
            let (list, owner) = match owner.strip_prefix('~') {
                Some("") => (&mut hosts.excluded, "*"),
                Some(owner) => (&mut hosts.excluded, owner),
                None => (&mut hosts.imported, owner),
            };
            let owner = if owner == "." { namespace } else { owner };
            list.entry(owner.to_owned()).or_default().push(host.to_ascii_lowercase());
        }
        hosts
    }

    fn import_service(&self, service: &Service) -> bool {
        let among = |list| of_namespace(list, &service.namespace).any(|host| is_subset(&service.hostname, host));
        among(&self.imported) && !among(&self.excluded)
    }

    /// A rule is imported if one of its hosts has any name in common with an imported one, and is not left out.
    fn import_rule(&self, rule: &VirtualService) -> bool {
        let imported = |own: &str| of_namespace(&self.imported, &rule.namespace).any(|host| overlap(own, host));
        let excluded = |own: &str| of_namespace(&self.excluded, &rule.namespace).any(|host| is_subset(own, host));
        rule.hosts.iter().any(|own| imported(own) && !excluded(own))
    }
}

/// Those that count for something of a namespace.
fn of_namespace<'h>(hosts: &'h ByNamespace, namespace: &str) -> impl Iterator<Item = &'h String> {
    hosts.get(namespace).into_iter().chain(hosts.get("*")).flatten()
}

impl EgressListener {
    fn new(mesh: &Mesh<'_>, namespace: &str, spec: &IstioEgressListener, origin: Option<Origin>, visible: &[Arc<Service>]) -> Self {
        let hosts = Hosts::read(&spec.hosts, namespace);
        let rules = mesh.virtual_services.of_gateway(MESH, namespace);
        let mut listener = Self {
            spec: origin.is_some().then(|| spec.clone()),
            origin,
            services: Arc::default(),
            virtual_services: rules.into_iter().filter(|rule| hosts.import_rule(rule)).collect(),
            by_host: Arc::default(),
        };
        let imported = visible.iter().filter(|service| hosts.import_service(service));
        let imported = imported.filter_map(|service| listener.cut(service)).collect();
        listener.services = merge_same(one_namespace_each(imported, namespace)).into();
        listener.by_host = governing(&listener.services, &listener.virtual_services).into();
        listener
    }

    /// The port that services must have to be reached; a proxy for HTTP reaches all.
    fn required_port(&self) -> Option<u16> {
        let written = self.spec.as_ref()?.port.as_ref()?;
        self.port().filter(|_| written.protocol() != Some(Protocol::HttpProxy))
    }

    /// A service as it is reached here: with the listener's port alone.
    fn cut(&self, service: &Arc<Service>) -> Option<Arc<Service>> {
        match self.required_port() {
            None => Some(service.clone()),
            Some(required) => with_ports(service, |port| port == required),
        }
    }
}

/// A service with only some of its ports; none if it has none of them.
fn with_ports(service: &Arc<Service>, keep: impl Fn(u16) -> bool) -> Option<Arc<Service>> {
    if service.ports.iter().all(|port| keep(port.number)) {
        return (!service.ports.is_empty()).then(|| service.clone());
    }
    service.with_ports(|port| keep(port.number)).map(Arc::new)
}

/// Of services with one host name those of one namespace: the proxy's own, else a Kubernetes Service's, else the
/// first one's.
fn one_namespace_each(mut services: Vec<Arc<Service>>, own: &str) -> Vec<Arc<Service>> {
    let mut chosen: HashMap<Arc<str>, (Arc<str>, Registry)> = HashMap::new();
    for service in &services {
        let this = (service.namespace.clone(), service.registry);
        let known = chosen.entry(service.hostname.clone()).or_insert_with(|| this.clone());
        let is_own = *this.0 == *own;
        let is_better = this.1 == Registry::Kubernetes && known.1 != Registry::Kubernetes && *known.0 != *own;
        if is_own || is_better {
            *known = this;
        }
    }
    services.retain(|service| chosen.get(&service.hostname).is_some_and(|(namespace, _)| *namespace == service.namespace));
    services
}

/// Services of one host and namespace become one, at the place of the first, as far as they can be one. A Kubernetes
/// Service stands alone.
fn merge_same(services: Vec<Arc<Service>>) -> Vec<Arc<Service>> {
    let mut imports = Imports::default();
    services.iter().for_each(|service| imports.add(service));
    imports.services
}

/// For each service the rule with the most specific host that covers it; of several with that host the first.
fn governing(services: &[Arc<Service>], rules: &List<Arc<VirtualService>>) -> HashMap<Arc<str>, usize> {
    let mut exact: HashMap<&str, usize> = HashMap::new();
    let mut wildcards: Vec<(&str, usize)> = vec![];
    for (index, rule) in rules.iter().enumerate() {
        for host in &rule.hosts {
            if is_wildcard(host) {
                wildcards.push((host, index));
            } else {
                exact.entry(host).or_insert(index);
            }
        }
    }
    // A stable sort: of equal hosts the first stays first.
    wildcards.sort_by(|(a, _), (b, _)| by_specificity(a, b));
    let of = |service: &Arc<Service>| {
        let covering = || wildcards.iter().find(|(host, _)| is_subset(&service.hostname, host)).map(|(_, index)| *index);
        let index = exact.get(&*service.hostname).copied().or_else(covering)?;
        Some((service.hostname.clone(), index))
    };
    services.iter().filter_map(of).collect()
}

/// Collects the services that a proxy may reach.
#[derive(Default)]
struct Imports {
    services: Vec<Arc<Service>>,
    by_host: HashMap<Arc<str>, usize>,
}

impl Imports {
    /// The services of a listener, and then the destinations of its rules, which need not be listed.
    fn add_listener(&mut self, mesh: &Mesh<'_>, namespace: &str, listener: &EgressListener) {
        listener.services.iter().for_each(|service| self.add(service));
        for rule in listener.virtual_services.iter() {
            for (host, ports) in destinations(rule, namespace) {
                let Some(service) = mesh.services.choose(&host, namespace) else { continue };
                let reached = match listener.required_port() {
                    Some(_) => listener.cut(&service),
                    None if ports.contains(&0) => Some(service),
                    None => with_ports(&service, |port| ports.contains(&port.into())),
                };
                reached.iter().for_each(|service| self.add(service));
            }
        }
    }

    fn add(&mut self, service: &Arc<Service>) {
        let Some(index) = self.by_host.get(&service.hostname) else {
            self.by_host.insert(service.hostname.clone(), self.services.len());
            self.services.push(service.clone());
            return;
        };
        let known = &mut self.services[*index];
        match (known.registry, service.registry) {
            (Registry::Kubernetes, Registry::External) => {}
            (Registry::External, Registry::Kubernetes) => *known = service.clone(),
            _ if !known.is_one_with(service) => {}
            _ => merge(known, service),
        }
    }
}

/// Adds the ports and addresses of the same service as another listener imports it, or as another object defines it.
fn merge(known: &mut Arc<Service>, other: &Arc<Service>) {
    let is_new = |port: &&crate::service::ServicePort| known.port(port.number.into()).is_none();
    let ports: Vec<_> = other.ports.iter().filter(is_new).cloned().collect();
    let addresses: Vec<_> = other.addresses.iter().filter(|address| !known.addresses.contains(address)).cloned().collect();
    if !ports.is_empty() || !addresses.is_empty() {
        let known = Arc::make_mut(known);
        known.ports.extend(ports);
        known.addresses.extend(addresses);
    }
}

/// The hosts that a rule sends to, each with the ports that it names; 0 stands for all. What only sources of
/// other namespaces match does not count.
pub(crate) fn destinations(rule: &VirtualService, namespace: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for destination in rule.destinations_for(namespace) {
        found.entry(destination.host.clone()).or_default().insert(destination.port_number().unwrap_or(0));
    }
    found
}
