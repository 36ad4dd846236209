//! Rules of Sidecar.

use super::checker::Checker;
use super::destination_rule::check_connection_pool;
use super::hosts::{self, Reader};
use super::{server_tls, values};
use crate::resources::Sidecar;
use crate::resources::gateway::{ServerTlsMode, ServerTlsSettings};
use crate::resources::sidecar::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficPolicy, OutboundTrafficPolicyMode, SidecarPort,
};

/// Checks a Sidecar.
pub(super) fn check(c: &mut Checker<'_>, sidecar: &Sidecar) {
    c.some("workloadSelector", &sidecar.workload_selector, |c, selector| values::check_selector(c, "labels", &selector.labels));
    let says_nothing = sidecar.ingress.is_empty()
        && sidecar.egress.is_empty()
        && sidecar.outbound_traffic_policy.is_none()
        && sidecar.inbound_connection_pool.is_none();
    if says_nothing {
        c.error_help("the Sidecar says nothing", "add `egress`, `ingress`, `outboundTrafficPolicy` or `inboundConnectionPool`");
    }
    c.each("ingress", &sidecar.ingress, check_ingress);
    check_ports_once(c, "ingress", sidecar.ingress.iter().map(|listener| (listener.port.as_ref(), listener.bind.as_str())));
    c.some("inboundConnectionPool", &sidecar.inbound_connection_pool, check_connection_pool);
    c.each("egress", &sidecar.egress, check_egress);
    check_ports_once(c, "egress", sidecar.egress.iter().map(|listener| (listener.port.as_ref(), listener.bind.as_str())));
    check_catch_all_last(c, &sidecar.egress);
    c.some("outboundTrafficPolicy", &sidecar.outbound_traffic_policy, check_outbound_policy);
}

fn check_ingress(c: &mut Checker<'_>, listener: &IstioIngressListener) {
    let Some(port) = &listener.port else {
        return c.error_help("the port is missing", "add `port` with `number` and `protocol`");
    };
    check_port(c, port);
    c.field("port", |c| c.field("number", |c| values::check_port(c, port.number)));
    if !listener.bind.is_empty() {
        c.field("bind", |c| values::check_ip(c, &listener.bind));
    }
    if !listener.default_endpoint.is_empty() {
        c.field("defaultEndpoint", |c| check_default_endpoint(c, &listener.default_endpoint));
    }
    if let Some(tls) = &listener.tls {
        if !port.protocol().is_some_and(|protocol| protocol.is_tls()) {
            c.field("tls", |c| c.error_help("the port's protocol is without TLS", "choose HTTPS or TLS as the protocol"));
        }
        c.field("tls", |c| check_ingress_tls(c, tls));
    }
    c.some("connectionPool", &listener.connection_pool, |c, pool| {
        check_connection_pool(c, pool);
        if pool.http.is_some() && !port.protocol().is_some_and(|protocol| protocol.is_http()) {
            c.field("http", |c| c.warn_help("the port's protocol is not HTTP, so only `tcp` has an effect", "choose HTTP as the protocol"));
        }
    });
}

fn check_port(c: &mut Checker<'_>, port: &SidecarPort) {
    c.field("port", |c| {
        if !port.name.is_empty() {
            c.field("name", |c| hosts::check_label(c, &port.name, "the name of a port"));
        }
        c.field("protocol", |c| values::check_protocol(c, &port.protocol));
        if port.target_port > 0 {
            c.field("targetPort", |c| c.error_help("`targetPort` has no effect on a Sidecar", "`defaultEndpoint` has the workload's port"));
        }
    });
}

fn check_default_endpoint(c: &mut Checker<'_>, endpoint: &str) {
    const HELP: &str = "127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH";
    if let Some(path) = endpoint.strip_prefix(values::UNIX) {
        return values::check_socket(c, path);
    }
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        return c.error_help(format!("`{endpoint}` has no port"), HELP);
    };
    if !matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]") {
        c.error_help(format!("`{endpoint}` is not an address of the workload itself"), HELP);
    }
    match port.parse::<u32>() {
        Ok(port) => values::check_port(c, port),
        Err(_) => c.error_help(format!("`{port}` is not the number of a port"), HELP),
    }
}

fn check_ingress_tls(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    for (key, given) in [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ] {
        if given {
            c.field(key, |c| c.error_help(format!("a Sidecar has no `{key}`"), "use `serverCertificate` and `privateKey`"));
        }
    }
    if matches!(tls.mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
        c.field("mode", |c| c.error_help("this mode is for gateways only", "choose SIMPLE, MUTUAL or OPTIONAL_MUTUAL"));
    }
    server_tls::check(c, tls);
}

