//! VirtualServices: names in full, which gateways and namespaces they are for, and their order.

use std::sync::Arc;

use weir_model::{MESH, VirtualService};

use crate::support::{all_rules, first_rule, istio, made, mesh, mesh_with, rule, rules, written};

/// The only rule of a mesh, of the namespace `shop` and with that spec.
fn only(spec: &str) -> Arc<VirtualService> {
    first_rule(&mesh(&[istio("VirtualService", "shop/r", spec)])).clone()
}

#[test]
fn a_name_without_a_dot_is_that_of_a_service_of_the_namespace() {
    for (written, expected) in [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local"),
        ("'*.a.test'", "*.a.test"),
        ("10.0.0.1", "10.0.0.1"),
        ("'::1'", "::1"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
    ] {
        assert_eq!(only(&format!("{{hosts: [{written}], http: [{{route: [{{destination: {{host: b}}}}]}}]}}")).hosts, [expected]);
    }
    let for_gateway = only("{hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: b}}]}]}");
    assert_eq!(for_gateway.hosts, ["*"]);
}

#[test]
fn a_mesh_may_have_another_domain() {
    let objects = first_rule(&mesh(&[rule("shop/r", "reviews", "host: ratings", "")])).object.clone();
    let mesh = weir_model::MeshSnapshot::new(&[objects], Arc::default(), "mesh.test");
    assert_eq!(first_rule(&mesh).hosts, ["reviews.shop.svc.mesh.test"]);
}

#[test]
fn destinations_of_every_kind_of_rule_are_written_in_full() {
    let rule = only(
        "hosts: [a]
http:
- route: [{destination: {host: b, subset: v1, port: {number: 81}}}]
  mirror: {host: c}
- route: [{destination: {host: b}}]
  mirrors: [{destination: {host: d}}]
tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: e}}]}]
tcp: [{route: [{destination: {host: f}}]}]",
    );
    let found = rule.destinations_for("shop").map(|destination| destination.host.clone());
    assert_eq!(found.collect::<Vec<_>>(), ["b", "c", "b", "d", "e", "f"].map(|name| format!("{name}.shop.svc.cluster.local")));
    let first = rule.http[0].spec.route[0].destination.as_ref().unwrap();
    assert_eq!((first.subset.as_str(), first.port_number()), ("v1", Some(81)));
    // Server names are what clients send, never short.
    assert_eq!(rule.tls[0].spec.r#match[0].sni_hosts, ["a"]);
}

