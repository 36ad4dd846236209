//! `tcp` and `tls` rules: which connections they are for, and where those go.

use super::checked;
use super::table::Door::{Gateway, Sidecar};
use super::table::{Call, Group, Speech, tcp, tls};

checked!(of_a_sidecar, of_server_names, of_gateways);

/// A TCP listener of the Sidecar.
fn listener(port: &str, protocol: &str, bind: &str) -> String {
    format!("- {{port: {{number: ${port}, name: main, protocol: {protocol}}}, bind: {bind}, captureMode: NONE, hosts: ['*/*']}}\n")
}

/// A Sidecar with these listeners; by its name it is before that of the prelude.
fn sidecar(listeners: &[String]) -> Group {
    let spec = format!("workloadSelector: {{labels: {{app: client}}}}\negress:\n{}", listeners.concat());
    Group::new().resource("Sidecar default/a", &spec)
}

fn rule(group: Group, host: &str, rules: &str) -> Group {
    let rules: Vec<&str> = rules.trim_matches('\n').lines().collect();
    group.resource(&format!("VirtualService default/{host}"), &format!("hosts: [{host}]\ntcp:\n{}", rules.join("\n")))
}

fn of_a_sidecar() -> Group {
    const PORTS: &[&str] = &["weights", "labels", "namespace", "port", "gateways", "blocks", "missing"];
    let mut listeners: Vec<String> = PORTS.iter().map(|port| listener(port, "TCP", "127.0.0.1")).collect();
    listeners.push(listener("subnets", "TCP", "0.0.0.0"));
    listeners.push(listener("away", "TCP", "127.0.0.1"));
    let mut group = sidecar(&listeners);
    for port in PORTS.iter().chain(&["subnets"]) {
        group = group.service(&format!("default/{port}"), &format!("{port}.test"), &format!("TCP ${port}"), "tcp:own");
    }
    group = group.service("default/one", "one.test", "TCP $away", "tcp:one").service("default/two", "two.test", "TCP $away", "tcp:two");
    group = rule(
        group,
        "weights.test",
        "
- {route: [{destination: {host: one.test}, weight: 3}, {destination: {host: two.test}, weight: 1}]}
",
    );
    group = rule(
        group,
        "labels.test",
        "
- {match: [{sourceLabels: {app: other}}], route: [{destination: {host: one.test}}]}
- {match: [{sourceLabels: {app: client}}], route: [{destination: {host: two.test}}]}
",
    );
    group = rule(
        group,
        "namespace.test",
        "
- {match: [{sourceNamespace: other}], route: [{destination: {host: one.test}}]}
- {match: [{sourceNamespace: default}], route: [{destination: {host: two.test}}]}
",
    );
    group = rule(
        group,
        "port.test",
        "
- {match: [{port: 1}], route: [{destination: {host: one.test}}]}
- {match: [{port: $port}], route: [{destination: {host: two.test}}]}
",
    );
    group = group.resource(
        "VirtualService default/gateways.test",
        "
hosts: [gateways.test]
gateways: [gw, mesh]
tcp:
- {match: [{gateways: [gw]}], route: [{destination: {host: one.test}}]}
- {match: [{gateways: [mesh], sourceLabels: {app: other}}], route: [{destination: {host: one.test}}]}
- {match: [{gateways: [mesh], sourceLabels: {app: client}}], route: [{destination: {host: two.test}}]}
",
    );
    // The conditions of a block count together, its blocks are alternatives; where none is right, the service itself is meant.
    group = rule(
        group,
        "blocks.test",
        "
- {match: [{port: $blocks, sourceLabels: {app: other}}, {port: 1, sourceLabels: {app: client}}], route: [{destination: {host: one.test}}]}
",
    );
    group = rule(
        group,
        "missing.test",
        "
- {route: [{destination: {host: nowhere.test}}]}
",
    );
    group = rule(
        group,
        "subnets.test",
        "
- {match: [{destinationSubnets: [127.0.0.1]}], route: [{destination: {host: one.test}}]}
- {match: [{destinationSubnets: [127.0.2.0/24, 127.0.3.0/24]}], route: [{destination: {host: two.test}}]}
",
    );
    let at = |port: &'static str| tcp().at(Sidecar(port));
    group
        .case("weights", [at("weights").shares(&[("one", 3), ("two", 1)])])
        .case(
            "who it comes from, and where",
            [
                at("labels").reaches("two"),
                at("namespace").reaches("two"),
                at("port").reaches("two"),
                at("gateways").reaches("two"),
                at("blocks").reaches("own"),
            ],
        )
        .case("a destination that is not there", [at("missing").reaches_nobody("outbound|$missing||nowhere.test")])
        .case(
            "the address that it goes to",
            [
                at("subnets").reaches("one"),
                at("subnets").address("127.0.2.9").reaches("two"),
                at("subnets").address("127.0.3.9").reaches("two"),
                at("subnets").address("127.0.4.9").reaches("own"),
            ],
        )
}

