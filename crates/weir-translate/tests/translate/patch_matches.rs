//! Which objects, at which proxies, the conditions of an EnvoyFilter's match select.

use weir_model::Proxy;
use weir_translate::{Translation, translate};

use crate::patches::{CONTEXTS, MANAGER, MESH, client, filter, web, with};
use crate::support::{gateway, mesh};

/// A port whose connections are told apart by the server that they ask for.
const PASSED: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: passing, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: [s.test]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passing, namespace: default}
spec:
  hosts: [s.test]
  gateways: [passing]
  tls: [{match: [{port: 8443, sniHosts: [s.test]}], route: [{destination: {host: a.test, port: {number: 80}}}]}]
";

/// The resources that differ from what they are without patches.
fn touched(proxy: &Proxy, text: &str) -> String {
    let (plain, patched) =
        (mesh(&[("mesh.yaml", MESH), ("tls.yaml", PASSED)]), mesh(&[("mesh.yaml", MESH), ("tls.yaml", PASSED), ("f.yaml", text)]));
    let (before, after) = (translate(&plain, proxy), translate(&patched, proxy));
    let names = |made: &Translation| {
        let listeners = made.listeners.iter().map(|made| (made.name.clone(), format!("{made:?}")));
        let routes = made.routes.iter().map(|made| (format!("routes {}", made.name), format!("{made:?}")));
        let clusters = made.clusters.iter().map(|made| (made.name.clone(), format!("{made:?}")));
        listeners.chain(routes).chain(clusters).collect::<Vec<_>>()
    };
    let before = names(&before);
    let changed = names(&after).into_iter().filter(|made| !before.contains(made)).map(|(name, _)| name);
    changed.collect::<Vec<_>>().join(", ")
}

/// What each condition of a match selects, at a gateway, at a workload's sidecar and at a client's.
#[test]
fn each_condition_of_a_match_selects() {
    let chain =
        |condition: &str| ("FILTER_CHAIN", format!("listener: {{filterChain: {{{condition}}}}}"), "{transport_socket_connect_timeout: 1s}");
    let listener = |condition: &str| ("LISTENER", format!("listener: {{{condition}}}"), "{stat_prefix: x}");
    let cluster = |condition: &str| ("CLUSTER", format!("cluster: {{{condition}}}"), "{connect_timeout: 1s}");
    let routes =
        |condition: &str| ("ROUTE_CONFIGURATION", format!("routeConfiguration: {{{condition}}}"), "{response_headers_to_remove: [x]}");
    let host =
        |condition: &str| ("VIRTUAL_HOST", format!("routeConfiguration: {{vhost: {{{condition}}}}}"), "{response_headers_to_remove: [x]}");
    let route = |condition: &str| {
        ("HTTP_ROUTE", format!("routeConfiguration: {{vhost: {{route: {{{condition}}}}}}}"), "{response_headers_to_remove: [x]}")
    };
    let network =
        |condition: &str| ("NETWORK_FILTER", format!("listener: {{filterChain: {{filter: {{name: {condition}}}}}}}"), "{name: x}");
    let http = |condition: &str| {
        (
            "HTTP_FILTER",
            format!("listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: {condition}}}}}}}}}"),
            "{is_optional: true}",
        )
    };
    let table = [
        listener("name: '0.0.0.0_8080'"),
        listener("portNumber: 8080"),
        listener("portNumber: 9090"),
        listener("portNumber: 1"),
        chain("name: no.such"),
        chain("sni: s.test"),
        chain("sni: other.test"),
        chain("transportProtocol: tls"),
        chain("applicationProtocols: 'http/1.1,h2c'"),
        chain("destinationPort: 9090"),
        network(MANAGER),
        network("envoy.filters.network.tcp_proxy"),
        http("envoy.filters.http.router"),
        http("envoy.filters.http.cors"),
        cluster("name: 'outbound|80|v1|a.test'"),
        cluster("service: a.test"),
        cluster("subset: v1"),
        cluster("portNumber: 80"),
        cluster("portNumber: 9090"),
        cluster("service: other.test"),
        routes("name: http.8080"),
        routes("portNumber: 8081"),
        routes("portNumber: 80"),
        routes("portName: http"),
        routes("gateway: default/g"),
        host("name: 'a.test:8080'"),
        host("name: 'a.test:80'"),
        host("domainName: a.test"),
        route("name: first"),
        route("action: REDIRECT"),
        route("action: DIRECT_RESPONSE"),
        route("action: ROUTE"),
        (
            "LISTENER_FILTER",
            "listener: {listenerFilter: envoy.filters.listener.tls_inspector}".to_owned(),
            "{filter_disabled: {any_match: true}}",
        ),
        ("LISTENER_FILTER", "listener: {portNumber: 8443}".to_owned(), "{filter_disabled: {any_match: true}}"),
    ];
    let mut golden = String::new();
    for (kind, condition, value) in table {
        golden += &format!("{kind} {condition}\n");
        for context in CONTEXTS {
            let patch =
                format!("{{applyTo: {kind}, match: {{context: {context}, {condition}}}, patch: {{operation: MERGE, value: {value}}}}}");
            for (who, proxy) in [("gateway", gateway()), ("web", web()), ("client", client())] {
                let touched = touched(&proxy, &filter(&patch));
                if !touched.is_empty() {
                    golden += &format!("  {context} at {who}: {touched}\n");
                }
            }
        }
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn patches_are_for_proxies_that_tell_what_they_ask_for() {
    let removing = |metadata: &str| {
        filter(&format!(
            "{{applyTo: CLUSTER, match: {{proxy: {{metadata: {metadata}}}, cluster: {{name: BlackHoleCluster}}}}, patch: {{operation: REMOVE}}}}"
        ))
    };
    for (metadata, is_for) in [
        ("{NAMESPACE: default}", true),
        ("{NAMESPACE: other}", false),
        ("{INTERCEPTION_MODE: NONE, ISTIO_VERSION: 1.31.0}", true),
        ("{INTERCEPTION_MODE: TPROXY}", false),
        ("{ISTIO_VERSION: 1.5.0}", false),
    ] {
        let made = translate(&with(&[&removing(metadata)]), &client());
        assert_eq!(!made.clusters.iter().any(|cluster| cluster.name == "BlackHoleCluster"), is_for, "{metadata}");
    }
}
