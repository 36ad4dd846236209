//! Rules of ServiceEntry.

use super::checker::Checker;
use super::values::{self, Export};
use super::{hosts, workload};
use crate::resources::ServiceEntry;
use crate::resources::meta::ObjectMeta;
use crate::resources::protocol::Protocol;
use crate::resources::service_entry::{Location, Resolution, ServicePort};

/// Checks a ServiceEntry with those metadata.
pub(super) fn check(c: &mut Checker<'_>, meta: &ObjectMeta, entry: &ServiceEntry) {
    c.some("workloadSelector", &entry.workload_selector, |c, selector| values::check_selector(c, "labels", &selector.labels));
    c.exclusive(&[("workloadSelector", entry.workload_selector.is_some()), ("endpoints", !entry.endpoints.is_empty())]);
    check_hosts(c, entry);
    c.each("addresses", &entry.addresses, |c, address| {
        values::check_subnet(c, address);
        if address.contains('/') && !matches!(entry.resolution, Resolution::None | Resolution::Static) {
            let message = format!("the network `{address}` cannot be resolved by {}", entry.resolution.name());
            c.error_help(message, "choose the resolution NONE or STATIC, or write single addresses");
        }
    });
    c.each("ports", &entry.ports, check_port);
    let is_given_addresses = entry.hosts.iter().any(|host| entry.is_given_addresses(&meta.labels, host));
    check_ports_together(c, entry, is_given_addresses);
    match entry.resolution {
        Resolution::None => check_none(c, entry),
        Resolution::Static => check_static(c, entry),
        Resolution::Dns | Resolution::DnsRoundRobin => check_dns(c, entry),
        Resolution::DynamicDns => check_dynamic_dns(c, entry),
    }
    values::check_export_to(c, &entry.export_to, Export::OrNobody);
}

fn check_hosts(c: &mut Checker<'_>, entry: &ServiceEntry) {
    if entry.hosts.is_empty() {
        c.error_help("it has no hosts", "add `hosts`");
    }
    c.each("hosts", &entry.hosts, |c, host| {
        if host == "*" {
            c.error_help("`*` is not a service", "name the hosts, or `*.suffix`");
        } else if let Err(wrong) = hosts::wildcard_domain(host) {
            c.error_help(wrong, hosts::REMEDY);
        } else if hosts::is_partial_wildcard(host) {
            c.warn_help(format!("`{host}` has a wildcard within a part of the name"), "a wildcard stands for whole parts: `*.example.com`");
        }
    });
}

fn check_port(c: &mut Checker<'_>, port: &ServicePort) {
    c.field("name", |c| hosts::check_label(c, &port.name, "the name of a port"));
    c.field("protocol", |c| values::check_protocol(c, &port.protocol));
    c.field("number", |c| values::check_port(c, port.number));
    if port.target_port != 0 {
        c.field("targetPort", |c| values::check_port(c, port.target_port));
    }
}

fn check_ports_together(c: &mut Checker<'_>, entry: &ServiceEntry, given_addresses: bool) {
    c.field("ports", |c| {
        for (index, port) in entry.ports.iter().enumerate() {
            let earlier = &entry.ports[..index];
            let same_name = !port.name.is_empty() && earlier.iter().any(|other| other.name == port.name);
            let same_number = earlier.iter().any(|other| other.number == port.number);
            let by_address = entry.addresses.is_empty() && !given_addresses && matches!(port.protocol.as_str(), "" | "TCP");
            c.item(index, |c| {
                if same_name {
                    c.field("name", |c| c.error(format!("a second port `{}`", port.name)));
                }
                if same_number {
                    c.field("number", |c| c.error(format!("a second port {}", port.number)));
                }
                if by_address {
                    let message = format!("without `addresses`, all traffic to port {} is taken for this service", port.number);
                    c.warn_help(message, "add `addresses`, or a `protocol` that names the host");
                }
            });
        }
    });
}

fn check_none(c: &mut Checker<'_>, entry: &ServiceEntry) {
    if !entry.endpoints.is_empty() {
        let help = "choose the resolution STATIC or DNS";
        c.field("endpoints", |c| c.error_help("with the resolution NONE, clients choose the address, not `endpoints`", help));
    }
    if entry.workload_selector.is_some() {
        let help = "choose the resolution STATIC";
        c.field("workloadSelector", |c| c.warn_help("with the resolution NONE, clients choose the address, not the selector", help));
    }
}

