//! The virtual hosts of a sidecar's port: one for each service and for each host of a VirtualService.
//!
//! Facts: `BuildSidecarVirtualHostWrapper` and what calls it in pilot/pkg/networking/core of Istio. VirtualServices
//! are not merged here: the first that claims a host has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use weir_api::FieldPath;
use weir_api::resources::protocol::Protocol;
use weir_model::{EgressListener, MESH, Origin, OutboundPolicy, Resolution, Service, ServicePort, VirtualService};
use weir_xds::route::route::Action;
use weir_xds::route::{DirectResponseAction, Route, RouteConfiguration, VirtualHost};

use super::domains::{self, Claims, Domains};
use super::lists::RouteLists;
use super::ports::{AtPort, HTTP_PORT, Ports};
use super::{Host, Hosts, configuration, virtual_host};
use crate::context::Context;
use crate::names;
use crate::proxy_headers;
use crate::route::{self, RouteInput, destination};

/// The route configurations that listeners ask for.
#[derive(Debug, Clone)]
pub(crate) enum OutboundRoute {
    /// The services of a port.
    Port(u16),
    /// One service alone.
    Service(Arc<Service>, u16),
    /// All services of the listener at a Unix socket.
    Socket(String),
}

/// Makes the virtual hosts that a sidecar's listeners ask for.
pub(crate) struct Maker<'m, R> {
    context: &'m Context<'m>,
    lists: &'m mut R,
    listeners: HashMap<*const EgressListener, Ports<'m>>,
    ports: HashMap<(*const EgressListener, Option<u16>), Rc<AtPort<'m>>>,
}

impl<'m, R: RouteLists> Maker<'m, R> {
    pub fn new(context: &'m Context<'m>, lists: &'m mut R) -> Self {
        Self { context, lists, listeners: HashMap::new(), ports: HashMap::new() }
    }

    /// What a listener asks for; none if no egress listener is for its port.
    pub fn hosts(&mut self, route: &OutboundRoute) -> Option<Hosts<R::List>> {
        let scope = &self.context().scope;
        let egress = match route {
            OutboundRoute::Port(port) | OutboundRoute::Service(_, port) => scope.listener_for(*port)?,
            OutboundRoute::Socket(socket) => scope.listener_at(socket)?,
        };
        match route {
            OutboundRoute::Service(service, port) => {
                let at = self.at(egress, Some(*port));
                Some(Hosts { named: self.of_one(&at, service, *port), rest: vec![], heeds_ports: false })
            }
            OutboundRoute::Port(port) => Some(self.of_listener(egress, (!is_http_proxy(egress)).then_some(*port))),
            OutboundRoute::Socket(_) => Some(self.of_listener(egress, None)),
        }
    }

    fn context(&self) -> &'m Context<'m> {
        self.context
    }

    /// The virtual hosts of a listener at a port. At a proxy for HTTP and at a socket there is none: the host that a request names
    /// says which port is meant.
    fn of_listener(&mut self, egress: &'m EgressListener, port: Option<u16>) -> Hosts<R::List> {
        let at = self.at(egress, port);
        let mut named = self.all(&at);
        named.sort_by(|a, b| a.name.cmp(&b.name));
        Hosts { named, rest: vec![everything_else(self.context)], heeds_ports: port.is_none() }
    }

    fn at(&mut self, egress: &'m EgressListener, port: Option<u16>) -> Rc<AtPort<'m>> {
        let key: *const EgressListener = egress;
        let ports = self.listeners.entry(key).or_insert_with(|| Ports::new(egress));
        self.ports.entry((key, port)).or_insert_with(|| Rc::new(ports.at(port))).clone()
    }

    /// All virtual hosts of a port.
    fn all(&mut self, at: &AtPort<'_>) -> Vec<Host<R::List>> {
        let mut groups: Vec<Group<R::List>> = vec![];
        for rule in &at.rules {
            groups.extend(self.of_rule(at, rule));
        }
        let governed: HashSet<Arc<str>> = groups.iter().flat_map(|group| &group.services).map(|service| service.hostname.clone()).collect();
        for service in at.in_order().filter(|service| !governed.contains(&service.hostname)) {
            groups.extend(self.of_service(service));
        }
        Builder::new(self.context, &groups, at.port).build(groups)
    }

    /// The virtual host of one service alone, for all requests.
    fn of_one(&mut self, at: &AtPort<'_>, service: &Service, port: u16) -> Vec<Host<R::List>> {
        let Some(own) = at.by_host.get(&service.hostname) else {
            // It may still be a host of a rule.
            let is_its = |host: &Host<R::List>| host.domains.iter().any(|domain| **domain == *service.hostname);
            let mut hosts: Vec<Host<R::List>> = self.all(at).into_iter().filter(is_its).collect();
            if let [only] = hosts.as_mut_slice() {
                only.domains = vec!["*".to_owned()];
            }
            return hosts;
        };
        if own.resolution == Resolution::Alias || !own.ports.iter().any(ServicePort::is_http_or_sniffed) {
            return vec![];
        }
        let (mut routes, mut of) = (None, None);
        for rule in at.rules_of(own) {
            let Some(list) = self.list(at, rule) else { continue };
            match routes {
                None => (routes, of) = (Some(list), Some(rule.clone())),
                Some(_) => tell_the_loser(self.context, rule, &own.hostname),
            }
        }
        let routes = routes.unwrap_or_else(|| self.lists.of_service(self.context, own, port));
        let (name, domains) = (names::host_and_port(&own.hostname, port), vec!["*".to_owned()]);
        vec![Host { name, domains, routes, requires_tls: false, counts_attempts: counts_attempts(self.context), rule: of }]
    }

    fn list(&mut self, at: &AtPort<'_>, rule: &Arc<VirtualService>) -> Option<R::List> {
        let find = |hostname: &str| at.by_host.get(hostname).cloned();
        let input = RouteInput { context: self.context, port: at.port.unwrap_or(0), gateway: MESH, is_tls: false, service: &find };
        self.lists.of_rule(&input, rule)
    }

    fn of_rule(&mut self, at: &AtPort<'_>, rule: &Arc<VirtualService>) -> Vec<Group<R::List>> {
        let Some(routes) = self.list(at, rule) else { return vec![] };
        let (hosts, services) = at.divide(rule);
        let mut by_port: BTreeMap<u16, Vec<Arc<Service>>> = BTreeMap::new();
        for service in &services {
            for port in service.ports.iter().filter(|port| port.is_http_or_sniffed()) {
                by_port.entry(port.number).or_default().push(service.clone());
            }
        }
        if by_port.is_empty() && at.port == Some(HTTP_PORT) {
            by_port.insert(HTTP_PORT, vec![]);
        }
        let group = |(port, services)| Group { port, hosts: hosts.clone(), services, routes: routes.clone(), rule: Some(rule.clone()) };
        by_port.into_iter().map(group).collect()
    }

    fn of_service(&mut self, service: &Arc<Service>) -> Vec<Group<R::List>> {
        if service.resolution == Resolution::Alias {
            return vec![];
        }
        let ports = service.ports.iter().filter(|port| port.is_http_or_sniffed()).map(|port| port.number);
        let group = |port: u16| Group {
            port,
            hosts: vec![],
            services: vec![service.clone()],
            routes: self.lists.of_service(self.context, service, port),
            rule: None,
        };
        ports.map(group).collect()
    }
}

/// Hosts and services that share routes.
struct Group<L> {
    port: u16,
    hosts: Vec<String>,
    services: Vec<Arc<Service>>,
    routes: L,
    rule: Option<Arc<VirtualService>>,
}

/// Makes virtual hosts, and gives each name and domain to the first that claims it.
struct Builder<'b> {
    context: &'b Context<'b>,
    port: Option<u16>,
    names: HashSet<String>,
    claims: Claims,
}

