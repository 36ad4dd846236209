//! The virtual hosts of a gateway's port: VirtualServices are cut down to the hosts of its servers, and those of one
//! host are merged; those that were made of Ingresses are merged route by route.
//!
//! Facts: `buildGatewayHTTPRouteConfig` in pilot/pkg/networking/core/gateway.go of Istio.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use weir_model::host::intersection;
use weir_model::ingress::{Precedence, precedence};
use weir_model::{GatewayServer, Service, VirtualService};
use weir_xds::route::VirtualHost;

use super::lists::RouteLists;
use super::misdirected::Connections;
use super::{Host, Hosts, wider};
use crate::context::Context;
use crate::names;
use crate::proxy_headers;
use crate::route::RouteInput;

/// The virtual hosts of servers that share a route configuration.
pub(crate) fn hosts<R: RouteLists>(
    context: &Context<'_>,
    lists: &mut R,
    connections: &Connections<'_>,
    servers: &[Arc<GatewayServer>],
) -> Hosts<R::List> {
    let mut maker = Maker { context, lists, by_host: BTreeMap::new(), entered: HashSet::new(), known: HashMap::new(), made: vec![] };
    servers.iter().for_each(|server| maker.add_server(server));
    let misdirected = servers.first().map(|server| connections.misdirected(server, port(server), |host| maker.serves(host)));
    maker.finish(servers, misdirected.unwrap_or_default())
}

/// The number of the server's own port, which names its virtual hosts wherever it is served.
fn port(server: &GatewayServer) -> u16 {
    server.spec.port.as_ref().and_then(|port| u16::try_from(port.number).ok()).unwrap_or(server.port)
}

/// A host on its way to a virtual host.
struct Routed {
    port: u16,
    requires_tls: bool,
    /// Which lists of routes it has, one after the other.
    lists: Vec<usize>,
}

/// The list of routes of a rule.
struct Made<L> {
    list: L,
    /// Where each of them stands among all that are for its host; none of a rule whose routes stay together.
    ranks: Vec<Precedence>,
}

struct Maker<'h, R: RouteLists> {
    context: &'h Context<'h>,
    lists: &'h mut R,
    by_host: BTreeMap<String, Routed>,
    /// By which names the rules were asked for that are for these hosts: Ingresses have many servers that are alike.
    entered: HashSet<(&'h str, &'h [String], bool)>,
    /// The list of routes of each VirtualService (namespace, name) on each Gateway.
    known: HashMap<(String, String, String), usize>,
    /// None for one that has no route for its port.
    made: Vec<Option<Made<R::List>>>,
}

impl<'h, R: RouteLists> Maker<'h, R> {
    fn add_server(&mut self, server: &'h GatewayServer) {
        let (hosts, redirects) = (&server.hosts[..], server.redirects_to_https());
        let names = server.entrances.iter().map(String::as_str);
        let new: Vec<&str> = names.filter(|name| self.entered.insert((*name, hosts, redirects))).collect();
        for rule in self.context.mesh.virtual_services.of_entrances(new, &self.context.proxy.namespace) {
            let hosts = intersection(&server.hosts_for(&rule.namespace), &rule.hosts);
            if hosts.is_empty() {
                continue;
            }
            let Some(list) = self.routes_of(server, &rule) else { continue };
            for host in hosts {
                let host = self.host(&host, server);
                host.requires_tls |= redirects;
                host.lists.push(list);
            }
        }
        if redirects {
            server.sni_hosts().iter().for_each(|host| self.host(host, server).requires_tls = true);
        }
    }

    fn host(&mut self, host: &str, server: &GatewayServer) -> &mut Routed {
        let new = || Routed { port: port(server), requires_tls: false, lists: vec![] };
        self.by_host.entry(host.to_ascii_lowercase()).or_insert_with(new)
    }