fn check_static(c: &mut Checker<'_>, entry: &ServiceEntry) {
    c.each("endpoints", &entry.endpoints, |c, endpoint| workload::check_endpoint(c, endpoint, &entry.ports, false));
    check_many_hosts(c, entry);
}

fn check_dns(c: &mut Checker<'_>, entry: &ServiceEntry) {
    if entry.endpoints.is_empty() {
        c.each("hosts", &entry.hosts, |c, host| {
            if hosts::wildcard_domain(host).is_ok() && hosts::fqdn(host).is_err() {
                let message = format!("DNS knows no `{host}`");
                c.error_help(message, "name the hosts, add `endpoints`, or choose the resolution NONE or DYNAMIC_DNS");
            }
        });
    }
    if entry.resolution == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
        c.field("endpoints", |c| c.error_help("DNS_ROUND_ROBIN takes one endpoint only", "keep one, or choose the resolution DNS"));
    }
    c.each("endpoints", &entry.endpoints, |c, endpoint| {
        if endpoint.address.starts_with(values::UNIX) {
            c.field("address", |c| c.error_help("DNS knows no sockets", "choose the resolution STATIC"));
        } else {
            workload::check_endpoint(c, endpoint, &entry.ports, true);
        }
    });
    check_many_hosts(c, entry);
    let by_address = entry.ports.iter().any(|port| port.protocol().is_some_and(Protocol::is_tcp));
    if entry.hosts.len() > 1 && !entry.addresses.is_empty() && by_address {
        c.warn_help("several hosts share the addresses, which TCP cannot tell apart", "make a ServiceEntry for each host");
    }
}

/// The name that a request asks for is resolved, so there must be more than one, and it must be seen.
fn check_dynamic_dns(c: &mut Checker<'_>, entry: &ServiceEntry) {
    c.each("hosts", &entry.hosts, |c, host| {
        if !hosts::is_wildcard(host) {
            c.error_help(format!("DYNAMIC_DNS is for wildcard hosts, `{host}` is a single one"), "choose the resolution DNS");
        }
    });
    for (key, given) in [("endpoints", !entry.endpoints.is_empty()), ("workloadSelector", entry.workload_selector.is_some())] {
        if given {
            c.field(key, |c| c.warn_help(format!("with DYNAMIC_DNS, `{key}` has no effect"), "leave it away"));
        }
    }
    if entry.location == Location::MeshInternal {
        c.field("location", |c| c.warn_help("DYNAMIC_DNS is meant for hosts outside the mesh", "leave `location` away"));
    }
    check_many_hosts(c, entry);
    c.each("ports", &entry.ports, |c, port| {
        let unseen = port.protocol().is_none_or(|protocol| !protocol.is_http() && !protocol.is_tls());
        if unseen && hosts::is_label(&port.name) {
            c.field("protocol", |c| c.warn_help("the name that is asked for is seen in HTTP and TLS only", "choose HTTP or TLS"));
        }
    });
}