fn check_egress(c: &mut Checker<'_>, listener: &IstioEgressListener) {
    if let Some(port) = &listener.port {
        check_port(c, port);
        check_egress_bind(c, listener, port);
    }
    if listener.hosts.is_empty() {
        c.error_help("the listener imports nothing", "add `hosts`; `*/*` means all, `~/*` nothing");
    }
    c.each("hosts", &listener.hosts, |c, host| hosts::check_namespaced(c, host, Reader::Sidecar));
    check_hosts_once(c, &listener.hosts);
}

fn check_egress_bind(c: &mut Checker<'_>, listener: &IstioEgressListener, port: &SidecarPort) {
    let socket = listener.bind.strip_prefix(values::UNIX);
    if port.number != 0 {
        c.field("port", |c| c.field("number", |c| values::check_port(c, port.number)));
        if !listener.bind.is_empty() {
            c.field("bind", |c| values::check_ip(c, &listener.bind));
        }
        return;
    }
    match socket {
        Some(path) => c.field("bind", |c| values::check_socket(c, path)),
        None => c.field("port", |c| c.error_help("the number of the port is missing", "add `number`, or a `bind` of unix://PATH")),
    }
    if listener.capture_mode == CaptureMode::Iptables {
        c.field("captureMode", |c| c.error_help("traffic cannot be redirected to a socket in the file system", "DEFAULT or NONE"));
    }
}

/// Checks that no two listeners are at one place.
fn check_ports_once<'a>(c: &mut Checker<'_>, key: &'static str, listeners: impl Iterator<Item = (Option<&'a SidecarPort>, &'a str)>) {
    let mut seen: Vec<(u32, &str)> = vec![];
    c.field(key, |c| {
        for (index, (port, bind)) in listeners.enumerate() {
            let Some(port) = port else { continue };
            // Listeners are told apart by port; only sockets in the file system have none.
            let place = (port.number, if port.number == 0 { bind } else { "" });
            if seen.contains(&place) {
                let message = if port.number == 0 {
                    format!("a second listener on `{bind}`")
                } else {
                    format!("a second listener on port {}", port.number)
                };
                c.item(index, |c| c.field("port", |c| c.error_help(message, "each port has one listener")));
            }
            seen.push(place);
        }
    });
}

fn check_catch_all_last(c: &mut Checker<'_>, egress: &[IstioEgressListener]) {
    c.field("egress", |c| {
        for (index, listener) in egress.iter().enumerate() {
            if listener.port.is_none() && index + 1 != egress.len() {
                c.item(index, |c| {
                    c.error_help(
                        "a listener without `port` is for all other ports, so it must be the last one",
                        "put it last, or add `port`",
                    )
                });
            }
        }
    });
}

fn check_hosts_once(c: &mut Checker<'_>, hosts: &[String]) {
    let own = c.namespace.to_owned();
    let mut seen: Vec<(String, &str)> = vec![];
    c.field("hosts", |c| {
        for (index, text) in hosts.iter().enumerate() {
            let Some((namespace, host)) = text.split_once('/') else { continue };
            let namespace = if namespace == "." { own.clone() } else { namespace.to_owned() };
            let same = |(other, earlier): &&(String, &str)| *other == namespace && (*earlier == host || *earlier == "*" || host == "*");
            if seen.iter().find(same).is_some() {
                c.item(index, |c| c.warn(format!("`{text}` is imported already, in part or as a whole")));
            }
            seen.push((namespace, host));
        }
        let imported = || seen.iter().filter(|(namespace, _)| !namespace.starts_with('~'));
        if imported().count() > 1 && imported().any(|(namespace, host)| namespace == "*" && *host == "*") {
            c.warn_help("`*/*` imports everything, so the others have no effect", "keep the one or the others");
        }
        if imported().count() == 0 && seen.iter().any(|(namespace, host)| !(namespace == "~" && *host == "*")) {
            c.warn_help("only exclusions, so nothing is imported", "add `*/*`");
        }
    });
}

