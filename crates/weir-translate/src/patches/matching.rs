//! Whether an object is one of those that a patch is for.

use weir_api::resources::envoy_filter::{EnvoyConfigObjectMatch, FilterMatch, PatchContext, RouteAction};
use weir_xds::core::address::Address;
use weir_xds::core::socket_address::PortSpecifier;
use weir_xds::listener::{FilterChain, Listener};
use weir_xds::route::route::Action;
use weir_xds::route::{Route, VirtualHost};

/// The listeners that the kernel redirects to: the ports of connections are conditions of their chains.
const VIRTUAL: [&str; 2] = ["virtualInbound", "virtualOutbound"];

/// What of a listener counts.
pub(super) struct At {
    name: String,
    port: Option<u32>,
}

/// The port that a listener is at.
pub(crate) fn port_of(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => None,
        },
        _ => None,
    }
}

impl At {
    pub fn new(name: &str, port: Option<u32>) -> Self {
        Self { name: name.to_owned(), port }
    }

    pub fn of(listener: &Listener) -> Self {
        Self::new(&listener.name, port_of(listener))
    }

    fn is_virtual(&self) -> bool {
        VIRTUAL.contains(&self.name.as_str())
    }
}

/// Whether it is the listener itself.
pub(super) fn listener(matched: &EnvoyConfigObjectMatch, at: &At) -> bool {
    let Some(listener) = &matched.listener else { return true };
    (listener.name.is_empty() || listener.name == at.name) && (listener.port_number == 0 || at.port == Some(listener.port_number))
}

/// Whether it may be something within the listener.
pub(super) fn within_listener(matched: &EnvoyConfigObjectMatch, at: &At) -> bool {
    let Some(listener) = &matched.listener else { return true };
    let is_named = listener.name.is_empty() || listener.name == at.name;
    is_named && (at.is_virtual() || listener.port_number == 0 || at.port == Some(listener.port_number))
}

/// Whether it is the filter chain, or within it.
pub(super) fn chain(matched: &EnvoyConfigObjectMatch, at: &At, chain: &FilterChain) -> bool {
    let Some(listener) = &matched.listener else { return true };
    let conditions = chain.filter_chain_match.as_ref();
    let port = conditions.and_then(|conditions| conditions.destination_port);
    if at.is_virtual() && listener.port_number != 0 && port != Some(listener.port_number) {
        return false;
    }
    let Some(wanted) = &listener.filter_chain else { return true };
    let has = |wanted: &str, known: &dyn Fn(&str) -> bool| wanted.is_empty() || known(wanted);
    has(&wanted.name, &|name| name == chain.name)
        && has(&wanted.sni, &|sni| conditions.is_some_and(|known| known.server_names.iter().any(|name| name == sni)))
        && has(&wanted.transport_protocol, &|protocol| conditions.is_some_and(|known| known.transport_protocol == protocol))
        && has(&wanted.application_protocols, &|protocols| {
            let is_known = |protocol: &str| conditions.is_some_and(|known| known.application_protocols.iter().any(|own| own == protocol));
            protocols.split(',').all(is_known)
        })
        && (wanted.destination_port == 0 || port == Some(wanted.destination_port))
}

fn filter(matched: &EnvoyConfigObjectMatch) -> Option<&FilterMatch> {
    matched.listener.as_ref()?.filter_chain.as_ref()?.filter.as_ref()
}

/// The network filter that is named.
pub(super) fn network_filter(matched: &EnvoyConfigObjectMatch) -> Option<&str> {
    filter(matched).map(|filter| filter.name.as_str())
}

/// The HTTP filter that is named.
pub(super) fn http_filter(matched: &EnvoyConfigObjectMatch) -> Option<&str> {
    filter(matched)?.sub_filter.as_ref().map(|filter| filter.name.as_str())
}

/// The listener filter that is named.
pub(super) fn listener_filter(matched: &EnvoyConfigObjectMatch) -> Option<&str> {
    matched.listener.as_ref().map(|listener| listener.listener_filter.as_str()).filter(|name| !name.is_empty())
}

