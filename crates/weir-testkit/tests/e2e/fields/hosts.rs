//! Which VirtualService is for the host of a request: names in all their forms, wildcards, several of one host, `exportTo`.

use super::checked;
use super::table::{Group, get};

checked!(at_a_gateway, in_the_mesh, by_namespace, of_several_rules, of_exports);

/// A VirtualService with one rule for everything.
fn rule(group: Group, what: &str, hosts: &str, gateways: &str, action: &str) -> Group {
    group.resource(&format!("VirtualService {what}"), &format!("hosts: [{hosts}]\ngateways: [{gateways}]\nhttp: [{{{action}}}]"))
}

const ANY: &str = "directResponse: {status: 200, body: {string: any}}";

fn at_a_gateway() -> Group {
    let group = rule(Group::new(), "default/any", "'*'", "gw", ANY);
    let group = rule(group, "default/exact", "Shop.test", "gw", "route: [@a]");
    let group = rule(group, "default/wild", "'*.wild.test'", "gw", "route: [@b]");
    let group = rule(group, "default/deep", "'*.deep.wild.test'", "gw", "route: [@c]");
    let group = rule(group, "default/only", "only.wild.test", "gw", "match: [{uri: {exact: /x}}], route: [@a]");
    let group = rule(group, "default/short", "short", "gw", "route: [@c]");
    let group = rule(group, "default/address", "192.0.2.1", "gw", "route: [@c]");
    group
        .case(
            "a host's port and case do not matter, a dot at its end does",
            [
                get("/").at_gateway().host("shop.test").reaches("a"),
                get("/").at_gateway().host("SHOP.Test").reaches("a"),
                get("/").at_gateway().host("shop.test:1234").reaches("a"),
                get("/").at_gateway().host("shop.test.").answers(200, "any"),
                get("/").at_gateway().host("192.0.2.1").reaches("c"),
                get("/").at_gateway().host("192.0.2.1:80").reaches("c"),
            ],
        )
        .case(
            "the longest wildcard wins, and there is no way back from the host that was chosen",
            [
                get("/").at_gateway().host("x.wild.test").reaches("b"),
                get("/").at_gateway().host("x.y.wild.test").reaches("b"),
                get("/").at_gateway().host("X.wild.test:81").reaches("b"),
                get("/").at_gateway().host("x.deep.wild.test").reaches("c"),
                get("/").at_gateway().host("deep.wild.test").reaches("b"),
                get("/").at_gateway().host("wild.test").answers(200, "any"),
                get("/x").at_gateway().host("only.wild.test").reaches("a"),
                get("/y").at_gateway().host("only.wild.test").finds_no_route(),
                get("/").at_gateway().host("other.test").answers(200, "any"),
            ],
        )
        .case(
            "a short name stands for a name of its namespace",
            [
                get("/").at_gateway().host("short.default.svc.cluster.local").reaches("c"),
                get("/").at_gateway().host("short").answers(200, "any"),
            ],
        )
}

