//! Rules of WorkloadEntry and WorkloadGroup, and of the endpoints of a ServiceEntry.

use super::checker::Checker;
use super::{headers, hosts, values};
use crate::dns;
use crate::resources::kubernetes::Pod;
use crate::resources::meta::{Labels, ObjectMeta};
use crate::resources::service_entry::ServicePort;
use crate::resources::workload::{HttpHealthCheck, PROXY_TYPE, ReadinessProbe};
use crate::resources::{WorkloadEntry, WorkloadGroup};

/// Checks a WorkloadEntry. Its workload has the labels of its metadata as well, and these win.
pub(super) fn check_entry(c: &mut Checker<'_>, meta: &ObjectMeta, entry: &WorkloadEntry) {
    c.field("metadata", |c| check_proxy_type(c, &meta.labels));
    c.field("spec", |c| {
        if has_address(c, entry) {
            check_address(c, entry, true);
            check_ports(c, entry, None);
            values::check_labels(c, "labels", &entry.labels);
        }
        check_proxy_type(c, &entry.labels);
        check_account(c, "serviceAccount", &entry.service_account);
    });
}

/// Whoever registers itself is no gateway.
fn check_sidecars(c: &mut Checker<'_>, labels: &Labels) {
    c.entries("labels", labels, |c, name, value| {
        if name == PROXY_TYPE && value != "sidecar" {
            c.error_help("gateways do not register themselves", "write a WorkloadEntry for each");
        }
    });
}

fn check_proxy_type(c: &mut Checker<'_>, labels: &Labels) {
    c.entries("labels", labels, |c, name, value| {
        if name == PROXY_TYPE && !["sidecar", "router"].contains(&value.as_str()) {
            c.error_help(format!("`{value}` is no type of a proxy"), "write `router` for a gateway, `sidecar` for any other");
        }
    });
}

/// Checks the account of a Pod.
pub(super) fn check_pod(c: &mut Checker<'_>, pod: &Pod) {
    check_account(c, "serviceAccountName", &pod.spec.service_account_name);
}

/// Checks the namespace of any object. It stands in the identities of workloads, as their accounts do: what is no name could make
/// one of them look like another.
pub(super) fn check_namespace(c: &mut Checker<'_>, meta: &ObjectMeta) {
    if !meta.namespace.is_empty() && !dns::is_label(&meta.namespace) {
        let message = format!("`{}` is not the name of a namespace", meta.namespace);
        c.field("metadata", |c| c.field("namespace", |c| c.error_help(message, "lower-case letters, digits and `-`, 63 at most")));
    }
}

fn check_account(c: &mut Checker<'_>, key: &'static str, account: &str) {
    if !account.is_empty() && !dns::is_subdomain(account) {
        let message = format!("`{account}` is not the name of a service account");
        c.field(key, |c| c.error_help(message, "lower-case letters, digits, `-` and `.`"));
    }
}

/// Checks an endpoint of a ServiceEntry with those ports; `names` tells whether its address may be a name.
pub(super) fn check_endpoint(c: &mut Checker<'_>, entry: &WorkloadEntry, ports: &[ServicePort], names: bool) {
    if !has_address(c, entry) {
        return;
    }
    check_address(c, entry, names);
    check_ports(c, entry, Some(ports));
    values::check_labels(c, "labels", &entry.labels);
    check_account(c, "serviceAccount", &entry.service_account);
    if is_socket(entry) && ports.len() != 1 {
        c.error_help(format!("a socket serves one port, the service has {}", ports.len()), "give the service one port only");
    }
}

fn is_socket(entry: &WorkloadEntry) -> bool {
    entry.address.starts_with(values::UNIX)
}

/// Whether the rest need be looked at.
fn has_address(c: &mut Checker<'_>, entry: &WorkloadEntry) -> bool {
    match (entry.address.is_empty(), entry.network.is_empty()) {
        (false, _) => true,
        (true, false) => {
            c.warn_help(
                format!("without an address, it is reached by the gateway of the network `{}`", entry.network),
                "add `address` if it has one",
            );
            true
        }
        (true, true) => {
            c.error_help("the address is missing", "add `address`");
            false
        }
    }
}

