//! The listeners of a gateway.
//!
//! Facts: `buildGatewayListeners` in pilot/pkg/networking/core/gateway.go of Istio.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use weir_api::resources::gateway::{ServerTlsMode, ServerTlsSettings};
use weir_api::resources::protocol::Protocol;
use weir_model::host::is_subset;
use weir_model::{GatewayPort, GatewayServer, MergedGateway, Resolution, Service, VirtualService};
use weir_xds::core::TrafficDirection;
use weir_xds::listener::{Filter, Listener, ListenerFilter};
use weir_xds::proxy_protocol_filter::ProxyProtocol;
use weir_xds::values::duration;

use super::chain::Chain;
use super::http::{self, Class};
use super::{ANY_ADDRESS, access_log, at, build, inspectors, listener_filter, tcp, tls};
use crate::authz;
use crate::context::Context;
use crate::names;

/// What those who speak TLS with the mesh's certificates offer by ALPN.
const MESH_PROTOCOLS: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// The listeners for all ports that have anything to do.
pub(crate) fn listeners(context: &Context<'_>, gateway: &MergedGateway) -> Vec<Listener> {
    // Who ends TLS for a name is not to lose it, and the whole port with it, to a rule that passes it on.
    let ended = gateway.ports.iter().flat_map(|port| &port.servers).filter(|server| server.spec.tls.as_ref().is_some_and(ends_tls));
    let mut known_names: KnownNames = ended.flat_map(|server| server.sni_hosts().into_iter().map(|host| name_of(server, host))).collect();
    let mut chains: Vec<(&str, u16, Vec<Chain>)> = vec![];
    for port in &gateway.ports {
        let address = if port.bind.is_empty() { ANY_ADDRESS } else { &port.bind };
        let new = of_port(context, port, address, &mut known_names);
        // Servers of HTTPS and of TLS share a port.
        match chains.iter_mut().find(|(known, number, _)| *known == address && *number == port.number) {
            Some((_, _, known)) => known.extend(new),
            None => chains.push((address, port.number, new)),
        }
    }
    let used = chains.into_iter().filter(|(_, _, chains)| !chains.is_empty());
    used.map(|(address, port, chains)| listener(context, address, port, chains)).collect()
}

fn listener(context: &Context<'_>, address: &str, port: u16, chains: Vec<Chain>) -> Listener {
    Listener {
        listener_filters: client_addresses(context).into_iter().chain(inspectors(&chains)).collect(),
        listener_filters_timeout: Some(duration(Duration::ZERO)),
        filter_chains: chains.into_iter().map(build).collect(),
        access_log: access_log::of_listener(&context.mesh.config),
        max_connections_to_accept_per_socket_event: Some(1),
        ..at(address, port, TrafficDirection::Outbound)
    }
}

fn ends_tls(settings: &ServerTlsSettings) -> bool {
    !settings.mode.is_passthrough()
}

/// A server name at a server's port and address.
fn name_of(server: &GatewayServer, host: String) -> (u16, String, String) {
    (server.port, server.spec.bind.clone(), host)
}

/// Where proxies stand before the gateway that tell by the PROXY protocol who the client is, connections begin with that.
fn client_addresses(context: &Context<'_>) -> Option<ListenerFilter> {
    context.mesh.config.default_config.gateway_topology.as_ref()?.proxy_protocol.as_ref()?;
    Some(listener_filter("envoy.filters.listener.proxy_protocol", &ProxyProtocol::default()))
}

/// Server names that chains of a port have already, by address.
type KnownNames = HashSet<(u16, String, String)>;

fn of_port(context: &Context<'_>, port: &GatewayPort, address: &str, known: &mut KnownNames) -> Vec<Chain> {
    if port.protocol.is_http() {
        let name = port.servers.first().and_then(|server| server.route_name.clone()).unwrap_or_default();
        let manager =
            http::by_route_name(context, Class::Gateway.speaking(Some(port.protocol)), &names::listener(address, port.number), &name);
        return vec![Chain { filters: vec![manager], ..Default::default() }];
    }
    port.servers.iter().flat_map(|server| of_server(context, server, address, known)).collect()
}

fn of_server(context: &Context<'_>, server: &GatewayServer, address: &str, known: &mut KnownNames) -> Vec<Chain> {
    let settings = server.spec.tls.as_ref();
    match settings.map(|settings| settings.mode) {
        Some(ServerTlsMode::IstioMutual) => {
            context.warn(&server.origin, "ISTIO_MUTUAL needs certificates of the mesh, which are not issued yet: this server is left out");
            return vec![];
        }
        Some(ServerTlsMode::AutoPassthrough) => return forwarded(context, server, known),
        _ => {}
    }
    if settings.is_some_and(|settings| settings.mode.is_passthrough()) {
        return passthrough(context, server, known);
    }
    let filters = if server.terminates_https() {
        let name = server.route_name.clone().unwrap_or_default();
        vec![http::by_route_name(context, Class::Gateway.speaking(Some(server.protocol)), &names::listener(address, server.port), &name)]
    } else {
        match tcp_routes(context, server) {
            Some(filter) => behind_rules(context, filter),
            None => {
                context.warn(&server.origin, "no VirtualService has a tcp rule for this server: it is not opened");
                return vec![];
            }
        }
    };
    let sni = if settings.is_some() { server.sni_hosts() } else { vec![] };
    vec![Chain { sni, tls: settings.and_then(tls::of_server), filters, ..Default::default() }]
}

