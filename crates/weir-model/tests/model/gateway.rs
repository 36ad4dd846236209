//! Gateways: which proxy carries them out, and how the servers of several share its ports.

use weir_model::{GatewayPort, GatewayServer, MergedGateway};

use crate::support::{istio, kubernetes, made, mesh, router, written};

const LABELS: &str = "istio=ingressgateway,app=istio-ingressgateway";
const SIMPLE: &str = "tls: {mode: SIMPLE, credentialName: c}";

/// A Gateway for all gateway proxies with these servers.
fn gateway(name: &str, servers: &str) -> String {
    istio("Gateway", name, &format!("servers:\n{servers}"))
}

/// A server whose port is named after its protocol, `http-80`; `more` are further fields.
fn server(number: u16, protocol: &str, hosts: &str, more: &str) -> String {
    let name = format!("{}-{number}", protocol.to_lowercase());
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    format!("- {{port: {{number: {number}, name: {name}, protocol: {protocol}}}, hosts: [{hosts}]{more}}}\n")
}

/// What the standard gateway proxy serves.
fn merged(documents: &[String]) -> MergedGateway {
    mesh(documents).gateway(&router(LABELS, "10.0.0.1"))
}

/// Ports as `80 HTTP: infra/a(a.test) infra/b(b.test)`, in order; a bind address stands before the number.
fn ports(gateway: &MergedGateway) -> Vec<String> {
    gateway.ports.iter().map(port).collect()
}

fn port(port: &GatewayPort) -> String {
    let bind = if port.bind.is_empty() { String::new() } else { format!("{}:", port.bind) };
    let servers: Vec<String> = port.servers.iter().map(|server| format!("{}({})", server.gateway, server.hosts.join(" "))).collect();
    format!("{bind}{} {}: {}", port.number, port.protocol.name(), servers.join(" "))
}

/// The servers that were refused, as they are written.
fn refused(gateway: &MergedGateway) -> Vec<String> {
    gateway.refused.iter().map(|(origin, _)| format!("{}: {}", origin.object.meta.name, written(origin))).collect()
}

/// The only server of a Gateway `infra/gw` with that server.
fn only(server: &str) -> GatewayServer {
    let mut merged = merged(&[gateway("infra/gw", server)]);
    merged.routes.clear();
    let server = merged.ports.remove(0).servers.remove(0);
    std::sync::Arc::into_inner(server).unwrap()
}

#[test]
fn a_gateway_is_carried_out_by_proxies_that_have_all_labels_of_its_selector() {
    for (selector, expected) in [
        ("istio: ingressgateway", true),
        ("istio: ingressgateway, app: istio-ingressgateway", true),
        ("istio: egressgateway", false),
        ("istio: ingressgateway, zone: a", false),
        ("", true),
    ] {
        let servers = server(80, "HTTP", "'*'", "");
        let mesh = mesh(&[istio("Gateway", "shop/gw", &format!("selector: {{{selector}}}\nservers:\n{servers}"))]);
        assert_eq!(!mesh.gateway(&router(LABELS, "10.0.0.1")).ports.is_empty(), expected, "{selector}");
    }
}

#[test]
fn a_host_may_say_which_namespaces_rules_use_it() {
    let server = only(&server(80, "HTTP", "a.test, ./b.test, '*/c.test', shop/d.test, 'shop/*.e.test'", ""));
    assert_eq!(server.hosts_for("infra"), ["a.test", "b.test", "c.test"]);
    assert_eq!(server.hosts_for("shop"), ["a.test", "c.test", "d.test", "*.e.test"]);
    assert_eq!(server.hosts_for("other"), ["a.test", "c.test"]);
}

#[test]
fn all_hosts_of_all_namespaces_take_in_the_others() {
    assert_eq!(only(&server(80, "HTTP", "'*/*'", "")).hosts_for("shop"), ["*"]);
    assert_eq!(only(&server(80, "HTTP", "./a.test, '*/*'", "")).hosts_for("infra"), ["*"]);
    assert_eq!(only(&server(80, "HTTP", "'./*'", "")).hosts_for("shop"), [""; 0]);
    assert_eq!(only(&server(80, "HTTP", "'./*'", "")).hosts_for("infra"), ["*"]);
}

#[test]
fn a_server_serves_hosts_of_rules_that_overlap_with_its_own() {
    let server = only(&server(80, "HTTP", "a.test, '*.b.test', shop/c.test", ""));
    for (host, expected) in
        [("a.test", true), ("*.test", true), ("*", true), ("x.b.test", true), ("*.x.b.test", true), ("b.test", false), ("c.test", false)]
    {
        assert_eq!(server.serves(host, "other"), expected, "{host}");
    }
    assert!(server.serves("c.test", "shop"));
}