    /// The list of a rule's routes; none if the rule has no route for this port.
    fn routes_of(&mut self, server: &GatewayServer, rule: &Arc<VirtualService>) -> Option<usize> {
        let key = (server.gateway.clone(), rule.namespace.clone(), rule.name.clone());
        let list = self.known.get(&key).copied().unwrap_or_else(|| {
            let find = |hostname: &str| service(self.context, rule, hostname);
            let is_tls = server.spec.tls.is_some();
            let input = RouteInput { context: self.context, port: port(server), gateway: &server.gateway, is_tls, service: &find };
            let ranks = rule.http.iter().filter(|_| rule.of_ingress).map(|rule| precedence(&rule.spec)).collect();
            self.made.push(self.lists.of_rule(&input, rule).map(|list| Made { list, ranks }));
            self.known.insert(key, self.made.len() - 1);
            self.made.len() - 1
        });
        self.made.get(list)?.as_ref().map(|_| list)
    }

    /// Whether any of the virtual hosts is for a host.
    fn serves(&self, host: &str) -> bool {
        self.by_host.contains_key(host) || wider(host).any(|host| self.by_host.contains_key(&host))
    }

    fn finish(self, servers: &[Arc<GatewayServer>], misdirected: Vec<VirtualHost>) -> Hosts<R::List> {
        if self.by_host.is_empty() {
            let number = servers.first().map_or(0, |server| port(server));
            let name = names::host_and_port("blackhole", number);
            let nowhere = VirtualHost { name, domains: vec!["*".to_owned()], ..Default::default() };
            return Hosts { named: vec![], rest: misdirected.into_iter().chain([nowhere]).collect(), heeds_ports: false };
        }
        let counts_attempts = proxy_headers::counts_attempts(&self.context.mesh.config);
        let mut built: Vec<Host<R::List>> = vec![];
        let mut same: HashMap<(Vec<usize>, bool), usize> = HashMap::new();
        for (name, host) in self.by_host {
            let key = (host.lists, host.requires_tls);
            // Hosts with the same routes share them: else their number is that of hosts times routes.
            if let Some(known) = same.get(&key).and_then(|index| built.get_mut(*index)) {
                known.domains.push(name);
                continue;
            }
            let lists: Vec<&Made<R::List>> = key.0.iter().filter_map(|list| self.made.get(*list)?.as_ref()).collect();
            let routes = joined::<R>(&lists);
            let (full_name, domains) = (names::host_and_port(&name, host.port), vec![name]);
            built.push(Host { name: full_name, domains, routes, requires_tls: key.1, counts_attempts, rule: None });
            same.insert(key, built.len() - 1);
        }
        built.sort_by(|a, b| a.name.cmp(&b.name));
        Hosts { named: built, rest: misdirected, heeds_ports: false }
    }
}

/// Lists as one. Where several are of Ingresses, their routes stand, each in its place, where the first of these lists does.
fn joined<'m, R: RouteLists>(all: &[&'m Made<R::List>]) -> R::List {
    let whole = |made: &[&'m Made<R::List>]| made.iter().map(|made| &made.list).collect::<Vec<_>>();
    let (ranked, others): (Vec<_>, Vec<_>) = all.iter().copied().partition(|made| !made.ranks.is_empty());
    if ranked.len() < 2 {
        return R::join(&whole(all));
    }
    let mut routes: Vec<(Precedence, R::List)> = vec![];
    for made in ranked {
        routes.extend(made.ranks.iter().copied().zip(R::split(&made.list)));
    }
    routes.sort_by_key(|(rank, _)| *rank);
    let first = all.iter().take_while(|made| made.ranks.is_empty()).count();
    let (before, after) = others.split_at_checked(first).unwrap_or((&others[..], &[]));
    R::join(&[whole(before), routes.iter().map(|(_, route)| route).collect(), whole(after)].concat())
}

/// The service of a host for a rule: in the rule's own namespace, as far as the gateway may see it, else what the
/// gateway knows by that name.
fn service(context: &Context<'_>, rule: &VirtualService, hostname: &str) -> Option<Arc<Service>> {
    let own = context.mesh.services.of_host(hostname).and_then(|by_namespace| by_namespace.get(rule.namespace.as_str()));
    let visible = own.filter(|service| service.visibility.allows(&context.proxy.namespace));
    visible.or_else(|| context.scope.service(hostname)).cloned()
}