fn in_the_mesh() -> Group {
    let group = Group::new()
        .service("default/pair", "pair.default.svc.cluster.local", "HTTP $http", "pair")
        .service("far/far", "far.far.svc.cluster.local", "HTTP $http", "far")
        .service("default/outside", "api.outside.test", "HTTP $http", "outside")
        .service("default/exact", "exact.wild.test", "HTTP $http", "exact")
        .service("default/any", "*.any.test", "HTTP $http", "any")
        .service("default/known", "known.test", "HTTP $http", "known")
        .resource(
            "ServiceEntry default/addressed",
            "
hosts: [addressed.test]
addresses: [192.0.2.7]
resolution: STATIC
ports: [{number: $http, name: main, protocol: HTTP}]
endpoints: [<addressed>]
",
        );
    let group = rule(group, "default/wild", "'*.wild.test'", "mesh", "route: [@a]");
    let group = rule(group, "default/unknown", "unknown.test", "mesh", "route: [@a]");
    let group = rule(group, "default/both", "known.test, beside-known.test", "mesh", "route: [@b]");
    group
        .case(
            "all names of a service",
            [
                get("/").at_sidecar().host("pair").reaches("pair"),
                get("/").at_sidecar().host("pair.default").reaches("pair"),
                get("/").at_sidecar().host("pair.default.svc").reaches("pair"),
                get("/").at_sidecar().host("pair.default.svc.cluster.local").reaches("pair"),
                get("/").at_sidecar().host("pair.default.svc.cluster.local.").reaches("pair"),
                get("/").at_sidecar().host("pair:$http").reaches("pair"),
                get("/").at_sidecar().host("pair:1").reaches("pair"),
                get("/").at_sidecar().host("PAIR.Default").reaches("pair"),
                get("/").at_sidecar().host("far.far").reaches("far"),
                get("/").at_sidecar().host("far.far.svc:1").reaches("far"),
                get("/").at_sidecar().host("far").fails(503, "PassthroughCluster"),
                get("/").at_sidecar().host("API.outside.test.").reaches("outside"),
                get("/").at_sidecar().host("192.0.2.7").reaches("addressed"),
                get("/").at_sidecar().host("192.0.2.7:81").reaches("addressed"),
                get("/").at_sidecar().host("x.y.any.test").reaches("any"),
                get("/").at_sidecar().host("any.test").fails(503, "PassthroughCluster"),
            ],
        )
        .case(
            "a rule for a wildcard is one for each service that it covers",
            [
                get("/").at_sidecar().host("exact.wild.test").reaches("a"),
                get("/").at_sidecar().host("other.wild.test").fails(503, "PassthroughCluster"),
            ],
        )
        .case(
            "a rule for a host that no service has is in force only beside one that some service has",
            [
                get("/").at_sidecar().host("unknown.test").fails(503, "PassthroughCluster"),
                get("/").at_sidecar().host("known.test").reaches("b"),
                get("/").at_sidecar().host("beside-known.test").reaches("b"),
            ],
        )
}

fn by_namespace() -> Group {
    let group = Group::new().service("default/same", "same.default.svc.cluster.local", "HTTP $http", "near").service(
        "far/same",
        "same.far.svc.cluster.local",
        "HTTP $http",
        "far",
    );
    // In the namespace `far` short names are that namespace's, and so is the name of a gateway.
    let group = rule(group, "far/short", "short.test", "default/gw", "route: [{destination: {host: same}}]");
    let group = rule(group, "far/half", "half.test", "default/gw", "route: [{destination: {host: same.default}}]");
    let group = rule(group, "far/whole", "whole.test", "default/gw", "route: [{destination: {host: same.default.svc.cluster.local}}]");
    let group = rule(group, "far/wrong", "wrong.test", "gw", "route: [@a]");
    let group = rule(group, "far/same", "same", "mesh", "route: [@b]");
    group.case(
        "short names are those of the rule's namespace",
        [
            get("/").at_gateway().host("short.test").reaches("far"),
            get("/").at_gateway().host("half.test").fails(503, "outbound|$gateway||same.default"),
            get("/").at_gateway().host("whole.test").reaches("near"),
            get("/").at_gateway().host("wrong.test").finds_no_host(),
            get("/").at_sidecar().host("same").reaches("near"),
            get("/").at_sidecar().host("same.far").reaches("b"),
        ],
    )
}

