//! ServiceEntries: their services, their instances, and what becomes of two with one host.

use std::sync::Arc;

use weir_model::{MeshSnapshot, Registry, Resolution, Service};

use crate::support::{all, endpoints, entry, istio, kubernetes, labels, made, mesh, mesh_with, names, ports, service, sidecar};

/// A ServiceEntry for `a.test` whose only port is `http`, 80.
fn entry_80(name: &str, more: &str) -> String {
    istio("ServiceEntry", name, &format!("{{hosts: [a.test], ports: [{{number: 80, name: http, protocol: HTTP}}]{more}}}"))
}

/// A WorkloadEntry at an address, with the labels of its spec.
fn workload(name: &str, address: &str, labels: &str) -> String {
    istio("WorkloadEntry", name, &format!("{{address: {address}, labels: {{{labels}}}}}"))
}

#[test]
fn a_static_entry_has_the_instances_that_it_lists() {
    let listed = "endpoints: [{address: 10.0.0.1, labels: {version: v1}, locality: eu/a/1, weight: 3}, {address: 10.0.0.2}]";
    let mesh = mesh(&[entry_80("shop/a", &format!(", addresses: [10.9.0.1], location: MESH_INTERNAL, resolution: STATIC, {listed}"))]);
    let service = service(&mesh, "a.test");
    assert_eq!((service.resolution, service.registry, service.external), (Resolution::Static, Registry::External, false));
    assert_eq!((&*service.namespace, service.addresses.as_slice()), ("shop", ["10.9.0.1".to_owned()].as_slice()));
    assert_eq!(endpoints(&mesh, "a.test"), ["80: 10.0.0.1:80", "80: 10.0.0.2:80"]);
    let found = mesh.services.endpoints(&service);
    assert_eq!((found[0].labels["version"].as_str(), found[0].locality.as_str(), found[0].weight), ("v1", "eu/a/1", 3));
    assert_eq!((found[1].labels.len(), found[1].namespace.as_str()), (0, "shop"));
}

#[test]
fn a_resolution_says_how_instances_are_found() {
    for (written, resolution, found) in [
        ("NONE", Resolution::Passthrough, vec![]),
        ("STATIC", Resolution::Static, vec![]),
        ("DNS", Resolution::Dns, vec!["80: a.test:80"]),
        ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin, vec!["80: a.test:80"]),
    ] {
        let mesh = mesh(&[entry_80("shop/a", &format!(", resolution: {written}"))]);
        assert_eq!(service(&mesh, "a.test").resolution, resolution);
        assert_eq!(endpoints(&mesh, "a.test"), found, "{written}");
    }
    let mesh = mesh(&[entry("shop/a", "'*.a.test'", &[80], ", resolution: DYNAMIC_DNS")]);
    assert_eq!(service(&mesh, "*.a.test").resolution, Resolution::DynamicDns);
    assert_eq!(endpoints(&mesh, "*.a.test"), [""; 0]);
}

#[test]
fn an_entry_is_external_unless_it_says_otherwise() {
    for (location, external) in [("", true), (", location: MESH_EXTERNAL", true), (", location: MESH_INTERNAL", false)] {
        assert_eq!(service(&mesh(&[entry_80("shop/a", location)]), "a.test").external, external, "{location}");
    }
}

#[test]
fn dns_resolves_the_endpoints_in_place_of_the_host() {
    let mesh = mesh(&[entry_80("shop/a", ", resolution: DNS, endpoints: [{address: b.test}, {address: c.test, ports: {http: 8080}}]")]);
    assert_eq!(endpoints(&mesh, "a.test"), ["80: b.test:80", "80: c.test:8080"]);
}

