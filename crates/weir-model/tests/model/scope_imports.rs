//! What a Sidecar's egress listeners import: services and rules by namespace, host and port, and what rules send to.

use weir_model::{MeshSnapshot, Registry};

use crate::support::{entry, istio, kubernetes, made, mesh, names, router, rule, rules, sidecar};

/// A Sidecar of the namespace `shop` with these listeners.
fn importing(egress: &str) -> String {
    istio("Sidecar", "shop/s", &format!("{{egress: [{egress}]}}"))
}

/// All services that a proxy in the namespace `shop` may reach.
fn reached(mesh: &MeshSnapshot) -> Vec<String> {
    names(&mesh.scope(&sidecar("shop", "")).services)
}

/// Those of them with a host.
fn reached_of(documents: &[String], host: &str) -> String {
    let scope = mesh(documents).scope(&sidecar("shop", ""));
    scope.service(host).map_or("-".to_owned(), |service| names(std::slice::from_ref(service)).concat())
}

#[test]
fn services_are_imported_by_namespace_and_host() {
    let services = [
        entry("shop/a", "a.test", &[80], ""),
        entry("shop/b", "b.test", &[80], ""),
        entry("other/c", "c.test, a.wild.test", &[80], ""),
        entry("third/d", "d.test", &[80], ""),
    ];
    for (hosts, expected) in [
        ("'*/*'", "a.test a.wild.test b.test c.test d.test"),
        ("'./*'", "a.test b.test"),
        ("shop/*", "a.test b.test"),
        ("other/*", "a.wild.test c.test"),
        ("./a.test", "a.test"),
        ("./A.Test", "a.test"),
        ("./c.test", ""),
        ("'*/c.test'", "c.test"),
        ("'*/*.wild.test'", "a.wild.test"),
        ("'*/wild.test'", ""),
        ("./a.test, other/c.test", "a.test c.test"),
        ("./a.test, '*/d.test'", "a.test d.test"),
        ("nowhere/*", ""),
        ("~/*", ""),
        ("~/*, ./a.test", ""),
        ("'*/*', '~other/*'", "a.test b.test d.test"),
        ("'*/*', ~./a.test, '~other/*.wild.test'", "b.test c.test d.test"),
        ("'*/*', ~/c.test, ~shop/d.test", "a.test a.wild.test b.test d.test"),
        ("'~other/*'", ""),
    ] {
        let mesh = mesh(&[services.concat(), importing(&format!("{{hosts: [{hosts}]}}"))]);
        let scope = mesh.scope(&sidecar("shop", ""));
        let mut hosts_found: Vec<&str> = scope.services.iter().map(|service| &*service.hostname).collect();
        hosts_found.sort_unstable();
        assert_eq!(hosts_found.join(" "), expected, "{hosts}");
    }
}

#[test]
fn a_wildcard_imports_names_of_any_depth_and_wildcards_below_it() {
    let services = entry("other/a", "'*.b.wild.test', c.wild.test, wild.test, '*.test'", &[80], "");
    let mesh = mesh(&[services, importing("{hosts: ['*/*.wild.test']}")]);
    assert_eq!(reached(&mesh), ["other/*.b.wild.test 80", "other/c.wild.test 80"]);
}

#[test]
fn an_exact_name_does_not_import_the_wildcard_service_that_covers_it() {
    let mesh = mesh(&[entry("other/a", "'*.wild.test'", &[80], ""), importing("{hosts: ['*/a.wild.test']}")]);
    assert_eq!(reached(&mesh), [""; 0]);
}

#[test]
fn the_root_namespaces_sidecar_means_the_proxys_namespace_by_a_dot() {
    let mesh = mesh(&[
        istio("Sidecar", "istio-system/root", "{egress: [{hosts: ['./*']}]}"),
        entry("istio-system/r", "r.test", &[80], ""),
        entry("shop/a", "a.test", &[80], ""),
    ]);
    assert_eq!(reached(&mesh), ["shop/a.test 80"]);
}

#[test]
fn a_rule_is_left_out_if_all_of_its_hosts_are() {
    let rules = [rule("other/one", "a.test", "host: x.test", ""), rule("other/both", "a.test, b.test", "host: x.test", "")].concat();
    for (hosts, expected) in [("'*/*'", "both one"), ("'*/*', ~other/a.test", "both"), ("'*/*', '~other/*'", "")] {
        let mesh = mesh(&[rules.clone(), importing(&format!("{{hosts: [{hosts}]}}"))]);
        let scope = mesh.scope(&sidecar("shop", ""));
        let mut found: Vec<&str> = scope.egress[0].virtual_services.iter().map(|rule| rule.name.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), expected, "{hosts}");
    }
}

