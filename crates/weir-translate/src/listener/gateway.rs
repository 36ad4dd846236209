//! The listeners of a gateway.
//!
//! Facts: `buildGatewayListeners` in pilot/pkg/networking/core/gateway.go of Istio.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use weir_api::resources::gateway::ServerTlsMode;
use weir_model::{GatewayPort, GatewayServer, MergedGateway, VirtualService};
use weir_xds::core::TrafficDirection;
use weir_xds::listener::{Filter, Listener};
use weir_xds::values::duration;

use super::chain::Chain;
use super::http::{self, Class};
use super::{ANY_ADDRESS, access_log, at, build, inspectors, tcp, tls};
use crate::context::Context;
use crate::names;

/// The listeners for all ports that have anything to do.
pub(crate) fn listeners(context: &Context<'_>, gateway: &MergedGateway) -> Vec<Listener> {
    let mut known_names = HashSet::new();
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
        listener_filters: inspectors(&chains),
        listener_filters_timeout: Some(duration(Duration::ZERO)),
        filter_chains: chains.into_iter().map(build).collect(),
        access_log: access_log::of_listener(&context.mesh.config),
        max_connections_to_accept_per_socket_event: Some(1),
        ..at(address, port, TrafficDirection::Outbound)
    }
}

/// Server names that chains of a port have already, by address.
type KnownNames = HashSet<(u16, String, String)>;

fn of_port(context: &Context<'_>, port: &GatewayPort, address: &str, known: &mut KnownNames) -> Vec<Chain> {
    if port.protocol.is_http() {
        let name = port.servers.first().and_then(|server| server.route_name.clone()).unwrap_or_default();
        let manager = http::by_route_name(context, Class::Gateway, &names::listener(address, port.number), &name);
        return vec![Chain { filters: vec![manager], ..Default::default() }];
    }
    port.servers.iter().flat_map(|server| of_server(context, server, address, known)).collect()
}

fn of_server(context: &Context<'_>, server: &GatewayServer, address: &str, known: &mut KnownNames) -> Vec<Chain> {
    let settings = server.spec.tls.as_ref();
    if let Some(mode @ (ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual)) = settings.map(|settings| settings.mode) {
        context.warn(
            &server.origin,
            format!("TLS mode {mode:?} needs certificates of the mesh, which are not issued yet: this server is left out"),
        );
        return vec![];
    }
    if settings.is_some_and(|settings| settings.mode.is_passthrough()) {
        return passthrough(context, server, known);
    }
    let filters = if server.terminates_https() {
        let name = server.route_name.clone().unwrap_or_default();
        vec![http::by_route_name(context, Class::Gateway, &names::listener(address, server.port), &name)]
    } else {
        match tcp_routes(context, server) {
            Some(filter) => vec![filter],
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

/// TLS that is passed on, by server name: a chain for each block of each rule.
fn passthrough(context: &Context<'_>, server: &GatewayServer, known: &mut KnownNames) -> Vec<Chain> {
    let port = port_number(server);
    let mut chains = vec![];
    for rule in rules(context, server).flat_map(|service| service.tls.clone()) {
        for block in rule.spec.r#match.iter().filter(|block| tcp::is_meant_tls(context, block, &server.gateway, port)) {
            let key = |host: &String| (server.port, server.spec.bind.clone(), host.clone());
            if let Some(taken) = block.sni_hosts.iter().find(|host| known.contains(&key(host))) {
                context
                    .warn(&rule.origin, format!("another rule of port {port} has the server name {taken} already: this one is left out"));
                continue;
            }
            known.extend(block.sni_hosts.iter().map(key));
            chains.push(Chain {
                sni: block.sni_hosts.clone(),
                filters: vec![tcp::to_destinations(context, &rule.spec.route, port, &rule.origin)],
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