#[test]
fn an_instances_own_port_goes_before_the_target_port_and_that_before_the_number() {
    let ports = "ports: [{number: 80, name: web, protocol: HTTP, targetPort: 8080}, {number: 90, name: admin, protocol: HTTP}]";
    let (own, other) = ("ports: {web: 1080}", "ports: {admin: 1090}");
    let in_place = format!("endpoints: [{{address: 10.0.0.1, {own}}}, {{address: 10.0.0.2, {other}}}, {{address: 10.0.0.3}}]");
    let mut selected: Vec<String> = [("1", own), ("2", other), ("3", "")]
        .map(|(number, ports)| {
            istio("WorkloadEntry", &format!("shop/w{number}, labels: {{app: a}}"), &format!("{{address: 10.0.0.{number}, {ports}}}"))
        })
        .to_vec();
    let with = |instances: &str| istio("ServiceEntry", "shop/a", &format!("{{hosts: [a.test], resolution: STATIC, {ports}, {instances}}}"));
    selected.push(with("workloadSelector: {labels: {app: a}}"));
    for documents in [vec![with(&in_place)], selected] {
        let expected =
            ["80: 10.0.0.1:1080", "90: 10.0.0.1:90", "80: 10.0.0.2:8080", "90: 10.0.0.2:1090", "80: 10.0.0.3:8080", "90: 10.0.0.3:90"];
        assert_eq!(endpoints(&mesh(&documents), "a.test"), expected);
    }
}

#[test]
fn a_resolved_host_is_reached_at_the_target_port() {
    let spec = "{hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}], resolution: DNS}";
    assert_eq!(endpoints(&mesh(&[istio("ServiceEntry", "shop/a", spec)]), "a.test"), ["80: a.test:443"]);
}

#[test]
fn a_range_of_one_address_is_that_address() {
    let mesh = mesh(&[entry_80("shop/a", ", addresses: [10.9.0.1/32, 'fd00::1/128', 10.9.1.0/24, 10.9.0.2]")]);
    assert_eq!(service(&mesh, "a.test").addresses, ["10.9.0.1", "fd00::1", "10.9.1.0/24", "10.9.0.2"]);
}

#[test]
fn the_protocol_of_a_port_is_the_one_that_it_names() {
    let ports = "[{number: 80, name: a, protocol: http}, {number: 81, name: b, protocol: GRPC-Web}, {number: 82, name: c}]";
    let mesh = mesh(&[istio("ServiceEntry", "shop/a", &format!("{{hosts: [a.test], addresses: [10.9.0.1], ports: {ports}}}"))]);
    let protocols: Vec<_> = service(&mesh, "a.test").ports.iter().map(|port| port.protocol.map(|protocol| protocol.name())).collect();
    assert_eq!(protocols, [Some("HTTP"), Some("GRPC-WEB"), None]);
}

#[test]
fn a_selector_picks_workloads_of_its_own_namespace_by_all_of_its_labels() {
    let mesh = mesh(&[
        entry_80("shop/a", ", resolution: STATIC, workloadSelector: {labels: {app: a, tier: web}}"),
        workload("shop/both", "10.0.0.1", "app: a, tier: web, version: v1"),
        workload("shop/one", "10.0.0.2", "app: a"),
        workload("other/both", "10.0.0.3", "app: a, tier: web"),
    ]);
    assert_eq!(endpoints(&mesh, "a.test"), ["80: 10.0.0.1:80"]);
    let found = mesh.services.endpoints(&service(&mesh, "a.test"));
    assert_eq!((found[0].workload.as_str(), labels(&found[0].labels).as_str()), ("both", "app=a,tier=web,version=v1"));
}

#[test]
fn a_selected_workload_brings_its_locality_and_weight() {
    let mesh = mesh(&[
        entry_80("shop/a", ", resolution: STATIC, workloadSelector: {labels: {app: a}}"),
        istio("WorkloadEntry", "shop/w", "{address: 10.0.0.1, labels: {app: a}, locality: eu/a/1, weight: 7}"),
    ]);
    let found = mesh.services.endpoints(&service(&mesh, "a.test"));
    assert_eq!((found[0].locality.as_str(), found[0].weight), ("eu/a/1", 7));
}