/// HTTP names the host, and so does TLS; other protocols do not.
fn check_many_hosts(c: &mut Checker<'_>, entry: &ServiceEntry) {
    let names_host = |port: &ServicePort| port.protocol().is_some_and(|protocol| protocol.is_http() || protocol.is_tls());
    if entry.hosts.len() > 1
        && let Some(index) = entry.ports.iter().position(|port| !names_host(port))
    {
        let message = "the protocol does not say which of the hosts is meant";
        c.field("ports", |c| c.item(index, |c| c.error_help(message, "choose HTTP, HTTPS or TLS, or make a ServiceEntry for each host")));
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within, said_of};

    const PORT: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

    #[test]
    fn hosts_ports_and_addresses() {
        check_table(
            "ServiceEntry",
            &[
                (&format!("hosts: [a.b, '*.c']\n{PORT}"), &[]),
                (PORT, &["error: spec"]),
                (&format!("hosts: ['*']\n{PORT}"), &["error: hosts[0]"]),
                (&format!("hosts: [a_b]\n{PORT}"), &["error: hosts[0]"]),
                (&format!("hosts: ['*a.b']\n{PORT}"), &["warning: hosts[0]"]),
                (&format!("hosts: [a.b]\naddresses: [10.0.0.0/8, ::1]\n{PORT}"), &[]),
                (&format!("hosts: [a.b]\naddresses: [a.b]\n{PORT}"), &["error: addresses[0]"]),
                (&format!("hosts: [a.b]\naddresses: [10.0.0.0/8]\nresolution: DNS\n{PORT}"), &["error: addresses[0]"]),
                (&format!("hosts: [a.b]\nexportTo: ['~']\n{PORT}"), &[]),
                (&format!("hosts: [a.b]\nexportTo: [a, a]\n{PORT}"), &["error: exportTo[1]"]),
            ],
        );
        check_within(
            "ServiceEntry",
            "hosts: [a.b]\naddresses: [1.2.3.4]\nports: [{…}]",
            "ports[0]",
            &[
                ("number: 80, name: http, protocol: HTTP, targetPort: 8080", &[]),
                ("number: 80, name: any", &[]),
                ("number: 80, protocol: HTTP", &["error: .name"]),
                ("number: 80, name: a_b, protocol: HTTP", &["error: .name"]),
                ("number: 80, name: a, protocol: QUIC2", &["error: .protocol"]),
                ("number: 0, name: a, protocol: HTTP", &["error: .number"]),
                ("number: 80, name: a, protocol: HTTP, targetPort: 70000", &["error: .targetPort"]),
            ],
        );
        check_within(
            "ServiceEntry",
            "hosts: [a.b]\nports: [{number: 80, name: a, protocol: HTTP}, {…}]",
            "ports[1]",
            &[
                ("number: 80, name: b, protocol: HTTP", &["error: .number"]),
                ("number: 81, name: a, protocol: HTTP", &["error: .name"]),
                ("number: 81, name: b, protocol: TCP", &["warning: "]),
            ],
        );
    }

    #[test]
    fn tcp_is_told_by_address() {
        let spec = "hosts: [a.b]\nresolution: DNS\nports: [{number: 80, name: a, protocol: TCP}]";
        assert_eq!(said_of("ServiceEntry", "name: a", spec), [""; 0]);
        let label = "name: a, labels: {networking.istio.io/enable-autoallocate-ip: 'false'}";
        assert_eq!(said_of("ServiceEntry", label, spec), ["warning: ports[0]"]);
    }

    #[test]
    fn endpoints_fit_the_resolution() {
        check_within(
            "ServiceEntry",
            &format!("hosts: [a.b]\n{PORT}\nresolution: …"),
            "",
            &[
                ("NONE\nendpoints: [{address: 10.0.0.1}]", &["error: endpoints"]),
                ("NONE\nworkloadSelector: {labels: {a: b}}", &["warning: workloadSelector"]),
                ("STATIC\nendpoints: [{address: 10.0.0.1, ports: {http: 8080}}]", &[]),
                ("STATIC\nendpoints: [{address: b.c}]", &["error: endpoints[0].address"]),
                ("STATIC\nendpoints: [{address: 10.0.0.1, ports: {grpc: 8080}}]", &["error: endpoints[0].ports.grpc"]),
                ("STATIC\nendpoints: [{address: 'unix:///run/a'}]", &[]),
                ("STATIC\nendpoints: [{}]", &["error: endpoints[0]"]),
                ("STATIC\nendpoints: [{network: n}]", &["warning: endpoints[0]"]),
                ("STATIC\nendpoints: [{address: 10.0.0.1}]\nworkloadSelector: {labels: {a: b}}", &["error: spec"]),
                ("DNS\nendpoints: [{address: b.c}]", &[]),
                ("DNS\nendpoints: [{address: 'unix:///run/a'}]", &["error: endpoints[0].address"]),
                ("DNS\nendpoints: [{address: 'b.c:80'}]", &["error: endpoints[0].address"]),
                ("DNS_ROUND_ROBIN\nendpoints: [{address: b.c}, {address: d.e}]", &["error: endpoints"]),
                ("DYNAMIC_DNS", &["error: hosts[0]"]),
            ],
        );
    }

    #[test]
    fn names_of_several_hosts() {
        check_within(
            "ServiceEntry",
            "hosts: ['*.a.b']\nports: [{number: 80, name: a, protocol: HTTP}]\nresolution: …",
            "",
            &[
                ("NONE", &[]),
                ("DNS", &["error: hosts[0]"]),
                ("DNS\nendpoints: [{address: b.c}]", &[]),
                ("DYNAMIC_DNS", &[]),
                ("DYNAMIC_DNS\nlocation: MESH_INTERNAL\nendpoints: [{address: b.c}]", &["warning: endpoints", "warning: location"]),
            ],
        );
        check_within(
            "ServiceEntry",
            "hosts: [a.b, c.d]\naddresses: [1.2.3.4]\nports: [{number: 80, name: a, protocol: TCP}]\nresolution: …",
            "",
            &[("NONE", &[]), ("STATIC", &["error: ports[0]"]), ("DNS", &["error: ports[0]", "warning: spec"])],
        );
    }
}
