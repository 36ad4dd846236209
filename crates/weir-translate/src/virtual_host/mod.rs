//! Route configurations: virtual hosts and their routes, for a gateway's ports and for a sidecar's.

pub(crate) mod domains;
pub(crate) mod gateway;
pub(crate) mod lists;
mod ports;
pub(crate) mod sidecar;

use sidecar::Hosts;
use weir_xds::route::{Route, RouteConfiguration, VirtualHost};

/// The limit that Istio's validation sets for the body of a direct response; Envoy's own is 4 KiB.
const MAX_DIRECT_RESPONSE: u32 = 1024 * 1024;

pub(crate) fn configuration(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

pub(crate) fn virtual_host(name: String, domains: Vec<String>, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name, domains, routes, include_request_attempt_count: true, ..Default::default() }
}

/// A sidecar's route configuration.
pub(crate) fn of_sidecar(name: &str, hosts: Hosts<Vec<Route>>) -> RouteConfiguration {
    let named = hosts.named.into_iter().map(|host| virtual_host(host.name, host.domains, host.routes));
    configuration(name, named.chain(hosts.rest).collect())
}
