//! The virtual hosts of a gateway's port: VirtualServices are cut down to the hosts of its servers, and those of one
//! host are merged.
//!
//! Facts: `buildGatewayHTTPRouteConfig` in pilot/pkg/networking/core/gateway.go of Istio.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_model::host::intersection;
use weir_model::{GatewayServer, Service, VirtualService};
use weir_xds::route::virtual_host::TlsRequirementType;
use weir_xds::route::{Route, RouteConfiguration, VirtualHost};

use super::{configuration, virtual_host};
use crate::context::Context;
use crate::names;
use crate::route::{self, RouteInput};

/// The route configuration of servers that share one.
pub(crate) fn routes(context: &Context<'_>, name: &str, servers: &[Arc<GatewayServer>]) -> RouteConfiguration {
    let mut hosts = Hosts { context, by_host: BTreeMap::new(), known: HashMap::new(), lists: vec![] };
    servers.iter().for_each(|server| hosts.add_server(server));
    configuration(name, hosts.finish(servers))
}

/// The number of the server's own port, which names its virtual hosts wherever it is served.
fn port(server: &GatewayServer) -> u16 {
    server.spec.port.as_ref().and_then(|port| u16::try_from(port.number).ok()).unwrap_or(server.port)
}

/// A host on its way to a virtual host.
struct Host {
    port: u16,
    requires_tls: bool,
    /// Which lists of routes it has, one after the other.
    lists: Vec<usize>,
}

struct Hosts<'h> {
    context: &'h Context<'h>,
    by_host: BTreeMap<String, Host>,
    /// The list of routes of each VirtualService (namespace, name) on each Gateway.
    known: HashMap<(String, String, String), usize>,
    lists: Vec<Vec<Route>>,
}

impl Hosts<'_> {
    fn add_server(&mut self, server: &GatewayServer) {
        for rule in self.context.mesh.virtual_services.of_gateway(&server.gateway, &self.context.proxy.namespace) {
            let hosts = intersection(&server.hosts_for(&rule.namespace), &rule.hosts);
            if hosts.is_empty() {
                continue;
            }
            let Some(list) = self.routes_of(server, &rule) else { continue };
            for host in hosts {
                let host = self.host(&host, server);
                host.requires_tls |= server.redirects_to_https();
                host.lists.push(list);
            }
        }
        if server.redirects_to_https() {
            server.sni_hosts().iter().for_each(|host| self.host(host, server).requires_tls = true);
        }
    }

    fn host(&mut self, host: &str, server: &GatewayServer) -> &mut Host {
        let new = || Host { port: port(server), requires_tls: false, lists: vec![] };
        self.by_host.entry(host.to_ascii_lowercase()).or_insert_with(new)
    }

    /// The list of a rule's routes; none if the rule has no route for this port.
    fn routes_of(&mut self, server: &GatewayServer, rule: &VirtualService) -> Option<usize> {
        let key = (server.gateway.clone(), rule.namespace.clone(), rule.name.clone());
        let list = self.known.get(&key).copied().unwrap_or_else(|| {
            let find = |hostname: &str| service(self.context, rule, hostname);
            let is_tls = server.spec.tls.is_some();
            let input = RouteInput { context: self.context, port: port(server), gateway: &server.gateway, is_tls, service: &find };
            self.lists.push(route::of_virtual_service(&input, rule));
            self.known.insert(key, self.lists.len() - 1);
            self.lists.len() - 1
        });
        (!self.lists[list].is_empty()).then_some(list)
    }

    fn finish(self, servers: &[Arc<GatewayServer>]) -> Vec<VirtualHost> {
        if self.by_host.is_empty() {
            let number = servers.first().map_or(0, |server| port(server));
            let name = names::host_and_port("blackhole", number);
            return vec![VirtualHost { name, domains: vec!["*".to_owned()], ..Default::default() }];
        }
        let mut built: Vec<VirtualHost> = vec![];
        let mut same: HashMap<(Vec<usize>, bool), usize> = HashMap::new();
        for (name, host) in self.by_host {
            let key = (host.lists, host.requires_tls);
            // Hosts with the same routes share them: else their number is that of hosts times routes.
            if let Some(index) = same.get(&key) {
                built[*index].domains.push(name);
                continue;
            }
            let mut routes: Vec<Route> = key.0.iter().flat_map(|list| &self.lists[*list]).cloned().collect();
            route::catch_alls_last(&mut routes);
            let mut new = virtual_host(names::host_and_port(&name, host.port), vec![name], routes);
            let requirement = if key.1 { TlsRequirementType::All } else { TlsRequirementType::None };
            new.require_tls = requirement.into();
            same.insert(key, built.len());
            built.push(new);
        }
        built.sort_by(|a, b| a.name.cmp(&b.name));
        built
    }
}

/// The service of a host for a rule: in the rule's own namespace, as far as the gateway may see it, else what the
/// gateway knows by that name.
fn service(context: &Context<'_>, rule: &VirtualService, hostname: &str) -> Option<Arc<Service>> {
    let own = context.mesh.services.of_host(hostname).and_then(|by_namespace| by_namespace.get(rule.namespace.as_str()));
    let visible = own.filter(|service| service.visibility.allows(&context.proxy.namespace));
    visible.or_else(|| context.scope.service(hostname)).cloned()
}