#[test]
fn http_servers_share_a_port_and_its_routes() {
    let merged = merged(&[
        gateway(&made(2022, "infra/a"), &server(80, "HTTP", "a.test", "")),
        gateway(&made(2021, "infra/b"), &server(80, "HTTP", "b.test", "")),
        gateway(&made(2023, "shop/c"), &server(80, "HTTP2", "a.test", "")),
    ]);
    assert_eq!(ports(&merged), ["80 HTTP: infra/b(b.test) infra/a(a.test) shop/c(a.test)"]);
    assert_eq!(merged.routes.keys().collect::<Vec<_>>(), ["http.80"]);
    assert_eq!(merged.routes["http.80"].len(), 3);
    assert_eq!(refused(&merged), [""; 0]);
}

#[test]
fn of_http_and_tcp_on_one_port_the_older_counts_and_the_other_is_reported() {
    let http = |year| gateway(&made(year, "infra/http"), &server(80, "HTTP", "a.test", ""));
    let tcp = |year| gateway(&made(year, "infra/tcp"), &server(80, "TCP", "'*'", ""));
    let older_http = merged(&[tcp(2022), http(2021)]);
    assert_eq!(ports(&older_http), ["80 HTTP: infra/http(a.test)"]);
    assert_eq!(refused(&older_http), ["tcp: {port: {number: 80, name: tcp-80, protocol: TCP}, hosts: ['*']}"]);
    assert!(older_http.refused[0].1.contains("port 80"), "{}", older_http.refused[0].1);
    let older_tcp = merged(&[tcp(2021), http(2022)]);
    assert_eq!(ports(&older_tcp), ["80 TCP: infra/tcp(*)"]);
    assert_eq!(refused(&older_tcp), ["http: {port: {number: 80, name: http-80, protocol: HTTP}, hosts: [a.test]}"]);
    assert!(older_tcp.routes.is_empty());
}

#[test]
fn a_refused_server_takes_none_of_its_gateways_others_along() {
    let both = format!("{}{}", server(80, "TCP", "'*'", ""), server(81, "TCP", "'*'", ""));
    let merged = merged(&[gateway("infra/a", &server(80, "HTTP", "a.test", "")), gateway("infra/b", &both)]);
    assert_eq!(ports(&merged), ["80 HTTP: infra/a(a.test)", "81 TCP: infra/b(*)"]);
    assert_eq!(merged.refused.len(), 1);
}

#[test]
fn tls_has_no_room_on_a_port_that_an_older_server_has_for_http() {
    let merged = merged(&[
        gateway(&made(2021, "infra/a"), &server(80, "HTTP", "a.test", "")),
        gateway(&made(2022, "infra/b"), &server(80, "HTTPS", "b.test", SIMPLE)),
    ]);
    assert_eq!(ports(&merged), ["80 HTTP: infra/a(a.test)"]);
    assert_eq!(merged.refused.len(), 1);
}

#[test]
fn servers_with_tls_share_a_port_by_their_hosts() {
    let merged = merged(&[
        gateway(&made(2021, "infra/a"), &server(443, "HTTPS", "a.test", SIMPLE)),
        gateway(&made(2022, "infra/b"), &server(443, "HTTPS", "b.test", SIMPLE)),
        gateway(&made(2023, "infra/c"), &server(443, "TLS", "c.test", "tls: {mode: PASSTHROUGH}")),
    ]);
    assert_eq!(ports(&merged), ["443 HTTPS: infra/a(a.test) infra/b(b.test)", "443 TLS: infra/c(c.test)"]);
    assert_eq!(merged.routes.keys().collect::<Vec<_>>(), ["https.443.https-443.a.infra", "https.443.https-443.b.infra"]);
    assert_eq!(refused(&merged), [""; 0]);
}

#[test]
fn beside_tls_servers_of_plaintext_http_share_what_is_not_tls() {
    let merged = merged(&[
        gateway(&made(2021, "infra/a"), &[server(443, "HTTPS", "a.test", SIMPLE), server(443, "TLS", "b.test", SIMPLE)].concat()),
        gateway(&made(2022, "infra/b"), &[server(443, "HTTP", "c.test", ""), server(443, "GRPC", "d.test", "")].concat()),
        gateway(&made(2023, "infra/c"), &server(443, "TCP", "'*'", "")),
    ]);
    let expected = ["443 HTTPS: infra/a(a.test)", "443 TLS: infra/a(b.test)", "443 HTTP: infra/b(c.test) infra/b(d.test)"];
    assert_eq!(ports(&merged), expected);
    assert_eq!(merged.routes["http.443"].len(), 2);
    assert_eq!(
        merged.refused.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(),
        ["port 443 speaks HTTP for an older server: this server, of TCP, is left out"]
    );
}