fn of_server_names() -> Group {
    let group = sidecar(&[listener("tls", "TLS", "127.0.0.1"), listener("plain", "HTTPS", "127.0.0.1"), listener("subnet", "TLS", "0.0.0.0")])
        .service("default/a", "a.test", "TLS $tls", "tcp:a-tls")
        .service("default/b", "b.test", "TLS $tls", "tcp:b-tls")
        .service("default/w", "*.w.test", "TLS $tls", "tcp:w-tls")
        .service("default/c", "c.test", "HTTPS $plain", "tcp:c-tls")
        .service("default/s", "s.test", "TLS $subnet", "tcp:s-tls")
        .resource(
            "VirtualService default/w",
            "
hosts: ['*.w.test', a.test]
tls:
- {match: [{sniHosts: [x.w.test]}], route: [{destination: {host: b.test}}]}
- {match: [{sniHosts: ['*.w.test']}], route: [{destination: {host: c.test}}]}
- {match: [{sniHosts: [a.test]}], route: [{destination: {host: a.test}}]}
",
        )
        .resource(
            "VirtualService default/b",
            "
hosts: [b.test]
gateways: [gw, mesh]
tls:
- {match: [{sniHosts: [b.test], sourceLabels: {app: other}}], route: [{destination: {host: a.test}}]}
- {match: [{sniHosts: [b.test], sourceNamespace: other}], route: [{destination: {host: a.test}}]}
- {match: [{sniHosts: [b.test], gateways: [gw]}], route: [{destination: {host: a.test}}]}
- {match: [{sniHosts: [b.test], port: 1}], route: [{destination: {host: a.test}}]}
- {match: [{sniHosts: [b.test], port: $tls, sourceLabels: {app: client}, sourceNamespace: default, gateways: [mesh]}], route: [{destination: {host: c.test}}]}
",
        )
        .resource(
            "VirtualService default/s",
            "
hosts: [s.test]
tls:
- {match: [{sniHosts: [s.test], destinationSubnets: [127.0.2.0/24]}], route: [{destination: {host: a.test}}]}
- {match: [{sniHosts: [s.test], destinationSubnets: [127.0.3.0/24]}], route: [{destination: {host: b.test}}]}
",
        );
    let at = |port: &'static str, name: &'static str| tls(name).at(Sidecar(port));
    group
        .case(
            "the longest name wins",
            [
                at("tls", "a.test").reaches("a-tls"),
                at("tls", "A.test").reaches("a-tls"),
                at("tls", "x.w.test").reaches("b-tls"),
                at("tls", "q.w.test").reaches("c-tls"),
                at("tls", "q.x.w.test").reaches("c-tls"),
                at("tls", "w.test").reaches_nobody("PassthroughCluster"),
                at("tls", "unknown.test").reaches_nobody("PassthroughCluster"),
                Call { speech: Speech::Tls(None), ..at("tls", "") }.reaches_nobody("PassthroughCluster"),
            ],
        )
        .case("all conditions of a block count", [at("tls", "b.test").reaches("c-tls")])
        .case(
            "a service without a rule takes every name",
            [at("plain", "c.test").reaches("c-tls"), at("plain", "other.test").reaches("c-tls")],
        )
        .case(
            "the address that it goes to",
            [
                at("subnet", "s.test").address("127.0.2.1").reaches("a-tls"),
                at("subnet", "s.test").address("127.0.3.1").reaches("b-tls"),
                at("subnet", "s.test").address("127.0.4.1").reaches_nobody("PassthroughCluster"),
            ],
        )
}

