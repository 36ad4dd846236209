//! The virtual hosts of a sidecar's port: one for each service and for each host of a VirtualService.
//!
//! Facts: `BuildSidecarVirtualHostWrapper` and what calls it in pilot/pkg/networking/core of Istio. VirtualServices
//! are not merged here: the first that claims a host has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use weir_api::FieldPath;
use weir_api::resources::protocol::Protocol;
use weir_model::host::{is_wildcard, overlap};
use weir_model::{EgressListener, MESH, Origin, OutboundPolicy, Resolution, Service, VirtualService};
use weir_xds::route::route::Action;
use weir_xds::route::{DirectResponseAction, Route, RouteConfiguration, VirtualHost};

use super::domains::{self, Claims, Domains};
use super::{configuration, virtual_host};
use crate::context::Context;
use crate::names;
use crate::route::{self, RouteInput, destination};

/// The port whose hosts need not be services: without a port of its own, a host is taken to be on it.
const HTTP_PORT: u16 = 80;

/// The route configuration of a port. `port` is none for a listener that is a proxy for HTTP: it serves all ports.
pub(crate) fn routes(context: &Context<'_>, listener: &EgressListener, name: &str, port: Option<u16>) -> RouteConfiguration {
    let mut hosts = virtual_hosts(context, listener, port);
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    hosts.push(everything_else(&context.scope.outbound_policy));
    configuration(name, hosts)
}

/// The route configuration of a listener that is for one service alone.
pub(crate) fn routes_of_service(
    context: &Context<'_>,
    listener: &EgressListener,
    name: &str,
    service: &Service,
    port: u16,
) -> RouteConfiguration {
    let is_its = |host: &VirtualHost| host.domains.iter().any(|domain| **domain == *service.hostname);
    let mut hosts: Vec<VirtualHost> = virtual_hosts(context, listener, Some(port)).into_iter().filter(is_its).collect();
    if let [only] = hosts.as_mut_slice() {
        only.domains = vec!["*".to_owned()];
    }
    configuration(name, hosts)
}

/// Hosts and services that share routes.
struct Group {
    port: u16,
    hosts: Vec<String>,
    services: Vec<Arc<Service>>,
    routes: Vec<Route>,
    rule: Option<Arc<VirtualService>>,
}

fn virtual_hosts(context: &Context<'_>, listener: &EgressListener, port: Option<u16>) -> Vec<VirtualHost> {
    let mut services = Registered::new(listener, port);
    let mut groups: Vec<Group> = vec![];
    for rule in listener.virtual_services.iter().filter(|rule| port == Some(HTTP_PORT) || services.concern(rule)) {
        groups.extend(of_rule(context, listener, &services, rule, port));
    }
    for service in groups.iter().flat_map(|group| &group.services) {
        services.by_host.remove(&service.hostname);
    }
    groups.extend(services.in_order().flat_map(|service| of_service(context, service)));
    Builder::new(context, &groups, port).build(groups)
}

/// The services that a port's rules may be about.
struct Registered {
    by_host: HashMap<Arc<str>, Arc<Service>>,
    order: Vec<Arc<str>>,
}

impl Registered {
    /// Services with the port, as if they had no other.
    fn new(listener: &EgressListener, port: Option<u16>) -> Self {
        let cut = |service: &Arc<Service>| match port {
            Some(port) => service.with_ports(|own| own.number == port).map(Arc::new),
            None => Some(service.clone()),
        };
        let services: Vec<Arc<Service>> = listener.services.iter().filter_map(cut).collect();
        let order = services.iter().map(|service| service.hostname.clone()).collect();
        Self { by_host: services.into_iter().map(|service| (service.hostname.clone(), service)).collect(), order }
    }

    fn in_order(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.order.iter().filter_map(|hostname| self.by_host.get(hostname))
    }

    /// Whether a rule is about any of them.
    fn concern(&self, rule: &VirtualService) -> bool {
        rule.hosts.iter().any(|host| {
            self.by_host.contains_key(host.as_str())
                || self.by_host.keys().any(|known| (is_wildcard(host) || is_wildcard(known)) && overlap(host, known))
        })
    }

    /// Divides a rule's hosts into services and hosts that are none. A wildcard gets the services that no more
    /// specific rule governs.
    fn divide(&self, listener: &EgressListener, rule: &Arc<VirtualService>) -> (Vec<String>, Vec<Arc<Service>>) {
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
            let governs =
                |service: &&Arc<Service>| listener.virtual_service_of(&service.hostname).is_some_and(|own| Arc::ptr_eq(own, rule));
            services.extend(covered.into_iter().filter(governs).cloned());
        }
        (hosts, services)
    }
}