#[test]
fn a_rule_is_imported_if_one_of_its_hosts_shares_a_name_with_an_import() {
    for (hosts, imports, expected) in [
        ("a.test", "'*/a.test'", true),
        ("a.test", "'*/b.test'", false),
        ("'*.test'", "'*/a.test'", true),
        ("a.test", "'*/*.test'", true),
        ("'*.a.test'", "'*/*.test'", true),
        ("'*.test'", "'*/*.a.test'", true),
        ("'*.a.test'", "'*/a.test'", false),
        ("a.test, b.test", "'*/b.test'", true),
        ("a.test", "other/*", true),
        ("a.test", "'./*'", false),
        ("a.test", "~/*", false),
    ] {
        let mesh = mesh(&[rule("other/r", hosts, "host: x.test", ""), importing(&format!("{{hosts: [{imports}]}}"))]);
        let scope = mesh.scope(&sidecar("shop", ""));
        assert_eq!(!scope.egress[0].virtual_services.is_empty(), expected, "{hosts} by {imports}");
    }
}

#[test]
fn a_listener_with_a_port_imports_services_that_have_it_with_that_port_only() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81], ""),
        entry("shop/b", "b.test", &[81], ""),
        entry("shop/c", "c.test", &[80], ""),
        importing("{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}"),
    ]);
    let expected = ["shop/a.test 80", "shop/c.test 80"];
    assert_eq!(names(&mesh.scope(&sidecar("shop", "")).egress[0].services), expected);
    assert_eq!(reached(&mesh), expected);
}

#[test]
fn a_proxy_reaches_the_ports_of_all_its_listeners() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81, 82], ""),
        importing(
            "{port: {number: 81, protocol: HTTP, name: a}, hosts: ['./*']}, {port: {number: 80, protocol: HTTP, name: b}, hosts: ['./*']}",
        ),
    ]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!(scope.egress.iter().map(|listener| names(&listener.services)).collect::<Vec<_>>(), [["shop/a.test 81"], ["shop/a.test 80"]]);
    assert_eq!(reached(&mesh), ["shop/a.test 81,80"]);
}

#[test]
fn a_proxy_for_http_imports_services_with_all_their_ports() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81], ""),
        importing("{port: {number: 3128, protocol: HTTP_PROXY, name: a}, bind: 127.0.0.1, hosts: ['*/*']}"),
    ]);
    assert_eq!(reached(&mesh), ["shop/a.test 80,81"]);
}

#[test]
fn what_an_imported_rule_sends_to_is_imported_with_the_ports_that_it_names() {
    let services = [entry("shop/a", "a.test", &[80], ""), entry("other/b", "b.test", &[80, 81, 82], "")].concat();
    for (to, expected) in [
        ("host: b.test, port: {number: 81}", "other/b.test 81"),
        ("host: b.test", "other/b.test 80,81,82"),
        ("host: b.test, port: {number: 83}", "-"),
        ("host: c.test", "-"),
    ] {
        let documents = [services.clone(), rule("shop/r", "a.test", to, ""), importing("{hosts: ['./*']}")];
        assert_eq!(reached_of(&documents, "b.test"), expected, "{to}");
    }
}

#[test]
fn destinations_of_every_kind_of_rule_and_mirrors_are_imported() {
    let routes = "hosts: [a.test]
http:
- route: [{destination: {host: h1.test, port: {number: 80}}, weight: 50}, {destination: {host: h2.test, port: {number: 80}}, weight: 50}]
  mirror: {host: m1.test, port: {number: 80}}
- route: [{destination: {host: h3.test, port: {number: 80}}}]
  mirrors: [{destination: {host: m2.test, port: {number: 80}}}]
tls: [{match: [{sniHosts: [a.test]}], route: [{destination: {host: l1.test, port: {number: 80}}}]}]
tcp: [{route: [{destination: {host: t1.test, port: {number: 80}}}]}]";
    let hosts = ["h1.test", "h2.test", "h3.test", "l1.test", "m1.test", "m2.test", "t1.test"];
    let mesh = mesh(&[
        entry("other/all", &hosts.join(", "), &[80, 81], ""),
        istio("VirtualService", "shop/r", routes),
        importing("{hosts: ['./*']}"),
    ]);
    assert_eq!(reached(&mesh), hosts.map(|host| format!("other/{host} 80")));
}