#[test]
fn beside_tls_one_server_of_tcp_takes_what_is_not_tls() {
    let merged = merged(&[
        gateway(&made(2021, "infra/a"), &server(443, "HTTPS", "a.test", SIMPLE)),
        gateway(&made(2022, "infra/b"), &server(443, "TCP", "'*'", "")),
        gateway(&made(2023, "infra/c"), &server(443, "HTTP", "c.test", "")),
    ]);
    assert_eq!(ports(&merged), ["443 HTTPS: infra/a(a.test)", "443 TCP: infra/b(*)"]);
    assert_eq!(merged.refused.len(), 1);
}

#[test]
fn a_host_with_tls_that_an_older_server_has_drops_the_whole_younger_server() {
    let merged = merged(&[
        gateway(&made(2022, "infra/a"), &server(443, "HTTPS", "a.test, b.test", SIMPLE)),
        gateway(&made(2021, "infra/b"), &server(443, "HTTPS", "b.test, c.test", SIMPLE)),
        // The hosts of a dropped server are free for others.
        gateway(&made(2023, "infra/c"), &server(443, "HTTPS", "a.test", SIMPLE)),
    ]);
    assert_eq!(ports(&merged), ["443 HTTPS: infra/b(b.test c.test) infra/c(a.test)"]);
    assert_eq!(merged.refused.len(), 1);
    let (origin, reason) = &merged.refused[0];
    assert_eq!((origin.object.meta.name.as_str(), origin.path.to_string().as_str()), ("a", "spec.servers[0]"));
    assert!(reason.contains("443") && reason.contains("b.test") && !reason.contains("a.test"), "{reason}");
}

#[test]
fn of_one_age_the_first_by_name_keeps_a_host_with_tls() {
    let merged = merged(&[
        gateway("infra/b", &server(443, "HTTPS", "a.test", SIMPLE)),
        gateway("zoo/a", &server(443, "TLS", "a.test", "tls: {mode: PASSTHROUGH}")),
    ]);
    assert_eq!(ports(&merged), ["443 TLS: zoo/a(a.test)"]);
}

#[test]
fn a_host_with_tls_may_be_at_another_port_or_address_as_well() {
    let other = [server(444, "HTTPS", "a.test", SIMPLE), server(443, "HTTPS", "a.test", &format!("bind: 10.0.0.1, {SIMPLE}"))];
    for other in other {
        let merged = merged(&[gateway("infra/a", &server(443, "HTTPS", "a.test", SIMPLE)), gateway("infra/b", &other)]);
        assert_eq!((merged.ports.len(), merged.refused.len()), (2, 0), "{other}");
    }
}

#[test]
fn a_route_configuration_is_named_by_port_and_for_https_by_server() {
    let bound = |more: &str| format!("bind: 10.0.0.1, {more}");
    for (server, expected) in [
        (server(80, "HTTP", "'*'", ""), Some("http.80")),
        (server(80, "GRPC", "'*'", ""), Some("http.80")),
        (server(80, "HTTP", "'*'", "tls: {httpsRedirect: true}"), Some("http.80")),
        (server(80, "HTTP", "'*'", "bind: 10.0.0.1"), Some("http.80.10.0.0.1")),
        (server(443, "HTTPS", "'*'", SIMPLE), Some("https.443.https-443.gw.infra")),
        (server(443, "HTTPS", "'*'", &bound(SIMPLE)), Some("https.443.https-443.gw.infra.10.0.0.1")),
        (server(443, "HTTPS", "'*'", "tls: {mode: PASSTHROUGH}"), None),
        (server(443, "TLS", "'*'", "tls: {mode: PASSTHROUGH}"), None),
        (server(443, "TLS", "'*'", SIMPLE), None),
        (server(80, "TCP", "'*'", ""), None),
    ] {
        assert_eq!(only(&server).route_name.as_deref(), expected, "{server}");
    }
}

#[test]
fn a_server_knows_what_it_does_with_tls() {
    for (server, redirects, terminates_https, tls) in [
        (server(80, "HTTP", "'*'", ""), false, false, false),
        (server(80, "HTTP", "'*'", "tls: {httpsRedirect: true}"), true, false, false),
        (server(443, "HTTPS", "'*'", SIMPLE), false, true, true),
        (server(443, "HTTPS", "'*'", "tls: {mode: PASSTHROUGH}"), false, false, true),
        (server(443, "TLS", "'*'", SIMPLE), false, false, true),
        (server(80, "TCP", "'*'", ""), false, false, false),
    ] {
        let only = only(&server);
        assert_eq!((only.redirects_to_https(), only.terminates_https(), only.is_tls()), (redirects, terminates_https, tls), "{server}");
    }
}