fn of_rule(
    context: &Context<'_>,
    listener: &EgressListener,
    services: &Registered,
    rule: &Arc<VirtualService>,
    port: Option<u16>,
) -> Vec<Group> {
    let find = |hostname: &str| services.by_host.get(hostname).cloned();
    let input = RouteInput { context, port: port.unwrap_or(0), gateway: MESH, is_tls: false, service: &find };
    let routes = route::of_virtual_service(&input, rule);
    if routes.is_empty() {
        return vec![];
    }
    let (hosts, services) = services.divide(listener, rule);
    let mut by_port: BTreeMap<u16, Vec<Arc<Service>>> = BTreeMap::new();
    for service in &services {
        for port in service.ports.iter().filter(|port| port.is_http_or_sniffed()) {
            by_port.entry(port.number).or_default().push(service.clone());
        }
    }
    if by_port.is_empty() && port == Some(HTTP_PORT) {
        by_port.insert(HTTP_PORT, vec![]);
    }
    let group = |(port, services)| Group { port, hosts: hosts.clone(), services, routes: routes.clone(), rule: Some(rule.clone()) };
    by_port.into_iter().map(group).collect()
}

fn of_service(context: &Context<'_>, service: &Arc<Service>) -> Vec<Group> {
    if service.resolution == Resolution::Alias {
        return vec![];
    }
    let group = |port: u16| Group {
        port,
        hosts: vec![],
        services: vec![service.clone()],
        routes: vec![route::of_service(context, service, port)],
        rule: None,
    };
    service.ports.iter().filter(|port| port.is_http_or_sniffed()).map(|port| group(port.number)).collect()
}

/// Makes virtual hosts, and gives each name and domain to the first that claims it.
struct Builder<'b> {
    context: &'b Context<'b>,
    port: Option<u16>,
    names: HashSet<String>,
    claims: Claims,
}

impl<'b> Builder<'b> {
    fn new(context: &'b Context<'b>, groups: &[Group], port: Option<u16>) -> Self {
        let full = groups.iter().flat_map(|group| {
            group.services.iter().flat_map(|service| [service.hostname.to_string(), names::host_and_port(&service.hostname, group.port)])
        });
        Self { context, port, names: HashSet::new(), claims: Claims::new(full) }
    }

    fn build(mut self, groups: Vec<Group>) -> Vec<VirtualHost> {
        let mut built = vec![];
        for group in groups {
            let hosts = group.hosts.iter().map(|host| (host.as_str(), None));
            let services = group.services.iter().map(|service| (&*service.hostname, Some(&**service)));
            for (hostname, service) in hosts.chain(services).collect::<Vec<_>>() {
                built.extend(self.host(&group, hostname, service));
            }
        }
        built
    }

    fn host(&mut self, group: &Group, hostname: &str, service: Option<&Service>) -> Option<VirtualHost> {
        let name = names::host_and_port(hostname, group.port);
        if !self.names.insert(name.clone()) {
            self.tell_the_loser(group, hostname);
            return None;
        }
        // A listener for one port ignores the port of the host.
        let port = self.port.is_none().then_some(group.port);
        let wanted = match service {
            Some(service) => domains::of_service(service, &self.context.proxy.namespace, &self.context.mesh.domain, port),
            None => Domains { all: domains::of_host(hostname, port), short: HashSet::new() },
        };
        let mut domains = self.claims.claim(wanted);
        if self.port.is_none() && group.port != HTTP_PORT {
            domains.retain(|domain| domain.contains(':'));
        }
        (!domains.is_empty()).then(|| virtual_host(name, domains, group.routes.clone()))
    }

    fn tell_the_loser(&self, group: &Group, hostname: &str) {
        let Some(rule) = &group.rule else { return };
        let origin = Origin::new(&rule.object, FieldPath::default().key("spec").key("hosts"));
        let message = format!("an older VirtualService has the host {hostname} already: for sidecars, this one has no effect on it");
        self.context.warn(&origin, message);
    }
}

/// The routes of requests that come by no service's listener.
pub(crate) fn unknown(policy: &OutboundPolicy) -> RouteConfiguration {
    let host = everything_else(policy);
    configuration(&host.name.clone(), vec![host])
}

/// What happens to requests for hosts that are not known.
fn everything_else(policy: &OutboundPolicy) -> VirtualHost {
    let any = vec!["*".to_owned()];
    let (name, cluster) = match policy {
        OutboundPolicy::RegistryOnly => return virtual_host("block_all".to_owned(), any, vec![block()]),
        OutboundPolicy::AllowAny => ("allow_any", names::PASSTHROUGH.to_owned()),
        OutboundPolicy::AllowAnyDynamicDns => ("allow_any_dynamic_dns", names::DYNAMIC_DNS.to_owned()),
        OutboundPolicy::EgressProxy(destination) => ("allow_any", destination::cluster(destination, None, 0)),
    };
    virtual_host(name.to_owned(), any, vec![route::to_cluster(name, &cluster)])
}

fn block() -> Route {
    Route {
        name: "block_all".to_owned(),
        r#match: Some(route::condition::everything()),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 502, ..Default::default() })),
        ..Default::default()
    }
}

/// Whether a listener is a proxy for HTTP: its requests name the port themselves.
pub(crate) fn is_http_proxy(listener: &EgressListener) -> bool {
    let port = listener.spec.as_ref().and_then(|spec| spec.port.as_ref());
    port.and_then(weir_api::resources::sidecar::SidecarPort::protocol) == Some(Protocol::HttpProxy)
}