impl<'b> Builder<'b> {
    fn new<L>(context: &'b Context<'b>, groups: &[Group<L>], port: Option<u16>) -> Self {
        let full = groups.iter().flat_map(|group| {
            group.services.iter().flat_map(|service| [service.hostname.to_string(), names::host_and_port(&service.hostname, group.port)])
        });
        Self { context, port, names: HashSet::new(), claims: Claims::new(full) }
    }

    fn build<L: Clone>(mut self, groups: Vec<Group<L>>) -> Vec<Host<L>> {
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

    fn host<L: Clone>(&mut self, group: &Group<L>, hostname: &str, service: Option<&Service>) -> Option<Host<L>> {
        let name = names::host_and_port(hostname, group.port);
        if !self.names.insert(name.clone()) {
            group.rule.iter().for_each(|rule| tell_the_loser(self.context, rule, hostname));
            return None;
        }
        // A listener for one port ignores the port of the host.
        let port = self.port.is_none().then_some(group.port);
        let wanted = match service {
            Some(service) => domains::of_service(self.context, service, port),
            None => Domains { all: domains::of_host(hostname, port), short: HashSet::new() },
        };
        let mut domains = self.claims.claim(wanted);
        if self.port.is_none() && group.port != HTTP_PORT {
            domains.retain(|domain| domain.contains(':'));
        }
        let (routes, rule) = (group.routes.clone(), group.rule.clone());
        let counts_attempts = counts_attempts(self.context);
        (!domains.is_empty()).then_some(Host { name, domains, routes, requires_tls: false, counts_attempts, rule })
    }
}

fn counts_attempts(context: &Context<'_>) -> bool {
    proxy_headers::counts_attempts(&context.mesh.config)
}

fn tell_the_loser(context: &Context<'_>, rule: &VirtualService, hostname: &str) {
    let origin = Origin::new(&rule.object, FieldPath::default().key("spec").key("hosts"));
    let message = format!("an older VirtualService has the host {hostname} already: for sidecars, this one has no effect on it");
    context.warn(&origin, message);
}

/// The routes of requests that come by no service's listener.
pub(crate) fn unknown(context: &Context<'_>) -> RouteConfiguration {
    let host = everything_else(context);
    configuration(&host.name.clone(), vec![host])
}

/// What happens to requests for hosts that are not known.
fn everything_else(context: &Context<'_>) -> VirtualHost {
    let count = counts_attempts(context);
    let any = vec!["*".to_owned()];
    let (name, cluster) = match &context.scope.outbound_policy {
        OutboundPolicy::RegistryOnly => return virtual_host("block_all".to_owned(), any, vec![block()], count),
        OutboundPolicy::AllowAny => ("allow_any", names::PASSTHROUGH.to_owned()),
        OutboundPolicy::AllowAnyDynamicDns => ("allow_any_dynamic_dns", names::DYNAMIC_DNS.to_owned()),
        OutboundPolicy::EgressProxy(destination) => ("allow_any", destination::cluster(destination, None, 0)),
    };
    let mut route = route::to_cluster(name, &cluster);
    if let Some(Action::Route(action)) = &mut route.action {
        action.append_x_forwarded_host = proxy_headers::appends_host(&context.mesh.config);
    }
    virtual_host(name.to_owned(), any, vec![route], count)
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
