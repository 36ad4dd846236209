//! Destinations that lead nowhere: of VirtualServices that a proxy follows, each that names a service, a port or a
//! subset that the proxy knows nothing of is told, with its place. What such a route does is Envoy's choice: there
//! is no such cluster, flag NC.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use weir_api::FieldPath;
use weir_api::resources::virtual_service::{Destination, RouteDestination};
use weir_model::host::intersection;
use weir_model::{HttpRule, MergedGateway, Origin, Service, VirtualService};

use crate::context::Context;
use crate::route::destination::port_number;

/// What becomes of what is sent to a destination that is not there.
const OF_REQUESTS: &str = "requests that are sent there get 503";
const OF_CONNECTIONS: &str = "connections that are sent there are closed";
const OF_COPIES: &str = "nothing is mirrored there";

/// Checks the rules that a sidecar follows.
pub(crate) fn of_sidecar(context: &Context<'_>) {
    check(context, context.scope.egress.iter().flat_map(|listener| listener.virtual_services.iter().cloned()));
}

/// Checks the rules that a gateway follows.
pub(crate) fn of_gateway(context: &Context<'_>, gateway: &MergedGateway) {
    let routed = gateway.routes.values().flatten();
    let all = gateway.ports.iter().flat_map(|port| &port.servers).chain(routed);
    let mut known = BTreeSet::new();
    for server in all {
        let hosts: BTreeSet<&String> = server.spec.hosts.iter().collect();
        let new: Vec<&str> = server.entrances.iter().filter(|name| known.insert((*name, hosts.clone()))).map(String::as_str).collect();
        let rules = context.mesh.virtual_services.of_entrances(new, &context.proxy.namespace);
        check(context, rules.into_iter().filter(|rule| !intersection(&server.hosts_for(&rule.namespace), &rule.hosts).is_empty()));
    }
}

fn check(context: &Context<'_>, rules: impl Iterator<Item = Arc<VirtualService>>) {
    let mut known = HashSet::new();
    rules.filter(|rule| known.insert(Arc::as_ptr(rule))).for_each(|rule| of_rule(context, &rule));
}

/// Checks one rule.
pub(crate) fn of_rule(context: &Context<'_>, rule: &VirtualService) {
    let namespace = &context.proxy.namespace;
    rule.http.iter().filter(|rule| rule.is_for_sources_of(namespace)).for_each(|rule| of_http(context, rule));
    rule.tls.iter().for_each(|rule| of_connections(context, &rule.origin, &rule.spec.route));
    rule.tcp.iter().for_each(|rule| of_connections(context, &rule.origin, &rule.spec.route));
}

fn of_http(context: &Context<'_>, rule: &HttpRule) {
    let (spec, path) = (&rule.spec, &rule.origin.path);
    let tell =
        |destination: &Option<Destination>, path: FieldPath, effect| tell(context, &rule.origin, destination.as_ref(), &path, effect);
    for (i, route) in spec.route.iter().enumerate().filter(|(_, route)| spec.route.len() == 1 || route.weight > 0) {
        tell(&route.destination, path.key("route").index(i).key("destination"), OF_REQUESTS);
    }
    tell(&spec.mirror, path.key("mirror"), OF_COPIES);
    for (i, mirror) in spec.mirrors.iter().enumerate() {
        tell(&mirror.destination, path.key("mirrors").index(i).key("destination"), OF_COPIES);
    }
}

fn of_connections(context: &Context<'_>, origin: &Origin, routes: &[RouteDestination]) {
    for (i, route) in routes.iter().enumerate().filter(|(_, route)| routes.len() == 1 || route.weight > 0) {
        let path = origin.path.key("route").index(i).key("destination");
        tell(context, origin, route.destination.as_ref(), &path, OF_CONNECTIONS);
    }
}

fn tell(context: &Context<'_>, origin: &Origin, destination: Option<&Destination>, path: &FieldPath, effect: &str) {
    let Some(destination) = destination else { return };
    if let Some((field, reason)) = missing(context, destination) {
        context.warn(&Origin::new(&origin.object, path.key(field)), format!("{reason}: {effect}"));
    }
}

/// The field that names what is not there, and why it is not.
fn missing(context: &Context<'_>, destination: &Destination) -> Option<(&'static str, String)> {
    let Destination { host, subset, .. } = destination;
    let Some(service) = find(context, host) else {
        return Some(("host", format!("no service {host} is known here")));
    };
    if let Some(port) = port_number(destination, Some(service)).filter(|port| service.port(*port).is_none()) {
        let port = destination.port.as_ref().map(|port| port.name.clone()).filter(|name| !name.is_empty()).unwrap_or(port.to_string());
        return Some(("port", format!("{} has no port {port} here", service.hostname)));
    }
    let defines = || context.destination_rule(service).is_some_and(|rule| rule.subset(subset).is_some());
    if !subset.is_empty() && !defines() {
        return Some(("subset", format!("no DestinationRule that counts here defines a subset {subset} of {}", service.hostname)));
    }
    None
}

/// The service that a host stands for, whatever name it goes by.
fn find<'c>(context: &'c Context<'_>, host: &str) -> Option<&'c Arc<Service>> {
    let service = context.scope.service(host)?;
    match &service.alias_of {
        Some(target) => context.scope.service(target),
        None => Some(service),
    }
}
