//! Route configurations: virtual hosts and their routes, for a gateway's ports and for a sidecar's.

pub(crate) mod domains;
pub(crate) mod gateway;
pub(crate) mod lists;
pub(crate) mod misdirected;
mod ports;
pub(crate) mod sidecar;

use std::sync::Arc;

use weir_model::VirtualService;
use weir_xds::route::virtual_host::TlsRequirementType;
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

pub(crate) fn virtual_host(name: String, domains: Vec<String>, routes: Vec<Route>, counts_attempts: bool) -> VirtualHost {
    VirtualHost { name, domains, routes, include_request_attempt_count: counts_attempts, ..Default::default() }
}

/// A virtual host whose routes are a list of some form.
pub(crate) struct Host<L> {
    pub name: String,
    pub domains: Vec<String>,
    pub routes: L,
    /// Whether plaintext is sent to HTTPS.
    pub requires_tls: bool,
    /// Whether requests say how often they were sent.
    pub counts_attempts: bool,
    /// The one rule that its routes are made of.
    pub rule: Option<Arc<VirtualService>>,
}

/// The wildcards that a host is within, the narrowest first.
fn wider(host: &str) -> impl Iterator<Item = String> {
    let parents = std::iter::successors(host.split_once('.'), |(_, parent)| parent.split_once('.'));
    parents.map(|(_, parent)| format!("*.{parent}")).chain(["*".to_owned()])
}

/// The virtual hosts of a route configuration.
pub(crate) struct Hosts<L> {
    pub named: Vec<Host<L>>,
    /// Those behind them, which no rule is about.
    pub rest: Vec<VirtualHost>,
    /// Whether the port that a request names with its host is a part of it.
    pub heeds_ports: bool,
}

impl<L> Host<L> {
    /// Whether requests are for it whose hosts nobody has named.
    pub fn is_wildcard(&self) -> bool {
        self.domains.iter().all(|domain| domain.starts_with('*') || domain.ends_with('*'))
    }

    /// The virtual host without its routes, and those.
    pub fn split(self) -> (VirtualHost, L) {
        let requirement = if self.requires_tls { TlsRequirementType::All } else { TlsRequirementType::None };
        let host = virtual_host(self.name, self.domains, vec![], self.counts_attempts);
        (VirtualHost { require_tls: requirement.into(), ..host }, self.routes)
    }
}

/// The route configuration of these.
pub(crate) fn with_hosts(name: &str, hosts: Hosts<Vec<Route>>) -> RouteConfiguration {
    let named = hosts.named.into_iter().map(|host| {
        let (host, routes) = host.split();
        VirtualHost { routes, ..host }
    });
    let virtual_hosts = named.chain(hosts.rest).collect();
    RouteConfiguration { ignore_port_in_host_matching: !hosts.heeds_ports, ..configuration(name, virtual_hosts) }
}