fn of_several_rules() -> Group {
    let group = Group::new()
        .service("default/pair", "pair.default.svc.cluster.local", "HTTP $http", "pair")
        .service("default/exact", "exact.test", "HTTP $http", "exact")
        .resource_of(
            2020,
            "VirtualService default/z-old",
            "
hosts: [merged.test, pair]
gateways: [gw, mesh]
http:
- {match: [{uri: {exact: /old}}], route: [@a]}
- {match: [{uri: {exact: /both}}], route: [@a]}
- {route: [@b]}
",
        )
        .resource_of(
            2021,
            "VirtualService default/a-young",
            "
hosts: [merged.test, pair.default.svc.cluster.local]
gateways: [gw, mesh]
http:
- {match: [{uri: {exact: /both}}], route: [@c]}
- {match: [{uri: {exact: /young}}], route: [@c]}
- {route: [@c]}
",
        )
        .resource_of(2020, "VirtualService default/wild", "hosts: ['*.test']\ngateways: [mesh]\nhttp: [{route: [@a]}]")
        .resource_of(2021, "VirtualService default/exact", "hosts: [exact.test]\ngateways: [mesh]\nhttp: [{route: [@c]}]");
    let group = rule(group, "default/b-same", "same.test", "gw", "route: [@b]");
    let group = rule(group, "default/a-same", "same.test", "gw", "route: [@a]");
    group
        .case(
            "a gateway merges rules of one host, and moves those for everything to the end",
            [
                get("/old").at_gateway().host("merged.test").reaches("a"),
                get("/both").at_gateway().host("merged.test").reaches("a"),
                get("/young").at_gateway().host("merged.test").reaches("c"),
                get("/any").at_gateway().host("merged.test").reaches("b"),
            ],
        )
        .case("of one age, the names decide", [get("/").at_gateway().host("same.test").reaches("a")])
        .case(
            "in the mesh the oldest alone is in force",
            [
                get("/old").at_sidecar().host("pair").reaches("a"),
                get("/young").at_sidecar().host("pair").reaches("b"),
                get("/both").at_sidecar().host("pair.default.svc.cluster.local").reaches("a"),
            ],
        )
        .case("an exact host is before an older wildcard", [get("/").at_sidecar().host("exact.test").reaches("c")])
}

fn of_exports() -> Group {
    let rule = |group: Group, name: &str, export: &str, instance: &str| {
        let spec = format!(
            "hosts: [{name}.test, {name}.default.svc.cluster.local]\ngateways: [default/gw, mesh]\nexportTo: [{export}]\nhttp: [{{route: [@{instance}]}}]"
        );
        group.resource(&format!("VirtualService far/{name}"), &spec).service(
            &format!("default/{name}"),
            &format!("{name}.default.svc.cluster.local"),
            "HTTP $http",
            "own",
        )
    };
    let group = rule(Group::new(), "private", "'.'", "a");
    let group = rule(group, "to-default", "default", "b");
    let group = rule(group, "to-gateways", "istio-system", "c");
    let group = rule(group, "to-all", "'*'", "a");
    let hidden = |name: &str, export: &str| {
        let ports = "ports: [{number: $http, name: main, protocol: HTTP}]";
        format!("hosts: [{name}.far.svc.cluster.local]\nexportTo: [{export}]\nresolution: STATIC\n{ports}\nendpoints: [<hidden>]")
    };
    let group = group
        .resource("ServiceEntry far/hidden", &hidden("hidden", "'.'"))
        .resource("ServiceEntry default/shut", &hidden("shut", "'~'"))
        .resource("ServiceEntry far/shown", &hidden("shown", "default"));
    let group = group.resource(
        "VirtualService far/to-hidden",
        "hosts: [to-hidden.test]\ngateways: [default/gw]\nhttp: [{route: [{destination: {host: hidden}}]}]",
    );
    group
        .case(
            "a rule is in force for the proxies of the namespaces that it names",
            [
                get("/").at_gateway().host("private.test").finds_no_host(),
                get("/").at_sidecar().host("private").reaches("own"),
                get("/").at_gateway().host("to-default.test").finds_no_host(),
                get("/").at_sidecar().host("to-default").reaches("b"),
                get("/").at_gateway().host("to-gateways.test").reaches("c"),
                get("/").at_sidecar().host("to-gateways").reaches("own"),
                get("/").at_gateway().host("to-all.test").reaches("a"),
                get("/").at_sidecar().host("to-all").reaches("a"),
            ],
        )
        .case(
            "a service is known to the proxies of the namespaces that it names",
            [
                get("/").at_sidecar().host("hidden.far").fails(503, "PassthroughCluster"),
                get("/").at_sidecar().host("shut.far").fails(503, "PassthroughCluster"),
                get("/").at_sidecar().host("shown.far").reaches("hidden"),
                get("/").at_gateway().host("to-hidden.test").fails(503, "outbound|$gateway||hidden.far.svc.cluster.local"),
            ],
        )
}