/// Whether it is the route configuration of that name, or within it. `ports` are those of a gateway's own services, each with
/// the port that it is served at.
pub(super) fn route_configuration(matched: &EnvoyConfigObjectMatch, context: PatchContext, name: &str, ports: &[(u16, u16)]) -> bool {
    let Some(wanted) = &matched.route_configuration else { return true };
    if !wanted.name.is_empty() && wanted.name != name {
        return false;
    }
    if context != PatchContext::Gateway {
        return wanted.port_number == 0 || Some(wanted.port_number) == port_of_sidecar(name);
    }
    let (port, port_name, gateway) = of_gateway(name);
    let is_port = |wanted: u32| {
        let mut of_services = ports.iter().filter(|(_, served)| Some(u32::from(*served)) == port).peekable();
        match of_services.peek() {
            Some(_) => of_services.any(|(service, _)| u32::from(*service) == wanted),
            None => port == Some(wanted),
        }
    };
    (wanted.port_name.is_empty() || wanted.port_name == port_name)
        && (wanted.gateway.is_empty() || wanted.gateway == gateway)
        && (wanted.port_number == 0 || is_port(wanted.port_number))
}

/// The port that a sidecar's route configuration is called after.
fn port_of_sidecar(name: &str) -> Option<u32> {
    match name.strip_prefix("inbound|") {
        Some(rest) => rest.split('|').next()?.parse().ok(),
        None => name.parse().ok(),
    }
}

/// The port that a gateway's is called after, the name of the server's port, and the Gateway.
fn of_gateway(name: &str) -> (Option<u32>, &str, String) {
    let mut parts = name.split('.');
    let scheme = parts.next();
    let port = parts.next().and_then(|port| port.parse().ok());
    match (scheme, parts.next(), parts.next(), parts.next()) {
        (Some("https"), Some(port_name), Some(gateway), Some(namespace)) => (port, port_name, format!("{namespace}/{gateway}")),
        _ => (port, "", String::new()),
    }
}

/// Whether it is the virtual host, or within it.
pub(super) fn virtual_host(matched: &EnvoyConfigObjectMatch, host: &VirtualHost) -> bool {
    let Some(wanted) = matched.route_configuration.as_ref().and_then(|routes| routes.vhost.as_ref()) else { return true };
    (wanted.name.is_empty() || wanted.name == host.name) && (wanted.domain_name.is_empty() || host.domains.contains(&wanted.domain_name))
}

/// Whether routes are told apart.
pub(super) fn names_routes(matched: &EnvoyConfigObjectMatch) -> bool {
    matched.route_configuration.as_ref().and_then(|routes| routes.vhost.as_ref()).is_some_and(|host| host.route.is_some())
}

/// Whether it is the route.
pub(super) fn route(matched: &EnvoyConfigObjectMatch, route: &Route) -> bool {
    let host = matched.route_configuration.as_ref().and_then(|routes| routes.vhost.as_ref());
    let Some(wanted) = host.and_then(|host| host.route.as_ref()) else { return true };
    let does = match (wanted.action, &route.action) {
        (RouteAction::Any, _) => true,
        (wanted, Some(Action::Route(_))) => wanted == RouteAction::Route,
        (wanted, Some(Action::Redirect(_))) => wanted == RouteAction::Redirect,
        (wanted, Some(Action::DirectResponse(_))) => wanted == RouteAction::DirectResponse,
        _ => true,
    };
    does && (wanted.name.is_empty() || wanted.name == route.name)
}

