//! Which Sidecar a proxy has, what its listeners are for, where everything else goes, and which rule governs a service.

use std::sync::Arc;

use weir_model::{OutboundPolicy, Proxy};

use crate::support::{entry, istio, made, mesh, mesh_with, names, router, rule, rules, sidecar, written};

/// A Sidecar for a whole namespace.
fn for_all(name: &str) -> String {
    istio("Sidecar", name, "{egress: [{hosts: ['*/*']}]}")
}

/// A Sidecar for workloads with some labels.
fn selecting(name: &str, labels: &str) -> String {
    istio("Sidecar", name, &format!("{{workloadSelector: {{labels: {{{labels}}}}}, egress: [{{hosts: ['*/*']}}]}}"))
}

/// The Sidecar that a proxy has; `-` if it has none.
fn chosen(documents: &[String], proxy: &Proxy) -> String {
    let scope = mesh(documents).scope(proxy);
    let meta = scope.sidecar.as_ref().map(|sidecar| &sidecar.object.meta);
    meta.map_or("-".to_owned(), |meta| format!("{}/{}", meta.namespace, meta.name))
}

/// The rule that governs a host for a proxy in the namespace `shop`; `-` if there is none.
fn governing(documents: &[String], host: &str) -> String {
    let scope = mesh(documents).scope(&sidecar("shop", ""));
    let found = scope.egress[0].virtual_service_of(host);
    found.map_or("-".to_owned(), |rule| format!("{}/{}", rule.namespace, rule.name))
}

#[test]
fn a_sidecar_that_selects_the_workload_goes_before_an_older_one_for_the_namespace() {
    let documents = [
        for_all(&made(2021, "shop/all")),
        selecting(&made(2022, "shop/a"), "app: a, tier: web"),
        selecting(&made(2020, "other/b"), "app: a"),
    ];
    for (labels, expected) in [("app=a,tier=web,version=v1", "shop/a"), ("app=a", "shop/all"), ("", "shop/all")] {
        assert_eq!(chosen(&documents, &sidecar("shop", labels)), expected, "{labels}");
    }
}

#[test]
fn of_sidecars_that_select_a_workload_the_oldest_counts_and_then_the_first_by_name() {
    let by_age = [selecting(&made(2022, "shop/a"), "app: a"), selecting(&made(2021, "shop/b"), "app: a")];
    assert_eq!(chosen(&by_age, &sidecar("shop", "app=a")), "shop/b");
    let by_name = [selecting("shop/d", "app: a"), selecting("shop/c", "app: a")];
    assert_eq!(chosen(&by_name, &sidecar("shop", "app=a")), "shop/c");
}

#[test]
fn of_sidecars_for_a_namespace_the_oldest_counts_and_then_the_first_by_name() {
    assert_eq!(chosen(&[for_all(&made(2022, "shop/a")), for_all(&made(2021, "shop/b"))], &sidecar("shop", "")), "shop/b");
    assert_eq!(chosen(&[for_all("shop/d"), for_all("shop/c")], &sidecar("shop", "")), "shop/c");
}

#[test]
fn without_one_of_its_namespace_a_proxy_has_the_root_namespaces_sidecar() {
    let documents = [for_all("istio-system/root"), for_all("other/all"), selecting("shop/a", "app: a")];
    assert_eq!(chosen(&documents, &sidecar("shop", "app=b")), "istio-system/root");
    assert_eq!(chosen(&documents, &sidecar("shop", "app=a")), "shop/a");
    assert_eq!(chosen(&documents, &sidecar("istio-system", "")), "istio-system/root");
    let mesh = mesh_with("rootNamespace: other", &documents);
    assert_eq!(mesh.scope(&sidecar("shop", "")).sidecar.as_ref().unwrap().object.meta.namespace, "other");
}

#[test]
fn a_selector_in_the_root_namespace_selects_there_alone() {
    let documents = [selecting("istio-system/a", "app: a")];
    assert_eq!(chosen(&documents, &sidecar("shop", "app=a")), "-");
    assert_eq!(chosen(&documents, &sidecar("istio-system", "app=a")), "istio-system/a");
}

#[test]
fn without_any_sidecar_all_is_imported_through_one_listener() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81], ""),
        entry("other/b", "b.test", &[80], ""),
        rule("other/r", "b.test", "host: b.test", ""),
    ]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!((scope.egress.len(), scope.egress[0].port(), scope.egress[0].spec.is_none()), (1, None, true));
    assert_eq!(names(&scope.egress[0].services), ["other/b.test 80", "shop/a.test 80,81"]);
    assert_eq!(rules(&scope.egress[0].virtual_services), ["other/r"]);
}