fn of_gateways() -> Group {
    let group = Group::new()
        .resource(
            "Gateway default/gt",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $weights, name: tcp-weights, protocol: TCP}, hosts: ['*']}
- {port: {number: $named, name: tcp-named, protocol: TCP}, hosts: ['*']}
- {port: {number: $unruled, name: tcp-unruled, protocol: TCP}, hosts: ['*']}
- {port: {number: $mesh, name: tcp-mesh, protocol: TCP}, hosts: ['*']}
- {port: {number: $tls, name: tls, protocol: TLS}, hosts: [a.test, '*.w.test'], tls: {mode: PASSTHROUGH}}
- {port: {number: $other, name: tls-other, protocol: TLS}, hosts: [a.test], tls: {mode: PASSTHROUGH}}
- {port: {number: $http-only, name: tls-http, protocol: TLS}, hosts: [h.test], tls: {mode: PASSTHROUGH}}
",
        )
        .service("default/one", "one.test", "TCP $tcp", "tcp:one")
        .service("default/two", "two.test", "TCP $tcp", "tcp:two")
        .service("default/three", "three.test", "TCP $tcp", "tcp:three")
        .resource(
            "VirtualService default/t",
            "
hosts: [tcp.test]
gateways: [gt, mesh]
tcp:
- {match: [{port: $weights}], route: [{destination: {host: one.test}, weight: 3}, {destination: {host: two.test}, weight: 1}]}
- {match: [{port: $named, gateways: [gt], sourceLabels: {app: nobody}}], route: [{destination: {host: two.test}}]}
- {match: [{port: $mesh, gateways: [mesh]}], route: [{destination: {host: two.test}}]}
",
        )
        .resource(
            "VirtualService default/s",
            "
hosts: [a.test, '*.w.test']
gateways: [gt]
tls:
- {match: [{sniHosts: [share.w.test], sourceLabels: {app: nobody}}], route: [{destination: {host: one.test}, weight: 1}, {destination: {host: three.test}, weight: 1}]}
- {match: [{sniHosts: [a.test], port: $tls}, {sniHosts: [x.w.test]}], route: [{destination: {host: one.test}}]}
- {match: [{sniHosts: [a.test]}], route: [{destination: {host: three.test}}]}
- {match: [{sniHosts: ['*.w.test']}], route: [{destination: {host: two.test}}]}
",
        )
        .resource("VirtualService default/h", "hosts: [h.test]\ngateways: [gt]\nhttp: [{route: [@a]}]");
    let at = |port: &'static str| tcp().at(Gateway(port));
    let tls_at = |port: &'static str, name: &'static str| tls(name).at(Gateway(port));
    group
        .case(
            "a gateway looks at the port and at its own name only",
            [
                at("weights").shares(&[("one", 3), ("two", 1)]),
                at("named").reaches("two"),
                at("unruled").reaches_nobody("NoListener"),
                at("mesh").reaches_nobody("NoListener"),
            ],
        )
        .case(
            "by server name",
            [
                tls_at("tls", "a.test").reaches("one"),
                tls_at("tls", "x.w.test").reaches("one"),
                tls_at("tls", "y.w.test").reaches("two"),
                tls_at("tls", "share.w.test").shares(&[("one", 1), ("three", 1)]),
                tls_at("tls", "unknown.test").reaches_nobody("NoFilterChain"),
                tls_at("other", "a.test").reaches("three"),
                tls_at("http-only", "h.test").reaches_nobody("NoListener"),
            ],
        )
}