#[test]
fn labels_of_a_workloads_metadata_go_before_those_of_its_spec() {
    let mesh = mesh(&[
        entry_80("shop/a", ", resolution: STATIC, workloadSelector: {labels: {version: v2}}"),
        workload("shop/w, labels: {version: v2}", "10.0.0.1", "app: a, version: v1"),
        workload("shop/x, labels: {version: v1}", "10.0.0.2", "app: a, version: v2"),
    ]);
    assert_eq!(endpoints(&mesh, "a.test"), ["80: 10.0.0.1:80"]);
    assert_eq!(labels(&mesh.services.endpoints(&service(&mesh, "a.test"))[0].labels), "app=a,version=v2");
}

#[test]
fn a_selector_picks_pods_too() {
    let pod = |name: &str, ip: &str, ready: &str| {
        let status = format!("status: {{podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}");
        kubernetes("Pod", &format!("shop/{name}, labels: {{app: a}}"), &status)
    };
    let entry = entry_80("shop/a", ", resolution: STATIC, workloadSelector: {labels: {app: a}}");
    let mesh = mesh(&[entry, pod("one", "10.1.0.1", "True"), pod("two", "10.1.0.2", "False")]);
    assert_eq!(endpoints(&mesh, "a.test"), ["80: 10.1.0.1:80", "80: 10.1.0.2:80!"]);
}

/// What a sidecar of `shop` knows.
fn seen(mesh: &MeshSnapshot) -> Vec<Arc<Service>> {
    mesh.scope(&sidecar("shop", "")).services.to_vec()
}