#[test]
fn a_gateways_short_name_is_of_the_rules_namespace() {
    for (written, expected) in
        [("gw", "shop/gw"), ("infra/gw", "infra/gw"), ("mesh", MESH), ("gw.infra.svc.cluster.local", "infra/gw"), ("gw.infra", "infra/gw")]
    {
        let spec = "hosts: [a.test]
gateways: […]
http: [{match: [{gateways: […]}], route: [{destination: {host: b}}]}]
tls: [{match: [{sniHosts: [a.test], gateways: […]}], route: [{destination: {host: b}}]}]
tcp: [{match: [{gateways: […]}], route: [{destination: {host: b}}]}]";
        let rule = only(&spec.replace('…', written));
        assert_eq!(rule.gateways, [expected]);
        assert_eq!(rule.http[0].spec.r#match[0].gateways, [expected]);
        assert_eq!(rule.tls[0].spec.r#match[0].gateways, [expected]);
        assert_eq!(rule.tcp[0].spec.r#match[0].gateways, [expected]);
    }
}

#[test]
fn a_rule_is_for_sidecars_unless_it_names_gateways_alone() {
    for (gateways, mesh_too, on_gateway) in
        [("", true, false), (", gateways: [mesh]", true, false), (", gateways: [gw]", false, true), (", gateways: [gw, mesh]", true, true)]
    {
        let mesh = mesh(&[rule("shop/r", "a.test", "host: b.test", gateways)]);
        assert_eq!(!mesh.virtual_services.of_gateway(MESH, "shop").is_empty(), mesh_too, "{gateways}");
        assert_eq!(!mesh.virtual_services.of_gateway("shop/gw", "shop").is_empty(), on_gateway, "{gateways}");
        assert_eq!(first_rule(&mesh).applies_to_mesh(), mesh_too, "{gateways}");
    }
}

#[test]
fn private_rules_come_first_then_those_exported_by_name_then_public_ones_each_by_age() {
    let with = |name: &str, export_to: &str| rule(name, "a.test", "host: b.test", &format!(", exportTo: [{export_to}]"));
    let mesh = mesh(&[
        with(&made(2021, "shop/public-old"), "'*'"),
        with(&made(2026, "shop/public-young"), "'*'"),
        with(&made(2024, "other/named-young"), "shop"),
        with(&made(2022, "other/named-old"), "shop, third"),
        with(&made(2025, "shop/private-young"), "'.'"),
        with(&made(2023, "shop/private-old"), "shop"),
        with(&made(2020, "other/elsewhere"), "'.'"),
    ]);
    let expected =
        ["shop/private-old", "shop/private-young", "other/named-old", "other/named-young", "shop/public-old", "shop/public-young"];
    assert_eq!(rules(&mesh.virtual_services.of_gateway(MESH, "shop")), expected);
    assert_eq!(rules(&mesh.virtual_services.of_gateway(MESH, "third")), ["other/named-old", "shop/public-old", "shop/public-young"]);
}

#[test]
fn of_one_age_names_decide_and_then_namespaces() {
    let with = |name: &str| rule(name, "a.test", "host: b.test", "");
    let mesh = mesh(&[with("b/y"), with("a/y"), with("a/z"), with("z/x"), with(&made(2021, "a/w"))]);
    assert_eq!(rules(&all_rules(&mesh)), ["z/x", "a/y", "b/y", "a/z", "a/w"]);
}

#[test]
fn export_to_says_which_namespaces_see_a_rule() {
    for (config, export_to, seen_by) in [
        ("", "", "shop other"),
        ("", ", exportTo: ['.']", "shop"),
        ("", ", exportTo: [other]", "other"),
        ("defaultVirtualServiceExportTo: ['.']", "", "shop"),
        ("defaultVirtualServiceExportTo: ['.']", ", exportTo: ['*']", "shop other"),
    ] {
        let mesh = mesh_with(config, &[rule("shop/r", "a.test", "host: b.test", export_to)]);
        let sees = |namespace: &&str| !mesh.virtual_services.of_gateway(MESH, namespace).is_empty();
        assert_eq!(["shop", "other"].into_iter().filter(sees).collect::<Vec<_>>().join(" "), seen_by, "{config} {export_to}");
    }
}

#[test]
fn a_rule_without_hosts_is_for_others_to_delegate_to_and_applies_to_nothing_itself() {
    let mesh = mesh(&[
        istio("VirtualService", "shop/root", "{hosts: [a.test], http: [{match: [{uri: {prefix: /a}}], delegate: {name: part}}]}"),
        istio("VirtualService", "shop/part", "{http: [{route: [{destination: {host: b.test}}]}]}"),
    ]);
    assert_eq!(rules(&all_rules(&mesh)), ["shop/root"]);
    assert_eq!(rules(&mesh.virtual_services.of_gateway(MESH, "shop")), ["shop/root"]);
}

#[test]
fn a_rule_knows_where_it_is_written() {
    let rule = only(
        "hosts: [a.test]
http:
- {match: [{uri: {prefix: /a}}], route: [{destination: {host: b}}]}
- {route: [{destination: {host: c}}]}
tls:
- {match: [{sniHosts: [a.test]}], route: [{destination: {host: d}}]}
tcp:
- {route: [{destination: {host: e}}]}",
    );
    assert_eq!(written(&rule.http[1].origin), "{route: [{destination: {host: c}}]}");
    assert_eq!(written(&rule.tls[0].origin), "{match: [{sniHosts: [a.test]}], route: [{destination: {host: d}}]}");
    assert_eq!(written(&rule.tcp[0].origin), "{route: [{destination: {host: e}}]}");
    assert_eq!(rule.http[0].origin.path.to_string(), "spec.http[0]");
}