fn check_address(c: &mut Checker<'_>, entry: &WorkloadEntry, names: bool) {
    let address = entry.address.as_str();
    c.field("address", |c| {
        if let Some(path) = address.strip_prefix(values::UNIX) {
            values::check_socket(c, path);
        } else if address.is_empty() || hosts::is_ip(address) {
        } else if !names {
            c.error_help(format!("`{address}` is not an IP address"), "write an address, or choose the resolution DNS");
        } else if hosts::fqdn(address).is_err() {
            c.error_help(format!("`{address}` is neither an IP address nor a host name"), "write it without a port; `ports` has those");
        }
    });
    if is_socket(entry) && !entry.ports.is_empty() {
        c.field("ports", |c| c.error_help("a socket has no ports", "leave `ports` away"));
    }
}

fn check_ports(c: &mut Checker<'_>, entry: &WorkloadEntry, known: Option<&[ServicePort]>) {
    c.entries("ports", &entry.ports, |c, name, number| {
        if !hosts::is_label(name) {
            c.error_help(format!("`{name}` is not the name of a port"), "letters, digits and `-`");
        } else if let Some(known) = known.filter(|known| !known.iter().any(|port| port.name == name)) {
            let names: Vec<&str> = known.iter().map(|port| port.name.as_str()).collect();
            c.error_help(format!("the service has no port `{name}`"), format!("its ports are {}", names.join(", ")));
        }
        values::check_port(c, *number);
    });
}

/// Checks a WorkloadGroup.
pub(super) fn check_group(c: &mut Checker<'_>, group: &WorkloadGroup) {
    c.some("metadata", &group.metadata, |c, metadata| {
        values::check_labels(c, "labels", &metadata.labels);
        check_sidecars(c, &metadata.labels);
    });
    match &group.template {
        // A template has no address: each entry brings its own.
        Some(template) => c.field("template", |c| {
            check_ports(c, template, None);
            values::check_labels(c, "labels", &template.labels);
            check_sidecars(c, &template.labels);
            check_account(c, "serviceAccount", &template.service_account);
        }),
        None => c.error_help("the template is missing", "add `template`; it may be empty"),
    }
    c.some("probe", &group.probe, check_probe);
}

