//! `outboundTrafficPolicy`: what becomes of requests to hosts that the mesh does not know.

use super::checked;
use super::table::Door::Sidecar;
use super::table::{Group, get, tls};

checked!(that_allows_any, of_the_mesh, of_a_sidecar, of_connections, that_names_a_proxy);

const LISTENER: &str = "{port: {number: $http, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*']}";

/// A Sidecar with a policy; by its name it is before that of the prelude.
fn sidecar(group: Group, policy: &str) -> Group {
    let spec = format!("workloadSelector: {{labels: {{app: client}}}}\negress: [{LISTENER}]\noutboundTrafficPolicy: {policy}");
    group.resource("Sidecar default/a", &spec)
}

fn known(group: Group) -> Group {
    group.service("default/known", "known.test", "HTTP $http", "known")
}

/// What is not intercepted has no address to go on to: it fails, but not because it was forbidden.
fn that_allows_any() -> Group {
    known(Group::new()).case(
        "unknown hosts go on to where they were sent",
        [
            get("/").at_sidecar().host("unknown.test").fails(503, "PassthroughCluster"),
            get("/").at_sidecar().host("192.0.2.1").fails(503, "PassthroughCluster"),
            get("/").at_sidecar().host("known.test").reaches("known"),
        ],
    )
}

fn of_the_mesh() -> Group {
    known(Group::new()).mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n").case(
        "unknown hosts are refused",
        [
            get("/").at_sidecar().host("unknown.test").answers(502, ""),
            get("/").at_sidecar().host("192.0.2.1").answers(502, ""),
            get("/").at_sidecar().host("known.test").reaches("known"),
        ],
    )
}

fn of_a_sidecar() -> Group {
    let group = sidecar(Group::new(), "{mode: ALLOW_ANY}").mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n");
    known(group).case(
        "a Sidecar's own policy counts",
        [
            get("/").at_sidecar().host("unknown.test").fails(503, "PassthroughCluster"),
            get("/").at_sidecar().host("known.test").reaches("known"),
        ],
    )
}

fn of_connections() -> Group {
    Group::new()
        .resource(
            "Sidecar default/a",
            "
workloadSelector: {labels: {app: client}}
egress:
- {port: {number: $tls, name: tls, protocol: TLS}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*']}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
",
        )
        .service("default/known", "known.test", "TLS $tls", "tcp:known")
        .resource(
            "VirtualService default/known",
            "
hosts: [known.test]
tls:
- {match: [{sniHosts: [known.test]}], route: [{destination: {host: known.test}}]}
",
        )
        .case(
            "connections for unknown hosts are closed",
            [
                tls("known.test").at(Sidecar("tls")).reaches("known"),
                tls("unknown.test").at(Sidecar("tls")).reaches_nobody("BlackHoleCluster"),
            ],
        )
}

fn that_names_a_proxy() -> Group {
    let group = sidecar(Group::new(), "{mode: ALLOW_ANY, egressProxy: {host: proxy.test, port: {number: $http}}}");
    known(group).service("default/proxy", "proxy.test", "HTTP $http", "proxy").case(
        "unknown hosts go to the egress proxy",
        [
            get("/").at_sidecar().host("unknown.test").reaches("proxy").sees("host", &["unknown.test"]),
            get("/").at_sidecar().host("known.test").reaches("known"),
        ],
    )
}
