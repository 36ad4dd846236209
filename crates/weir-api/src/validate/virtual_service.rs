//! Rules of VirtualService: hosts, gateways, and the rules for TLS and TCP. Those for HTTP stand in [`super::http_route`].

use super::checker::Checker;
use super::rule::{check_source, check_weights};
use super::values::{self, Export};
use super::{hosts, http_route, reachable};
use crate::resources::VirtualService;
use crate::resources::meta::Labels;
use crate::resources::virtual_service::{
    L4MatchAttributes, MESH_GATEWAY, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, jwt_claim,
};

/// Checks a VirtualService.
pub(super) fn check(c: &mut Checker<'_>, vs: &VirtualService) {
    check_hosts(c, vs);
    c.each("gateways", &vs.gateways, |c, gateway| hosts::check_gateway_name(c, gateway));
    if vs.is_delegate() {
        check_delegate(c, vs);
    }
    if vs.has_no_routes() {
        check_without_routes(c, vs);
    }
    if !for_gateways_only(vs) {
        check_no_claims(c, vs);
    }
    c.each("http", &vs.http, |c, route| http_route::check(c, route, vs.is_delegate()));
    c.each("tls", &vs.tls, |c, route| check_tls(c, route, vs));
    c.each("tcp", &vs.tcp, check_tcp);
    values::check_export_to(c, &vs.export_to, Export::Any);
    reachable::check_http(c, &vs.http);
    reachable::check_same(c, "tls", &vs.tls, |route| &route.r#match);
    reachable::check_same(c, "tcp", &vs.tcp, |route| &route.r#match);
}

/// Whether it is bound to gateways, and not to the sidecars as well.
fn for_gateways_only(vs: &VirtualService) -> bool {
    !vs.applies_to_mesh()
}

fn check_hosts(c: &mut Checker<'_>, vs: &VirtualService) {
    let by_name = for_gateways_only(vs) && vs.tls.iter().flat_map(|tls| &tls.r#match).any(|m| !m.sni_hosts.is_empty());
    let on_mesh_only = vs.gateways.is_empty() || vs.gateways.iter().any(|gateway| gateway == MESH_GATEWAY);
    c.each("hosts", &vs.hosts, |c, host| {
        let valid = if by_name { hosts::sni_domain(host) } else { hosts::wildcard_domain(host) };
        match valid {
            Err(_) if hosts::is_ip(host) => {}
            Err(wrong) => c.error_help(wrong, hosts::REMEDY),
            Ok(()) if host == "*" && on_mesh_only => {
                c.error_help("`*` would take over every service of the mesh", "name the hosts, or bind it to gateways only");
            }
            Ok(()) => {}
        }
    });
    c.field("hosts", |c| {
        for (index, host) in vs.hosts.iter().enumerate() {
            for earlier in vs.hosts[..index].iter().filter(|earlier| hosts::overlap(earlier, host)) {
                let message = if earlier == host { format!("`{host}` stands twice") } else { format!("`{host}` and `{earlier}` overlap") };
                c.item(index, |c| c.error_help(message, "a VirtualService names each host once"));
            }
        }
    });
}

/// On gateways, a VirtualService may hold the place for rules to come; sidecars would be given nothing at all.
fn check_without_routes(c: &mut Checker<'_>, vs: &VirtualService) {
    let help = "add rules below `http`, `tls` or `tcp`";
    if vs.gateways.is_empty() {
        c.error_help("it defines no route", help);
    } else {
        c.warn_help("it defines no route, so it has no effect", help);
    }
}

fn check_delegate(c: &mut Checker<'_>, vs: &VirtualService) {
    for (key, given) in [("gateways", !vs.gateways.is_empty()), ("tls", !vs.tls.is_empty()), ("tcp", !vs.tcp.is_empty())] {
        if given {
            let help = "add `hosts`, or leave it away: without hosts, only the `http` rules are used, by others that delegate to them";
            c.field(key, |c| c.error_help(format!("a VirtualService without hosts has no `{key}`"), help));
        }
    }
}

/// Sidecars know nothing of the claims in a request's token.
fn check_no_claims(c: &mut Checker<'_>, vs: &VirtualService) {
    c.each("http", &vs.http, |c, route| {
        c.each("match", &route.r#match, |c, m| {
            for (key, headers) in [("headers", &m.headers), ("withoutHeaders", &m.without_headers)] {
                for name in headers.keys().filter(|name| jwt_claim(name).is_some()) {
                    let message = "the claims of a token are known at gateways only";
                    c.field(key, |c| {
                        c.field(name.clone(), |c| c.error_help(message, "bind the VirtualService to gateways only, without `mesh`"))
                    });
                }
            }
        });
    });
}

fn check_tls(c: &mut Checker<'_>, route: &TlsRoute, vs: &VirtualService) {
    if route.r#match.is_empty() {
        c.error_help("a rule for TLS must say for which server names", "add `match` with `sniHosts`");
    }
    c.each("match", &route.r#match, |c, m| check_tls_match(c, m, vs));
    check_destinations(c, &route.route);
}

fn check_tls_match(c: &mut Checker<'_>, m: &TlsMatchAttributes, vs: &VirtualService) {
    if m.sni_hosts.is_empty() {
        c.error_help("the condition names no server name", "add `sniHosts`");
    }
    c.each("sniHosts", &m.sni_hosts, |c, host| check_sni_host(c, host, vs));
    check_l4(c, &m.destination_subnets, m.port, &m.source_labels, &m.gateways, &m.source_namespace);
}

fn check_sni_host(c: &mut Checker<'_>, host: &str, vs: &VirtualService) {
    let valid = if for_gateways_only(vs) { hosts::sni_domain(host) } else { hosts::wildcard_domain(host) };
    match valid {
        Err(_) if hosts::is_ip(host) => c.warn(format!("clients send no address such as `{host}` as a server name")),
        Err(wrong) => c.error_help(wrong, hosts::REMEDY),
        Ok(()) if !vs.hosts.iter().any(|outer| hosts::is_within(host, outer)) => {
            c.error_help(format!("`{host}` is none of the VirtualService's hosts"), format!("its hosts are {}", vs.hosts.join(", ")));
        }
        Ok(()) => {}
    }
}

fn check_tcp(c: &mut Checker<'_>, route: &TcpRoute) {
    c.each("match", &route.r#match, |c, m| {
        if *m == L4MatchAttributes::default() {
            c.warn_help("the condition is empty, so it holds always", "leave `match` away if that is meant");
        }
        if !m.source_subnet.is_empty() {
            c.field("sourceSubnet", |c| {
                c.warn_help("`sourceSubnet` is not carried out", "compare clients by `sourceLabels` or `sourceNamespace`")
            });
        }
        check_l4(c, &m.destination_subnets, m.port, &m.source_labels, &m.gateways, &m.source_namespace);
    });
    check_destinations(c, &route.route);
}

fn check_l4(c: &mut Checker<'_>, subnets: &[String], port: u32, labels: &Labels, gateways: &[String], namespace: &str) {
    c.each("destinationSubnets", subnets, |c, subnet| values::check_subnet(c, subnet));
    check_source(c, port, labels, gateways, namespace);
}

fn check_destinations(c: &mut Checker<'_>, destinations: &[RouteDestination]) {
    if destinations.is_empty() {
        c.error_help("the rule leads nowhere", "add `route` with a destination");
    }
    c.each("route", destinations, |c, route| match &route.destination {
        Some(destination) => c.field("destination", |c| values::check_destination(c, destination)),
        None => c.error_help("the destination is missing", "add `destination` with a `host`"),
    });
    check_weights(c, destinations.iter().map(|route| route.weight));
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within};

    const ROUTE: &str = "http: [{route: [{destination: {host: b.c}}]}]";

    #[test]
    fn hosts_and_gateways() {
        check_within(
            "VirtualService",
            &format!("…\n{ROUTE}"),
            "",
            &[
                ("hosts: [a.b]", &[]),
                ("hosts: ['*.a.b', c]", &[]),
                ("hosts: [10.0.0.1]", &[]),
                ("gateways: [gw]\nhosts: ['*']", &[]),
                ("hosts: ['*']", &["error: hosts[0]"]),
                ("gateways: [gw, mesh]\nhosts: ['*']", &["error: hosts[0]"]),
                ("hosts: [a.*]", &["error: hosts[0]"]),
                ("hosts: ['']", &["error: hosts[0]"]),
                ("hosts: [a, a]", &["error: hosts[1]"]),
                ("hosts: [a.b, '*.b']", &["error: hosts[1]"]),
                ("hosts: [a]\ngateways: [ns/gw, mesh]", &[]),
                ("hosts: [a]\ngateways: [gw.ns.svc.cluster.local]", &["warning: gateways[0]"]),
                ("hosts: [a]\ngateways: [g_w, ns/]", &["error: gateways[0]", "error: gateways[1]"]),
                ("hosts: [a]\nexportTo: ['*', a]", &["error: exportTo"]),
            ],
        );
    }

    #[test]
    fn delegates_have_http_rules_only() {
        check_table(
            "VirtualService",
            &[
                (ROUTE, &[]),
                ("http: [{delegate: {name: a}}]", &["error: http[0].delegate"]),
                ("gateways: [gw]\ntcp: [{route: [{destination: {host: a}}]}]", &["error: gateways", "error: tcp"]),
            ],
        );
    }

    #[test]
    fn something_is_routed() {
        check_table(
            "VirtualService",
            &[
                ("hosts: [a.b]", &["error: spec"]),
                ("hosts: [a.b]\ngateways: [gw]", &["warning: spec"]),
                ("hosts: [a.b]\ngateways: [gw]\nhttp: []", &["error: http"]),
                ("hosts: [a.b]\nhttp: []\ntcp: [{route: [{destination: {host: a}}]}]", &[]),
            ],
        );
    }

    #[test]
    fn claims_are_for_gateways() {
        let rule = "http: [{match: [{headers: {'@request.auth.claims.sub': {exact: a}}}], route: [{destination: {host: b}}]}]";
        check_table(
            "VirtualService",
            &[
                (&format!("hosts: [a]\ngateways: [gw]\n{rule}"), &[]),
                (&format!("hosts: [a]\n{rule}"), &["error: http[0].match[0].headers[\"@request.auth.claims.sub\"]"]),
            ],
        );
    }

    #[test]
    fn tls_and_tcp() {
        check_within(
            "VirtualService",
            "hosts: ['*.a.b']\n…",
            "",
            &[
                ("tls: [{match: [{sniHosts: [x.a.b]}], route: [{destination: {host: c}}]}]", &[]),
                ("tls: [{match: [{sniHosts: [a.c]}], route: [{destination: {host: c}}]}]", &["error: tls[0].match[0].sniHosts[0]"]),
                ("tls: [{match: [{port: 443}], route: [{destination: {host: c}}]}]", &["error: tls[0].match[0]"]),
                ("tls: [{route: [{destination: {host: c}}]}]", &["error: tls[0]"]),
                ("tls: [{match: [{sniHosts: [x.a.b]}]}]", &["error: tls[0]"]),
                ("tcp: [{match: [{port: 0, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: c}}]}]", &[]),
                ("tcp: [{match: [{port: 70000}], route: [{destination: {host: c}}]}]", &["error: tcp[0].match[0].port"]),
                (
                    "tcp: [{match: [{destinationSubnets: [10.0.0.0/99]}], route: [{destination: {host: c}}]}]",
                    &["error: tcp[0].match[0].destinationSubnets[0]"],
                ),
                (
                    "tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: c}}]}]",
                    &["warning: tcp[0].match[0].sourceSubnet"],
                ),
                ("tcp: [{match: [{}], route: [{destination: {host: c}}]}]", &["warning: tcp[0].match[0]"]),
                ("tcp: [{route: [{}]}]", &["error: tcp[0].route[0]"]),
                (
                    "tcp: [{route: [{destination: {host: c}, weight: 1}, {destination: {host: d}, weight: -1}]}]",
                    &["error: tcp[0].route[1].weight", "error: tcp[0].route"],
                ),
                ("tcp: [{route: [{destination: {host: c}}]}, {route: [{destination: {host: d}}]}]", &["warning: tcp[1]"]),
            ],
        );
    }
}
