//! What a Sidecar lets its workloads see: the `hosts` of its egress listeners.

use super::checked;
use super::table::Door::Sidecar;
use super::table::{Call, Group, Speech, get};

checked!(of_egress_hosts);

/// By its name this one is before that of the prelude, and of two the first counts.
const SIDECAR: &str = "
workloadSelector: {labels: {app: client}}
egress:
- {port: {number: $own, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['./*']}
- {port: {number: $all, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*']}
- {port: {number: $far, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['far/*']}
- {port: {number: $none, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['~/*', './*']}
- {port: {number: $wild, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*.wild.test']}
- {port: {number: $named, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['far/named.test', './*.x.test']}
- {port: {number: $without, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: ['*/*', '~far/*', '~/out.test']}
- {hosts: ['rest/*']}
";

fn at(port: &'static str, host: &'static str) -> Call {
    get("/").at(Sidecar(port)).host(host)
}

fn of_egress_hosts() -> Group {
    const UNKNOWN: &str = "PassthroughCluster";
    let mut group = Group::new().resource("Sidecar default/a", SIDECAR);
    for port in ["own", "all", "far", "none", "without"] {
        group = group
            .service(&format!("default/{port}-near"), &format!("near.{port}.test"), &format!("HTTP ${port}"), "near")
            .service(&format!("far/{port}-far"), &format!("far.{port}.test"), &format!("HTTP ${port}"), "far")
            .service(&format!("default/{port}-ruled"), &format!("ruled.{port}.test"), &format!("HTTP ${port}"), "near")
            .resource(
                &format!("VirtualService default/{port}-to-far"),
                &format!("hosts: [near.{port}.test]\nhttp: [{{match: [{{uri: {{exact: /to-far}}}}], route: [{{destination: {{host: far.{port}.test}}}}]}}, {{route: [{{destination: {{host: near.{port}.test}}}}]}}]"),
            )
            .resource(
                &format!("VirtualService far/{port}-ruled"),
                &format!("hosts: [ruled.{port}.test]\nhttp: [{{route: [{{destination: {{host: far.{port}.test}}}}]}}]"),
            );
    }
    group
        .service("default/wild-near", "near.wild.test", "HTTP $wild", "near")
        .service("far/wild-far", "far.deep.wild.test", "HTTP $wild", "far")
        .service("far/wild-other", "far.other.test", "HTTP $wild", "far")
        .service("far/named", "named.test", "HTTP $named", "far")
        .service("far/unnamed", "unnamed.test", "HTTP $named", "far")
        .service("default/x", "y.x.test", "HTTP $named", "near")
        .service("far/x", "z.x.test", "HTTP $named", "far")
        .service("default/out", "out.test", "HTTP $without", "near")
        .service("rest/rest", "rest.test", "HTTP $rest", "far")
        .service("default/unopened", "unopened.test", "HTTP $unopened", "near")
        .case(
            "the own namespace",
            [
                at("own", "near.own.test").reaches("near"),
                at("own", "far.own.test").fails(503, UNKNOWN),
                // What a rule leads to is imported with it; a rule of another namespace is not.
                get("/to-far").at(Sidecar("own")).host("near.own.test").reaches("far"),
                at("own", "ruled.own.test").reaches("near"),
                // The service has another port.
                at("own", "near.all.test").fails(503, UNKNOWN),
            ],
        )
        .case(
            "all namespaces",
            [
                at("all", "near.all.test").reaches("near"),
                at("all", "far.all.test").reaches("far"),
                at("all", "ruled.all.test").reaches("far"),
            ],
        )
        .case("another namespace", [at("far", "far.far.test").reaches("far"), at("far", "near.far.test").fails(503, UNKNOWN)])
        .case(
            "all but one namespace and one host",
            [
                at("without", "near.without.test").reaches("near"),
                at("without", "far.without.test").fails(503, UNKNOWN),
                at("without", "ruled.without.test").reaches("near"),
                at("without", "out.test").fails(503, UNKNOWN),
            ],
        )
        .case("nothing", [Call { speech: Speech::Tcp, ..at("none", "").reaches_nobody("NoListener") }])
        .case(
            "wildcards and names",
            [
                at("wild", "near.wild.test").reaches("near"),
                at("wild", "far.deep.wild.test").reaches("far"),
                at("wild", "far.other.test").fails(503, UNKNOWN),
                at("named", "named.test").reaches("far"),
                at("named", "unnamed.test").fails(503, UNKNOWN),
                at("named", "y.x.test").reaches("near"),
                at("named", "z.x.test").fails(503, UNKNOWN),
            ],
        )
        .case(
            "a listener without a port opens those of its services",
            [at("rest", "rest.test").reaches("far"), Call { speech: Speech::Tcp, ..at("unopened", "").reaches_nobody("NoListener") }],
        )
}