fn check_outbound_policy(c: &mut Checker<'_>, policy: &OutboundTrafficPolicy) {
    let Some(proxy) = &policy.egress_proxy else { return };
    c.field("egressProxy", |c| {
        if policy.mode != OutboundTrafficPolicyMode::AllowAny {
            return c.error_help("only with the mode ALLOW_ANY is there traffic for an egress proxy", "add `mode: ALLOW_ANY`");
        }
        if hosts::wildcard_domain(&proxy.host).is_ok()
            && let Err(wrong) = hosts::fqdn(&proxy.host)
        {
            c.field("host", |c| c.error_help(wrong, hosts::REMEDY));
        }
        if proxy.port.is_none() {
            c.error_help("the port is missing", "add `port: {number: …}`");
        }
        values::check_destination(c, proxy);
    });
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within};

    #[test]
    fn a_sidecar_says_something() {
        check_table(
            "Sidecar",
            &[
                ("workloadSelector: {labels: {a: b}}", &["error: spec"]),
                ("workloadSelector: {labels: {a: '*'}}\negress: [{hosts: ['*/*']}]", &["error: workloadSelector.labels.a"]),
                ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", &[]),
                ("inboundConnectionPool: {}", &["error: inboundConnectionPool"]),
                ("outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b, port: {number: 80}}}", &[]),
                (
                    "outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a.b, port: {number: 80}}}",
                    &["error: outboundTrafficPolicy.egressProxy"],
                ),
                (
                    "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: '*.b', port: {number: 80}}}",
                    &["error: outboundTrafficPolicy.egressProxy.host"],
                ),
                ("outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b}}", &["error: outboundTrafficPolicy.egressProxy"]),
            ],
        );
    }

    #[test]
    fn ingress() {
        check_within(
            "Sidecar",
            "ingress: [{…}]",
            "ingress[0]",
            &[
                ("port: {number: 80, protocol: HTTP}, bind: 10.0.0.1, defaultEndpoint: '127.0.0.1:8080'", &[]),
                ("port: {number: 80, protocol: HTTP}, defaultEndpoint: 'unix:///run/a'", &[]),
                ("defaultEndpoint: '127.0.0.1:8080'", &["error: "]),
                ("port: {number: 0, protocol: HTTP}", &["error: .port.number"]),
                ("port: {number: 80, protocol: A}", &["error: .port.protocol"]),
                ("port: {number: 80, name: a_b, targetPort: 1}", &["error: .port.name", "error: .port.targetPort"]),
                ("port: {number: 80}, bind: a", &["error: .bind"]),
                ("port: {number: 80}, defaultEndpoint: '10.0.0.1:80'", &["error: .defaultEndpoint"]),
                ("port: {number: 80}, defaultEndpoint: 127.0.0.1", &["error: .defaultEndpoint"]),
                ("port: {number: 80}, defaultEndpoint: '127.0.0.1:x'", &["error: .defaultEndpoint"]),
                ("port: {number: 80, protocol: HTTPS}, tls: {mode: SIMPLE, serverCertificate: c, privateKey: k}", &[]),
                ("port: {number: 80, protocol: HTTP}, tls: {mode: SIMPLE, serverCertificate: c, privateKey: k}", &["error: .tls"]),
                ("port: {number: 80, protocol: HTTPS}, tls: {mode: ISTIO_MUTUAL}", &["error: .tls.mode"]),
                ("port: {number: 80, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}", &["error: .tls.credentialName"]),
                ("port: {number: 80, protocol: TCP}, connectionPool: {http: {maxRetries: 1}}", &["warning: .connectionPool.http"]),
            ],
        );
        let twice = "ingress: [{port: {number: 80}}, {port: {number: 80}, bind: 10.0.0.1}]";
        check_table("Sidecar", &[(twice, &["error: ingress[1].port"])]);
    }

    #[test]
    fn egress() {
        check_within(
            "Sidecar",
            "egress: [{…}]",
            "egress[0]",
            &[
                ("hosts: ['./*', 'istio-system/*', '~ns/a.b']", &[]),
                ("port: {number: 80, protocol: HTTP}, bind: 10.0.0.1, hosts: ['*/*']", &[]),
                ("port: {protocol: HTTP}, bind: 'unix:///run/a', hosts: ['*/*']", &[]),
                ("port: {protocol: HTTP}, bind: 'unix:///run/a', captureMode: IPTABLES, hosts: ['*/*']", &["error: .captureMode"]),
                ("port: {protocol: HTTP}, hosts: ['*/*']", &["error: .port"]),
                ("port: {number: 80}, bind: 'unix:///run/a', hosts: ['*/*']", &["error: .bind"]),
                ("port: {number: 80}", &["error: "]),
                ("hosts: [a]", &["error: .hosts[0]"]),
                ("hosts: ['./a.b', default/a.b]", &["warning: .hosts[1]"]),
                ("hosts: ['*/*', ns/a.b]", &["warning: .hosts"]),
                ("hosts: ['~ns/a.b']", &["warning: .hosts"]),
                ("hosts: ['~/*']", &[]),
            ],
        );
        check_table(
            "Sidecar",
            &[
                ("egress: [{hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]", &["error: egress[0]"]),
                ("egress: [{port: {number: 80}, hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]", &["error: egress[1].port"]),
            ],
        );
    }
}