#[test]
fn each_host_of_an_entry_is_a_service() {
    let mesh = mesh(&[entry("shop/a", "a.test, B.Test, '*.c.test'", &[80], ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]")]);
    assert_eq!(names(&all(&mesh)), ["shop/*.c.test 80", "shop/a.test 80", "shop/b.test 80"]);
    for host in ["*.c.test", "a.test", "b.test"] {
        assert_eq!(endpoints(&mesh, host), ["80: 10.0.0.1:80"], "{host}");
    }
}

#[test]
fn two_entries_of_a_host_in_one_namespace_are_one_service() {
    let entry = |name: &str, ports: &[u16], address: &str| {
        entry(name, "a.test", ports, &format!(", resolution: STATIC, endpoints: [{{address: {address}}}]"))
    };
    let mesh = mesh(&[
        entry(&made(2022, "shop/a"), &[80, 81], "10.0.0.2"),
        entry(&made(2021, "shop/b"), &[80, 82], "10.0.0.1"),
        entry(&made(2023, "other/c"), &[99], "10.0.0.3"),
    ]);
    let seen_from = |namespace: &str| ports(mesh.scope(&sidecar(namespace, "")).service("a.test").unwrap());
    assert_eq!((seen_from("other").as_str(), seen_from("shop").as_str()), ("99", "80,82,81"));
    let services = mesh.services.of_host("a.test").unwrap();
    let found: Vec<String> =
        mesh.services.endpoints(&services["shop"]).iter().map(|at| format!("{}:{}", at.address, at.service_port)).collect();
    assert_eq!(found, ["10.0.0.1:80", "10.0.0.1:82", "10.0.0.2:80", "10.0.0.2:81"]);
}

#[test]
fn of_entries_of_one_host_each_is_exported_for_itself() {
    let at = ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]";
    let hidden = format!("{at}, exportTo: [istio-system]");
    for (older, younger, expected) in [(&hidden[..], at, "82"), (at, &hidden, "81"), (at, at, "81,82")] {
        let mesh = mesh(&[entry(&made(2021, "other/a"), "a.test", &[81], older), entry(&made(2022, "other/b"), "a.test", &[82], younger)]);
        assert_eq!(seen(&mesh).iter().map(|service| ports(service)).collect::<Vec<_>>(), [expected], "{older} then {younger}");
    }
}

#[test]
fn services_of_one_age_are_ordered_by_host_and_not_by_the_name_of_their_entry() {
    let mesh = mesh(&[
        entry("shop/first", "z.test", &[80], ""),
        entry("shop/second", "a.test", &[80], ""),
        entry(&made(2021, "shop/third"), "b.test", &[80], ""),
    ]);
    assert_eq!(seen(&mesh).iter().map(|service| &*service.hostname).collect::<Vec<_>>(), ["a.test", "z.test", "b.test"]);
}

#[test]
fn an_entry_that_is_resolved_otherwise_than_an_older_one_adds_nothing() {
    let mesh = mesh(&[
        entry(&made(2022, "shop/a"), "a.test", &[81], ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]"),
        entry(&made(2021, "shop/b"), "a.test", &[80], ", resolution: DNS"),
    ]);
    assert_eq!(names(&seen(&mesh)), ["shop/a.test 80"]);
    assert_eq!(service(&mesh, "a.test").resolution, Resolution::Dns);
    assert_eq!(endpoints(&mesh, "a.test"), ["80: a.test:80"]);
}

#[test]
fn a_kubernetes_service_takes_the_place_of_an_older_entry() {
    let host = "web.shop.svc.cluster.local";
    let mesh = mesh(&[
        entry(&made(2021, "shop/a"), host, &[80, 81], ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]"),
        kubernetes("Service", &made(2022, "shop/web"), "spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 90}]}"),
    ]);
    assert_eq!(names(&seen(&mesh)), ["shop/web.shop.svc.cluster.local 90"]);
    assert_eq!(service(&mesh, host).registry, Registry::Kubernetes);
    assert_eq!(endpoints(&mesh, host), [""; 0]);
}

#[test]
fn export_to_says_which_namespaces_see_a_service() {
    for (export_to, seen_by) in [
        ("", "shop other"),
        (", exportTo: ['*']", "shop other"),
        (", exportTo: ['.']", "shop"),
        (", exportTo: [shop]", "shop"),
        (", exportTo: [other]", "other"),
        (", exportTo: ['.', other]", "shop other"),
        (", exportTo: ['~']", ""),
    ] {
        let mesh = mesh(&[entry_80("shop/a", export_to)]);
        let sees = |namespace: &&str| !mesh.services.visible_to(namespace).is_empty();
        assert_eq!(["shop", "other"].into_iter().filter(sees).collect::<Vec<_>>().join(" "), seen_by, "{export_to}");
    }
}

#[test]
fn where_a_service_does_not_say_who_sees_it_the_mesh_does() {
    let documents = [entry_80("shop/a", ""), entry("shop/b", "b.test", &[80], ", exportTo: ['*']")];
    let mesh = mesh_with("defaultServiceExportTo: ['.']", &documents);
    assert_eq!(names(&mesh.services.visible_to("shop")), ["shop/a.test 80", "shop/b.test 80"]);
    assert_eq!(names(&mesh.services.visible_to("other")), ["shop/b.test 80"]);
}

#[test]
fn a_proxy_serves_what_has_an_instance_at_its_address() {
    let at = |address: &str| format!(", resolution: STATIC, endpoints: [{{address: {address}}}]");
    let mesh = mesh(&[
        entry("shop/a", "a.test", &[80, 81], &at("10.0.0.1")),
        entry("shop/b", "b.test", &[80], &at("10.0.0.2")),
        entry("other/c", "c.test", &[90], &at("10.0.0.1")),
    ]);
    let served = mesh.instances_of(&sidecar("shop", ""));
    let served: Vec<String> = served.iter().map(|(service, at)| format!("{}:{}", service.hostname, at.service_port)).collect();
    assert_eq!(served, ["a.test:80", "a.test:81", "c.test:90"]);
}