fn check_probe(c: &mut Checker<'_>, probe: &ReadinessProbe) {
    values::check_not_negative(c, "initialDelaySeconds", probe.initial_delay_seconds);
    values::check_not_negative(c, "timeoutSeconds", probe.timeout_seconds);
    values::check_not_negative(c, "periodSeconds", probe.period_seconds);
    values::check_not_negative(c, "successThreshold", probe.success_threshold);
    values::check_not_negative(c, "failureThreshold", probe.failure_threshold);
    let methods = [
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("exec", probe.exec.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    c.exclusive(&methods);
    if !methods.iter().any(|(_, given)| *given) {
        c.error_help("the probe does nothing", "add `httpGet`, `tcpSocket`, `exec` or `grpc`");
    }
    c.some("httpGet", &probe.http_get, check_http_probe);
    c.some("tcpSocket", &probe.tcp_socket, |c, tcp| c.field("port", |c| values::check_port(c, tcp.port)));
    c.some("grpc", &probe.grpc, |c, grpc| c.field("port", |c| values::check_port(c, grpc.port)));
    c.some("exec", &probe.exec, |c, exec| {
        if exec.command.is_empty() {
            c.error_help("the command is missing", "add `command`");
        }
    });
}

fn check_http_probe(c: &mut Checker<'_>, http: &HttpHealthCheck) {
    c.field("port", |c| values::check_port(c, http.port));
    if !matches!(http.scheme.as_str(), "" | "HTTP" | "HTTPS") {
        c.field("scheme", |c| c.error_help(format!("`{}` is not a scheme of a probe", http.scheme), "`HTTP` or `HTTPS`"));
    }
    c.each("httpHeaders", &http.http_headers, |c, header| c.field("name", |c| headers::check_plain_name(c, &header.name)));
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within, said, said_of};

    #[test]
    fn entries_have_addresses() {
        check_table(
            "WorkloadEntry",
            &[
                ("address: 10.0.0.1\nports: {http: 80}\nlabels: {a: b}", &[]),
                ("address: vm.example.com", &[]),
                ("address: 'unix:///run/a'", &[]),
                ("network: n", &["warning: spec"]),
                ("labels: {a: b}", &["error: spec"]),
                ("address: 'a b'", &["error: address"]),
                ("address: '10.0.0.1:80'", &["error: address"]),
                ("address: 'unix://run/a'", &["error: address"]),
                ("address: 'unix:///run/a'\nports: {http: 80}", &["error: ports"]),
                ("address: 10.0.0.1\nports: {a_b: 80}", &["error: ports.a_b"]),
                ("address: 10.0.0.1\nports: {a: 70000}", &["error: ports.a"]),
                ("address: 10.0.0.1\nlabels: {-a: b}", &["error: labels.-a"]),
            ],
        );
    }

    #[test]
    fn an_account_that_could_be_read_as_another_identity_is_refused() {
        for account in ["x/ns/kube-system/sa/admin", "a b", "A", "-a", "a..b", "ü"] {
            let wrong = format!("serviceAccount: '{account}'");
            assert_eq!(said("WorkloadEntry", &format!("address: 10.0.0.1\n{wrong}")), ["error: serviceAccount"], "{account}");
            assert_eq!(said("WorkloadGroup", &format!("template: {{{wrong}}}")), ["error: template.serviceAccount"], "{account}");
            let service = "hosts: [a.test]\nresolution: STATIC\nports: [{number: 80, name: http}]\nlocation: MESH_INTERNAL";
            let endpoint = format!("{service}\nendpoints: [{{address: 10.0.0.1, {wrong}}}]");
            assert_eq!(said("ServiceEntry", &endpoint), ["error: endpoints[0].serviceAccount"], "{account}");
        }
        assert_eq!(said("WorkloadEntry", "address: 10.0.0.1\nserviceAccount: cart.v1-2"), [""; 0]);
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {serviceAccountName: a/b}\n";
        let parsed = crate::parse(&crate::Source::new("pod.yaml", pod));
        assert_eq!((parsed.objects.len(), parsed.diagnostics.len()), (0, 1), "{:?}", parsed.diagnostics);
    }

    #[test]
    fn a_namespace_that_could_be_read_as_another_identity_is_refused() {
        for namespace in ["a/sa/b", "A", "a.b", "a~b"] {
            let said = said_of("WorkloadEntry", &format!("name: a, namespace: '{namespace}'"), "address: 10.0.0.1");
            assert_eq!(said, ["error: metadata.namespace"], "{namespace}");
        }
    }

    #[test]
    fn a_proxy_is_of_a_type_that_there_is_whichever_labels_say_so() {
        for (value, is_one) in [("router", true), ("sidecar", true), ("gateway", false), ("", false)] {
            let label = format!("labels: {{weir.dev/proxy-type: '{value}'}}");
            let wrong = |at: &str| if is_one { vec![] } else { vec![format!("error: {at}labels[\"weir.dev/proxy-type\"]")] };
            assert_eq!(said("WorkloadEntry", &format!("address: 10.0.0.1\n{label}")), wrong(""), "{value}");
            assert_eq!(said_of("WorkloadEntry", &format!("name: a, {label}"), "address: 10.0.0.1"), wrong("metadata."), "{value}");
        }
    }

    #[test]
    fn groups_have_templates() {
        check_table(
            "WorkloadGroup",
            &[
                ("template: {}", &[]),
                ("metadata: {labels: {a: b}}", &["error: spec"]),
                ("metadata: {labels: {-a: b}}\ntemplate: {ports: {http: 0}}", &["error: metadata.labels.-a", "error: template.ports.http"]),
            ],
        );
        check_within(
            "WorkloadGroup",
            "template: {}\nprobe: {…}",
            "probe",
            &[
                ("httpGet: {path: /a, port: 80, scheme: HTTPS, httpHeaders: [{name: a-b, value: c}]}", &[]),
                ("tcpSocket: {port: 80}, periodSeconds: 5", &[]),
                ("exec: {command: [a]}", &[]),
                ("grpc: {port: 80}", &[]),
                ("", &["error: "]),
                ("tcpSocket: {port: 80}, exec: {command: [a]}", &["error: "]),
                ("tcpSocket: {port: 80}, initialDelaySeconds: -1", &["error: .initialDelaySeconds"]),
                (
                    "httpGet: {port: 0, scheme: FTP, httpHeaders: [{name: ':a'}]}",
                    &["error: .httpGet.port", "error: .httpGet.scheme", "error: .httpGet.httpHeaders[0].name"],
                ),
                ("exec: {}", &["error: .exec"]),
            ],
        );
    }
}