#[test]
fn a_destinations_ports_are_added_to_those_that_are_imported_by_host() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81], ""),
        rule("shop/r", "a.test", "host: a.test, port: {number: 81}", ""),
        importing("{port: {number: 80, protocol: HTTP, name: a}, hosts: ['./*']}, {hosts: ['other/*', './x.test', './a.test']}"),
    ]);
    assert_eq!(reached(&mesh), ["shop/a.test 80,81"]);
}

#[test]
fn a_listener_with_a_port_imports_only_destinations_that_have_it() {
    let listener = importing("{port: {number: 80, protocol: HTTP, name: a}, hosts: ['./*']}");
    for (ports, expected) in [(vec![80, 81], "other/b.test 80"), (vec![81], "-")] {
        let documents =
            [entry("other/b", "b.test", &ports, ""), rule("shop/r", "a.test", "host: b.test, port: {number: 81}", ""), listener.clone()];
        assert_eq!(reached_of(&documents, "b.test"), expected, "{ports:?}");
    }
}

#[test]
fn rules_that_are_not_imported_bring_no_destinations() {
    for (hosts, more, expected) in [
        ("other/*", "", "third/b.test 80"),
        ("./*", "", "-"),
        ("other/x.test", "", "-"),
        ("other/*", ", exportTo: ['.']", "-"),
        ("other/*", ", gateways: [gw]", "-"),
    ] {
        let importing = importing(&format!("{{hosts: ['{hosts}']}}"));
        let documents = [entry("third/b", "b.test", &[80], ""), rule("other/r", "a.test", "host: b.test", more), importing];
        assert_eq!(reached_of(&documents, "b.test"), expected, "{hosts} {more}");
    }
}

#[test]
fn destinations_that_only_other_namespaces_are_sent_to_are_not_imported() {
    for (conditions, expected) in [
        ("[{sourceNamespace: shop}]", "other/b.test 80"),
        ("[{sourceNamespace: third}]", "-"),
        ("[{sourceNamespace: third}, {sourceNamespace: shop, uri: {prefix: /a}}]", "other/b.test 80"),
        ("[{uri: {prefix: /a}}]", "other/b.test 80"),
    ] {
        let routes = format!("{{hosts: [a.test], http: [{{match: {conditions}, route: [{{destination: {{host: b.test}}}}]}}]}}");
        let documents = [entry("other/b", "b.test", &[80], ""), istio("VirtualService", "shop/r", &routes), importing("{hosts: ['./*']}")];
        assert_eq!(reached_of(&documents, "b.test"), expected, "{conditions}");
    }
}

#[test]
fn of_services_with_one_host_the_proxys_own_namespace_counts() {
    let host = "web.other.svc.cluster.local";
    for year in [2019, 2022] {
        let documents = [
            kubernetes("Service", &made(2021, "other/web"), "spec: {ports: [{name: http, port: 81}]}"),
            entry(&made(2020, "third/a"), host, &[82], ""),
            entry(&made(year, "shop/a"), host, &[80], ""),
        ];
        assert_eq!(reached_of(&documents, host), "shop/web.other.svc.cluster.local 80", "{year}");
    }
}

#[test]
fn of_services_elsewhere_with_one_host_a_kubernetes_service_counts_and_then_the_oldest() {
    let host = "web.other.svc.cluster.local";
    let older = entry(&made(2020, "third/a"), host, &[82], "");
    let younger = entry(&made(2021, "third-too/a"), host, &[83], "");
    let kubernetes = kubernetes("Service", &made(2022, "other/web"), "spec: {ports: [{name: http, port: 81}]}");
    assert_eq!(reached_of(&[younger.clone(), older.clone(), kubernetes], host), "other/web.other.svc.cluster.local 81");
    assert_eq!(reached_of(&[younger, older], host), "third/web.other.svc.cluster.local 82");
}