/// Whether it is the cluster of that name. `hosts` are the services at a port of the proxy's own workload, by that port.
pub(super) fn cluster(matched: &EnvoyConfigObjectMatch, name: &str, hosts: &[(u16, String)]) -> bool {
    let Some(wanted) = &matched.cluster else { return true };
    // Whoever names it says all.
    if !wanted.name.is_empty() {
        return wanted.name == name;
    }
    let mut parts = name.split('|');
    let (direction, port) = (parts.next(), parts.next().and_then(|port| port.parse::<u16>().ok()));
    let (subset, host) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let own = || hosts.iter().any(|(at, own)| Some(*at) == port && *own == wanted.service);
    (wanted.subset.is_empty() || wanted.subset == subset)
        && (wanted.service.is_empty() || wanted.service == host || (direction == Some("inbound") && own()))
        && (wanted.port_number == 0 || port.map(u32::from) == Some(wanted.port_number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_api::resources::envoy_filter::{ClusterMatch, RouteConfigurationMatch};

    #[test]
    fn route_configurations_are_known_by_their_names() {
        let with = |change: fn(&mut RouteConfigurationMatch)| {
            let mut routes = RouteConfigurationMatch::default();
            change(&mut routes);
            EnvoyConfigObjectMatch { route_configuration: Some(routes), ..Default::default() }
        };
        let secure = "https.443.https-main.gw.default";
        let table = [
            (with(|_| {}), PatchContext::Gateway, "http.80", true),
            (with(|of| of.port_number = 80), PatchContext::Gateway, "http.80", true),
            (with(|of| of.port_number = 80), PatchContext::Gateway, "http.80.127.0.0.1", true),
            (with(|of| of.port_number = 81), PatchContext::Gateway, "http.80", false),
            // The service's port 90 is served at 8080.
            (with(|of| of.port_number = 90), PatchContext::Gateway, "http.8080", true),
            (with(|of| of.port_number = 8080), PatchContext::Gateway, "http.8080", false),
            (with(|of| of.port_name = "https-main".into()), PatchContext::Gateway, secure, true),
            (with(|of| of.port_name = "other".into()), PatchContext::Gateway, secure, false),
            (with(|of| of.gateway = "default/gw".into()), PatchContext::Gateway, secure, true),
            (with(|of| of.gateway = "other/gw".into()), PatchContext::Gateway, secure, false),
            (with(|of| of.gateway = "default/gw".into()), PatchContext::Gateway, "http.80", false),
            (with(|of| of.port_number = 9080), PatchContext::SidecarOutbound, "9080", true),
            (with(|of| of.port_number = 9080), PatchContext::SidecarOutbound, "a.test:9080", false),
            (with(|of| of.name = "a.test:9080".into()), PatchContext::SidecarOutbound, "a.test:9080", true),
            (with(|of| of.port_number = 9080), PatchContext::SidecarInbound, "inbound|9080||", true),
        ];
        for (matched, context, name, expected) in table {
            assert_eq!(route_configuration(&matched, context, name, &[(90, 8080)]), expected, "{name} {:?}", matched.route_configuration);
        }
    }

    #[test]
    fn clusters_are_known_by_their_names() {
        let with = |change: fn(&mut ClusterMatch)| {
            let mut cluster = ClusterMatch::default();
            change(&mut cluster);
            EnvoyConfigObjectMatch { cluster: Some(cluster), ..Default::default() }
        };
        let table = [
            (with(|_| {}), "anything", true),
            (with(|of| of.service = "a.test".into()), "outbound|80|v1|a.test", true),
            (with(|of| of.subset = "v1".into()), "outbound|80|v1|a.test", true),
            (with(|of| of.subset = "v2".into()), "outbound|80|v1|a.test", false),
            (with(|of| of.port_number = 80), "outbound|80|v1|a.test", true),
            (with(|of| of.port_number = 81), "outbound|80|v1|a.test", false),
            (with(|of| of.port_number = 80), "BlackHoleCluster", false),
            (with(|of| of.service = "own.test".into()), "inbound|90||", true),
            (with(|of| of.service = "own.test".into()), "inbound|91||", false),
            (with(|of| (of.name, of.port_number) = ("x".into(), 9)), "x", true),
        ];
        for (matched, name, expected) in table {
            assert_eq!(cluster(&matched, name, &[(90, "own.test".to_owned())]), expected, "{name} {:?}", matched.cluster);
        }
    }
}