fn rules<'c>(context: &'c Context<'_>, server: &'c GatewayServer) -> impl Iterator<Item = Arc<VirtualService>> + 'c {
    let all = context.mesh.virtual_services.of_gateway(&server.gateway, &context.proxy.namespace);
    all.into_iter().filter(|rule| rule.hosts.iter().any(|host| server.serves(host, &rule.namespace)))
}

fn port_number(server: &GatewayServer) -> u16 {
    server.spec.port.as_ref().and_then(|port| u16::try_from(port.number).ok()).unwrap_or(server.port)
}

/// What takes a connection, behind those who say whether it may come.
fn behind_rules(context: &Context<'_>, last: Filter) -> Vec<Filter> {
    let mut filters = authz::of_connections(context);
    filters.push(last);
    filters
}

/// The first rule that is meant for the server takes all of its connections.
fn tcp_routes(context: &Context<'_>, server: &GatewayServer) -> Option<Filter> {
    let port = port_number(server);
    for service in rules(context, server) {
        for rule in service.tcp.iter().filter(|rule| !rule.spec.route.is_empty()) {
            let blocks = &rule.spec.r#match;
            if blocks.is_empty() || blocks.iter().any(|block| tcp::is_meant_tcp(context, block, &server.gateway, port)) {
                return Some(tcp::to_destinations(context, &rule.spec.route, port, &rule.origin));
            }
        }
    }
    None
}

/// TLS of the mesh that is passed on to the cluster that the server name itself is: a chain for each. Only who offers the mesh's own
/// protocols is let in, so that nobody reaches by it what takes any TLS.
fn forwarded(context: &Context<'_>, server: &GatewayServer, known: &mut KnownNames) -> Vec<Chain> {
    let hosts = server.sni_hosts();
    let is_served = |service: &&Arc<Service>| !service.external && hosts.iter().any(|host| is_subset(&service.hostname, host));
    let mut chains = vec![];
    for service in context.scope.services.iter().filter(|service| service.resolution != Resolution::Alias).filter(is_served) {
        let rule = context.destination_rule(service);
        let subsets = rule.iter().flat_map(|rule| &rule.subsets).map(|(subset, _)| subset.name.as_str());
        let subsets: Vec<&str> = std::iter::once("").chain(subsets).collect();
        for port in service.ports.iter().filter(|port| port.protocol != Some(Protocol::Udp)) {
            for subset in &subsets {
                let name = names::by_server_name(port.number.into(), subset, &service.hostname);
                if !known.insert((server.port, server.spec.bind.clone(), name.clone())) {
                    continue;
                }
                chains.push(Chain {
                    filters: behind_rules(context, tcp::to_own_cluster(context, service, subset, &name)),
                    sni: vec![name],
                    application_protocols: MESH_PROTOCOLS.map(str::to_owned).to_vec(),
                    ..Default::default()
                });
            }
        }
    }
    if chains.is_empty() {
        context.warn(&server.origin, "no service of the mesh has one of these hosts: this server is not opened");
    }
    chains
}

/// TLS that is passed on, by server name: a chain for each block of each rule.
fn passthrough(context: &Context<'_>, server: &GatewayServer, known: &mut KnownNames) -> Vec<Chain> {
    let port = port_number(server);
    let mut chains = vec![];
    for rule in rules(context, server).flat_map(|service| service.tls.clone()) {
        for block in rule.spec.r#match.iter().filter(|block| tcp::is_meant_tls(context, block, &server.gateway, port)) {
            let key = |host: &String| (server.port, server.spec.bind.clone(), host.clone());
            if let Some(taken) = block.sni_hosts.iter().find(|host| known.contains(&key(host))) {
                context.warn(
                    &rule.origin,
                    format!("another rule or server of port {port} has the server name {taken} already: this one is left out"),
                );
                continue;
            }
            known.extend(block.sni_hosts.iter().map(key));
            chains.push(Chain {
                sni: block.sni_hosts.clone(),
                filters: behind_rules(context, tcp::to_destinations(context, &rule.spec.route, port, &rule.origin)),
                metadata: Some(crate::context::metadata_of(&rule.origin, "virtual-service")),
                ..Default::default()
            });
        }
    }
    if chains.is_empty() {
        context.warn(&server.origin, "no VirtualService has a tls rule for this server: it is not opened");
    }
    chains
}