#[test]
fn of_services_of_one_age_the_alphabetically_first_namespace_counts() {
    let documents = [entry("zoo/a", "a.test", &[81], ""), entry("other/a", "a.test", &[80], "")];
    assert_eq!(reached_of(&documents, "a.test"), "other/a.test 80");
}

#[test]
fn an_import_by_namespace_decides_between_services_with_one_host() {
    let services =
        [entry("other/a", "a.test", &[80], ""), entry("third/a", "a.test", &[81], ""), entry("shop/a", "a.test", &[82], "")].concat();
    for (hosts, expected) in [("third/*", "third/a.test 81"), ("other/*, third/*", "other/a.test 80"), ("'*/*'", "shop/a.test 82")] {
        assert_eq!(reached_of(&[services.clone(), importing(&format!("{{hosts: [{hosts}]}}"))], "a.test"), expected, "{hosts}");
    }
}

#[test]
fn a_destination_is_the_service_of_the_proxys_namespace_else_of_the_alphabetically_first_that_is_visible() {
    let redirecting = [rule("shop/r", "a.test", "host: b.test", ""), importing("{hosts: ['./a.test']}")].concat();
    let own = entry("shop/b", "b.test", &[80], "");
    let (private, first, second) =
        (entry("a/b", "b.test", &[81], ", exportTo: ['.']"), entry("b/b", "b.test", &[82], ""), entry("c/b", "b.test", &[83], ""));
    let elsewhere = [second, first, private].concat();
    assert_eq!(reached_of(&[redirecting.clone(), own, elsewhere.clone()], "b.test"), "shop/b.test 80");
    assert_eq!(reached_of(&[redirecting, elsewhere], "b.test"), "b/b.test 82");
}

#[test]
fn a_service_that_is_imported_by_host_goes_before_one_that_is_a_destination() {
    let documents = [
        entry("shop/b", "b.test", &[80], ""),
        entry("other/b", "b.test", &[81], ""),
        rule("shop/r", "a.test", "host: b.test", ""),
        importing("{hosts: ['./a.test', other/b.test]}"),
    ];
    assert_eq!(reached_of(&documents, "b.test"), "other/b.test 81");
}

#[test]
fn services_and_rules_count_where_they_are_exported_to() {
    for (export_to, shop, third) in [("['*']", true, true), ("['.']", false, false), ("[shop]", true, false), ("[shop, third]", true, true)]
    {
        let export_to = format!(", exportTo: {export_to}");
        let mesh = mesh(&[entry("other/a", "a.test", &[80], &export_to), rule("other/r", "a.test", "host: a.test", &export_to)]);
        for (namespace, expected) in [("other", export_to.contains(['*', '.'])), ("shop", shop), ("third", third)] {
            let scope = mesh.scope(&sidecar(namespace, ""));
            assert_eq!(!scope.services.is_empty(), expected, "service {export_to} {namespace}");
            assert_eq!(!scope.egress[0].virtual_services.is_empty(), expected, "rule {export_to} {namespace}");
        }
    }
}

#[test]
fn a_gateway_sees_what_its_own_namespace_may_see() {
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80], ", exportTo: ['.']"),
        entry("shop/b", "b.test", &[80], ", exportTo: [istio-system]"),
        rule("shop/r", "a.test", "host: a.test", ", exportTo: ['.'], gateways: [shop/gw]"),
    ]);
    assert_eq!(names(&mesh.scope(&router("istio=ingressgateway", "10.0.0.1")).services), ["shop/b.test 80"]);
    assert_eq!(rules(&mesh.virtual_services.of_gateway("shop/gw", "istio-system")), [""; 0]);
    assert_eq!(rules(&mesh.virtual_services.of_gateway("shop/gw", "shop")), ["shop/r"]);
}

#[test]
fn a_kubernetes_service_is_not_merged_with_an_entry_that_another_listener_imports() {
    let host = "web.other.svc.cluster.local";
    let mesh = mesh(&[
        entry("third/a", host, &[81], ""),
        kubernetes("Service", "other/web", "spec: {ports: [{name: http, port: 80}]}"),
        importing("{port: {number: 81, protocol: HTTP, name: a}, hosts: ['third/*']}, {hosts: ['other/*']}"),
    ]);
    let scope = mesh.scope(&sidecar("shop", ""));
    assert_eq!(names(&scope.services), ["other/web.other.svc.cluster.local 80"]);
    assert_eq!(scope.services[0].registry, Registry::Kubernetes);
}
