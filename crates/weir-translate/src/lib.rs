//! From a mesh and one of its proxies to the xDS resources that the proxy gets: a pure function.
//!
//! A module for each type of resource: [`listener`], [`virtual_host`] and [`route`], [`cluster`], [`endpoints`],
//! [`secrets`]. What they make is what Istio makes of the same resources, names included; the differences are
//! decisions, which `docs/` explains. Each route says in its metadata which rule it was made of, and where that stands.

mod cluster;
mod connection_settings;
mod context;
mod destinations;
mod endpoints;
mod ingress;
mod listener;
mod locality;
mod names;
mod route;
mod secrets;
pub mod unsupported;
mod virtual_host;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::Diagnostic;
use weir_model::{GatewayServer, MeshSnapshot, Proxy, ProxyKind};
use weir_xds::cluster::Cluster;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener;
use weir_xds::route::RouteConfiguration;
use weir_xds::tls::Secret;

use context::Context;
use listener::OutboundRoute;

/// What a proxy gets.
#[derive(Debug, Default)]
pub struct Translation {
    /// Where it accepts.
    pub listeners: Vec<Listener>,
    /// What becomes of requests, by the names that listeners ask for.
    pub routes: Vec<RouteConfiguration>,
    /// Where it may send to.
    pub clusters: Vec<Cluster>,
    /// The instances of clusters that do not name them themselves.
    pub endpoints: Vec<ClusterLoadAssignment>,
    /// The certificates that listeners ask for.
    pub secrets: Vec<Secret>,
    /// What has no effect, or not the expected one.
    pub findings: Vec<Diagnostic>,
}

/// Translates a mesh for one of its proxies.
pub fn translate(mesh: &MeshSnapshot, proxy: &Proxy) -> Translation {
    let context = Context::new(mesh, proxy);
    let mut translation = match proxy.kind {
        ProxyKind::Router => of_gateway(&context),
        ProxyKind::Sidecar => of_sidecar(&context),
    };
    for listener in &mut translation.listeners {
        connection_settings::set_listener(listener, &context.connections);
    }
    for mut made in cluster::clusters(&context) {
        connection_settings::set_cluster(&mut made.cluster, &context.connections);
        translation.clusters.push(made.cluster);
        translation.endpoints.extend(made.endpoints);
    }
    translation.findings = context.into_findings();
    translation
}

fn of_gateway(context: &Context<'_>) -> Translation {
    let gateway = context.mesh.gateway(context.proxy);
    for (origin, reason) in &gateway.refused {
        context.warn(origin, reason.as_str());
    }
    destinations::of_gateway(context, &gateway);
    let routes = |(name, servers): (&String, &Vec<Arc<GatewayServer>>)| virtual_host::gateway::routes(context, name, servers);
    Translation {
        listeners: listener::of_gateway(context, &gateway),
        routes: gateway.routes.iter().map(routes).collect(),
        secrets: secrets::of_gateway(context, &gateway),
        ..Default::default()
    }
}

fn of_sidecar(context: &Context<'_>) -> Translation {
    destinations::of_sidecar(context);
    let outbound = listener::outbound(context);
    let routes: BTreeMap<String, OutboundRoute> = outbound.routes;
    let configuration = |(name, route): (&String, &OutboundRoute)| {
        let port = match route {
            OutboundRoute::Port(port) | OutboundRoute::Service(_, port) => *port,
        };
        let egress = context.scope.listener_for(port)?;
        Some(match route {
            OutboundRoute::Service(service, port) => virtual_host::sidecar::routes_of_service(context, egress, name, service, *port),
            OutboundRoute::Port(_) if virtual_host::sidecar::is_http_proxy(egress) => {
                virtual_host::sidecar::routes(context, egress, name, None)
            }
            OutboundRoute::Port(port) => virtual_host::sidecar::routes(context, egress, name, Some(*port)),
        })
    };
    Translation {
        routes: routes.iter().filter_map(configuration).collect(),
        listeners: outbound.listeners.into_iter().chain(listener::inbound(context)).collect(),
        ..Default::default()
    }
}