#[test]
fn a_sidecar_without_egress_imports_all() {
    let mesh = mesh(&[
        istio("Sidecar", "shop/s", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
        entry("shop/a", "a.test", &[80], ""),
        entry("other/b", "b.test", &[80], ""),
    ]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!(names(&scope.services), ["other/b.test 80", "shop/a.test 80"]);
    assert!(scope.egress[0].spec.is_none() && scope.egress[0].origin.is_none());
}

#[test]
fn a_port_has_its_own_listener_or_that_for_all_ports() {
    let listeners = "egress:\n- {port: {number: 80, protocol: HTTP, name: a}, hosts: ['./*']}\n- {hosts: ['other/*']}";
    let mesh =
        mesh(&[istio("Sidecar", "shop/s", listeners), entry("shop/a", "a.test", &[80, 81], ""), entry("other/b", "b.test", &[80, 81], "")]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!(names(&scope.listener_for(80).unwrap().services), ["shop/a.test 80"]);
    assert_eq!(names(&scope.listener_for(81).unwrap().services), ["other/b.test 80,81"]);
}

#[test]
fn a_listener_with_a_port_is_for_no_other_port() {
    let mesh = mesh(&[istio("Sidecar", "shop/s", "{egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}]}")]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!(scope.listener_for(80).unwrap().port(), Some(80));
    assert!(scope.listener_for(81).is_none());
}

#[test]
fn a_listener_knows_where_it_is_written() {
    let first = "port: {number: 80, protocol: HTTP, name: a}\n  hosts: ['./*']";
    let mesh = mesh(&[istio("Sidecar", "shop/s", &format!("egress:\n- {first}\n- hosts: ['other/*']"))]);
    let scope = mesh.scope(&sidecar("shop", ""));
    let places = scope.egress.iter().map(|listener| written(listener.origin.as_ref().unwrap()));
    assert_eq!(places.collect::<Vec<_>>(), ["port: {number: 80, protocol: HTTP, name: a}", "hosts: ['other/*']"]);
}

#[test]
fn a_sidecars_outbound_policy_goes_before_the_meshs() {
    use OutboundPolicy::{AllowAny, RegistryOnly};
    let (any, only) = ("outboundTrafficPolicy: {mode: ALLOW_ANY}", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    for (config, own, expected) in [
        ("", "egress: [{hosts: ['*/*']}]", AllowAny),
        (any, "egress: [{hosts: ['*/*']}]", AllowAny),
        (only, "egress: [{hosts: ['*/*']}]", RegistryOnly),
        (any, only, RegistryOnly),
        (only, any, AllowAny),
        // What is absent from a message is its zero, and that is REGISTRY_ONLY here.
        (any, "outboundTrafficPolicy: {}", RegistryOnly),
    ] {
        let mesh = mesh_with(config, &[istio("Sidecar", "shop/s", own)]);
        assert_eq!(mesh.scope(&sidecar("shop", "")).outbound_policy, expected, "{config} {own}");
    }
    let mesh = mesh_with(only, &[]);
    assert_eq!(mesh.scope(&sidecar("shop", "")).outbound_policy, RegistryOnly);
}

#[test]
fn an_egress_proxy_takes_all_that_is_unknown() {
    let policy =
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: egress.infra.svc.cluster.local, subset: v1, port: {number: 443}}}}";
    let mesh = mesh(&[istio("Sidecar", "shop/s", policy)]);
    let scope = mesh.scope(&sidecar("shop", ""));
    let OutboundPolicy::EgressProxy(to) = &scope.outbound_policy else { panic!("{:?}", scope.outbound_policy) };
    assert_eq!((to.host.as_str(), to.subset.as_str(), to.port_number()), ("egress.infra.svc.cluster.local", "v1", Some(443)));
}

#[test]
fn an_exact_host_governs_before_an_older_wildcard() {
    let documents = [
        entry("shop/a", "a.wild.test, b.wild.test, wild.test", &[80], ""),
        rule(&made(2021, "shop/wild"), "'*.wild.test'", "host: a.wild.test", ""),
        rule(&made(2022, "shop/exact"), "a.wild.test", "host: a.wild.test", ""),
    ];
    for (host, expected) in [("a.wild.test", "shop/exact"), ("b.wild.test", "shop/wild"), ("wild.test", "-")] {
        assert_eq!(governing(&documents, host), expected, "{host}");
    }
}

#[test]
fn a_longer_wildcard_governs_before_an_older_shorter_one() {
    let documents = [
        entry("shop/a", "x.a.wild.test, x.b.wild.test", &[80], ""),
        rule(&made(2021, "shop/short"), "'*.wild.test'", "host: x.a.wild.test", ""),
        rule(&made(2022, "shop/long"), "'*.a.wild.test'", "host: x.a.wild.test", ""),
    ];
    assert_eq!(governing(&documents, "x.a.wild.test"), "shop/long");
    assert_eq!(governing(&documents, "x.b.wild.test"), "shop/short");
}

#[test]
fn of_rules_with_one_host_the_oldest_governs_and_then_the_first_by_name() {
    let service = entry("shop/a", "a.test", &[80], "");
    let by_age = [rule(&made(2022, "shop/a"), "a.test", "host: a.test", ""), rule(&made(2021, "shop/b"), "a.test", "host: a.test", "")];
    assert_eq!(governing(&[vec![service.clone()], by_age.to_vec()].concat(), "a.test"), "shop/b");
    let by_name = [rule("shop/d", "a.test", "host: a.test", ""), rule("zoo/c", "a.test", "host: a.test", "")];
    assert_eq!(governing(&[vec![service], by_name.to_vec()].concat(), "a.test"), "zoo/c");
}

#[test]
fn a_short_name_and_the_full_one_are_one_host() {
    let documents = [
        entry("shop/a", "a.shop.svc.cluster.local", &[80], ""),
        rule(&made(2021, "shop/short"), "a", "host: a", ""),
        rule(&made(2022, "shop/full"), "a.shop.svc.cluster.local", "host: a", ""),
    ];
    assert_eq!(governing(&documents, "a.shop.svc.cluster.local"), "shop/short");
}

#[test]
fn private_rules_govern_before_those_exported_by_name_and_those_before_public_ones() {
    let service = entry("shop/a", "a.test", &[80], "");
    let public = rule(&made(2021, "other/public"), "a.test", "host: a.test", "");
    let named = rule(&made(2022, "other/named"), "a.test", "host: a.test", ", exportTo: [shop]");
    let private = rule(&made(2023, "shop/private"), "a.test", "host: a.test", ", exportTo: ['.']");
    assert_eq!(governing(&[service.clone(), public.clone(), named.clone(), private], "a.test"), "shop/private");
    assert_eq!(governing(&[service.clone(), public.clone(), named], "a.test"), "other/named");
    assert_eq!(governing(&[service, public], "a.test"), "other/public");
}

#[test]
fn a_wildcard_service_is_governed_by_a_wildcard_that_covers_it() {
    let service = entry("shop/a", "'*.a.wild.test'", &[80], "");
    let with = |hosts: &str| [service.clone(), rule("shop/r", hosts, "host: b.test", "")];
    for (hosts, expected) in
        [("'*.a.wild.test'", "shop/r"), ("'*.wild.test'", "shop/r"), ("x.a.wild.test", "-"), ("'*.b.a.wild.test'", "-")]
    {
        assert_eq!(governing(&with(hosts), "*.a.wild.test"), expected, "{hosts}");
    }
}

#[test]
fn a_rule_for_gateways_alone_governs_no_service_of_a_sidecar() {
    let service = entry("shop/a", "a.test", &[80], "");
    for (gateways, expected) in [("[gw]", "-"), ("[gw, mesh]", "shop/r"), ("[mesh]", "shop/r")] {
        let documents = [service.clone(), rule("shop/r", "a.test", "host: a.test", &format!(", gateways: {gateways}"))];
        assert_eq!(governing(&documents, "a.test"), expected, "{gateways}");
    }
}

#[test]
fn routers_ignore_sidecars() {
    let nothing = "{egress: [{hosts: ['~/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}";
    let mesh = mesh(&[
        istio("Sidecar", "istio-system/s", nothing),
        entry("shop/a", "a.test", &[80, 81], ""),
        entry("shop/b", "b.test", &[80], ", exportTo: ['.']"),
    ]);
    let scope = mesh.scope(&router("istio=ingressgateway", "10.0.0.1"));
    assert!(scope.sidecar.is_none());
    assert_eq!(names(&scope.services), ["shop/a.test 80,81"]);
    assert_eq!(scope.outbound_policy, OutboundPolicy::AllowAny);
}

#[test]
fn proxies_of_one_namespace_and_sidecar_share_a_scope() {
    let mesh = mesh(&[selecting("shop/a", "app: a")]);
    let scope = |namespace: &str, labels: &str| mesh.scope(&sidecar(namespace, labels));
    assert!(Arc::ptr_eq(&scope("shop", "app=a"), &scope("shop", "app=a,version=v2")));
    assert!(Arc::ptr_eq(&scope("shop", "app=b"), &scope("shop", "")));
    assert!(!Arc::ptr_eq(&scope("shop", "app=a"), &scope("shop", "app=b")));
    assert!(!Arc::ptr_eq(&scope("shop", ""), &scope("other", "")));
    assert!(!Arc::ptr_eq(&scope("istio-system", ""), &mesh.scope(&router("", "10.0.0.1"))));
}