#[test]
fn a_port_of_the_gateways_service_is_served_at_its_target_port() {
    let service = "spec:
  selector: {istio: ingressgateway}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]";
    let documents = [
        kubernetes("Service", "istio-system/istio-ingressgateway", service),
        istio("WorkloadEntry", "istio-system/gw", "{address: 10.0.0.1, labels: {istio: ingressgateway}}"),
        gateway(
            "infra/gw",
            &[server(80, "HTTP", "a.test", ""), server(443, "HTTPS", "a.test", SIMPLE), server(81, "HTTP", "a.test", "")].concat(),
        ),
    ];
    let at = |address: &str| mesh(&documents).gateway(&router(LABELS, address));
    let translated = at("10.0.0.1");
    assert_eq!(ports(&translated), ["8080 HTTP: infra/gw(a.test)", "8443 HTTPS: infra/gw(a.test)", "81 HTTP: infra/gw(a.test)"]);
    assert_eq!(translated.routes.keys().collect::<Vec<_>>(), ["http.8080", "http.81", "https.443.https-443.gw.infra"]);
    // A proxy that is no instance of the Service serves the ports as they are written.
    assert_eq!(at("10.0.0.2").ports.iter().map(|port| port.number).collect::<Vec<_>>(), [80, 443, 81]);
}

#[test]
fn ports_that_are_served_at_one_target_port_are_one_port() {
    let service =
        "spec: {selector: {istio: ingressgateway}, ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 8080}]}";
    let merged = merged(&[
        kubernetes("Service", "istio-system/istio-ingressgateway", service),
        istio("WorkloadEntry", "istio-system/gw", "{address: 10.0.0.1, labels: {istio: ingressgateway}}"),
        gateway("infra/gw", &[server(80, "HTTP", "a.test", ""), server(81, "HTTP", "b.test", "")].concat()),
    ]);
    assert_eq!(ports(&merged), ["8080 HTTP: infra/gw(a.test) infra/gw(b.test)"]);
}

#[test]
fn a_gateway_that_names_services_is_carried_out_by_their_instances_at_their_ports_only() {
    let named = |service: &str| format!("infra/gw, annotations: {{internal.istio.io/gateway-service: {service}.infra.svc.cluster.local}}");
    let servers = [server(80, "HTTP", "a.test", ""), server(81, "HTTP", "a.test", "")].concat();
    for (service, expected) in [("named", vec!["8080 HTTP: infra/gw(a.test)"]), ("other", vec![])] {
        let merged = merged(&[
            kubernetes("Service", "infra/named", "spec: {selector: {app: gw}, ports: [{name: http, port: 80, targetPort: 8080}]}"),
            istio("WorkloadEntry", "infra/gw", "{address: 10.0.0.1, labels: {app: gw}}"),
            gateway(&named(service), &servers),
        ]);
        assert_eq!(ports(&merged), expected, "{service}");
    }
}

#[test]
fn addresses_keep_servers_of_one_port_apart() {
    let merged = merged(&[
        gateway("infra/a", &server(80, "HTTP", "a.test", "bind: 10.0.0.1")),
        gateway("infra/b", &server(80, "TCP", "'*'", "bind: 10.0.0.2")),
        gateway("infra/c", &server(80, "HTTP", "c.test", "")),
        gateway("infra/d", &server(80, "HTTP", "d.test", "bind: 10.0.0.1")),
    ]);
    assert_eq!(
        ports(&merged),
        ["10.0.0.1:80 HTTP: infra/a(a.test) infra/d(d.test)", "10.0.0.2:80 TCP: infra/b(*)", "80 HTTP: infra/c(c.test)"]
    );
    assert_eq!(merged.routes.keys().collect::<Vec<_>>(), ["http.80", "http.80.10.0.0.1"]);
    assert_eq!(refused(&merged), [""; 0]);
}

#[test]
fn server_names_are_sorted_and_stand_there_once_without_namespaces() {
    let server = only(&server(443, "HTTPS", "c.test, shop/b.test, ./b.test, '*.a.test', '*/a.test'", SIMPLE));
    assert_eq!(server.sni_hosts(), ["*.a.test", "a.test", "b.test", "c.test"]);
}

#[test]
fn a_server_knows_where_it_is_written() {
    let both = [server(80, "HTTP", "a.test", ""), server(81, "HTTP", "b.test", "")].concat();
    let merged = merged(&[gateway("infra/gw", &both)]);
    let origin = &merged.ports[1].servers[0].origin;
    assert_eq!(written(origin), "{port: {number: 81, name: http-81, protocol: HTTP}, hosts: [b.test]}");
    assert_eq!(origin.path.to_string(), "spec.servers[1]");
}
