//! Where proxies and instances run, and what services say of it.

use weir_model::{MeshSnapshot, Proxy, TrafficDistribution};

use crate::support::{entry, istio, kubernetes, labels, mesh, service, sidecar};

/// A ServiceEntry that selects workloads with the label `app: a`.
fn selecting(name: &str, host: &str) -> String {
    entry(name, host, &[80], ", resolution: STATIC, workloadSelector: {labels: {app: a}}")
}

/// A WorkloadEntry at the address of the sidecars of these tests; `more` are further fields.
fn workload(name: &str, more: &str) -> String {
    istio("WorkloadEntry", name, &format!("{{address: 10.0.0.1, labels: {{app: a}}{more}}}"))
}

/// A sidecar that says itself where it runs.
fn proxy(locality: &str) -> Proxy {
    Proxy { locality: locality.to_owned(), ..sidecar("shop", "app=a") }
}

/// The labels of the only instance of a host.
fn instance_labels(mesh: &MeshSnapshot, host: &str) -> String {
    labels(&mesh.services.endpoints(&service(mesh, host))[0].labels)
}

#[test]
fn a_proxy_runs_where_its_workload_does_if_a_service_selects_it_else_where_it_says() {
    let entry = || selecting("shop/a", "a.test");
    for (documents, own, expected) in [
        (vec![entry(), workload("shop/w", ", locality: eu/a/1")], "", "eu/a/1"),
        (vec![entry(), workload("shop/w", ", locality: eu/a/1")], "us/b", "eu/a/1"),
        // Nobody selects it: Istio does not look at it.
        (vec![workload("shop/w", ", locality: eu/a/1")], "", ""),
        (vec![workload("shop/w", ", locality: eu/a/1")], "us/b", "us/b"),
        (vec![selecting("other/a", "a.test"), workload("shop/w", ", locality: eu/a/1")], "us/b", "us/b"),
        // It says nothing.
        (vec![entry(), workload("shop/w", "")], "us/b", "us/b"),
        (vec![entry(), workload("shop/w, labels: {istio-locality: eu.a}", "")], "us/b", "eu/a"),
        (vec![], "us/b/2", "us/b/2"),
        (vec![], "", ""),
    ] {
        assert_eq!(mesh(&documents).locality_of(&proxy(own)), expected, "{documents:?} {own}");
    }
}

#[test]
fn a_kubernetes_service_selects_a_workload_as_well() {
    let mesh = mesh(&[
        kubernetes("Service", "shop/web", "spec: {selector: {app: a}, ports: [{name: http, port: 80}]}"),
        workload("shop/w", ", locality: eu/a"),
    ]);
    assert_eq!(mesh.locality_of(&proxy("")), "eu/a");
}

#[test]
fn of_several_services_the_oldest_says_where_the_proxy_runs() {
    let at = |name: &str, host: &str, locality: &str| {
        entry(name, host, &[80], &format!(", resolution: STATIC, endpoints: [{{address: 10.0.0.1, locality: {locality}}}]"))
    };
    assert_eq!(mesh(&[at("shop/b", "b.test", "us/b"), at("shop/a", "a.test", "eu/a")]).locality_of(&proxy("")), "eu/a");
}

#[test]
fn a_proxys_labels_say_where_it_runs() {
    let documents = [selecting("shop/a", "a.test"), workload("shop/w", ", locality: eu/a/1, network: net")];
    assert_eq!(
        labels(&mesh(&documents).labels_of(&proxy(""))),
        "app=a,topology.istio.io/network=net,topology.istio.io/subzone=1,topology.kubernetes.io/region=eu,topology.kubernetes.io/zone=a"
    );
    assert_eq!(labels(&mesh(&[]).labels_of(&proxy("us"))), "app=a,topology.kubernetes.io/region=us");
    assert_eq!(labels(&mesh(&[]).labels_of(&proxy(""))), "app=a");
}

#[test]
fn an_instances_labels_say_where_it_runs() {
    let selected = [selecting("shop/a", "a.test"), workload("shop/w", ", locality: eu/a")];
    let expected = "app=a,topology.kubernetes.io/region=eu,topology.kubernetes.io/zone=a";
    assert_eq!(instance_labels(&mesh(&selected), "a.test"), expected);
    let in_place =
        entry("shop/a", "a.test", &[80], ", resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {app: a}, locality: eu/a}]");
    assert_eq!(instance_labels(&mesh(&[in_place]), "a.test"), expected);
    // A workload's own labels are what selectors look at.
    assert_eq!(labels(&mesh(&selected).workloads.iter().next().unwrap().labels), "app=a");
}

#[test]
fn a_pod_says_where_it_runs_by_label_and_on_which_node() {
    let host = "web.shop.svc.cluster.local";
    let mesh = mesh(&[
        kubernetes("Service", "shop/web", "spec: {clusterIP: 10.9.0.1, ports: [{name: http, port: 80}]}"),
        kubernetes(
            "EndpointSlice",
            "shop/web, labels: {kubernetes.io/service-name: web}",
            "addressType: IPv4\nports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: w}}]",
        ),
        kubernetes(
            "Pod",
            "shop/w, labels: {app: a, topology.istio.io/locality: eu.a}",
            "spec: {nodeName: n1}\nstatus: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}",
        ),
    ]);
    let found = instance_labels(&mesh, host);
    assert!(found.contains("kubernetes.io/hostname=n1") && found.contains("topology.kubernetes.io/zone=a"), "{found}");
    let own = labels(&mesh.labels_of(&proxy("")));
    assert!(own.contains("kubernetes.io/hostname=n1") && own.contains("topology.kubernetes.io/region=eu"), "{own}");
}

#[test]
fn a_service_says_which_instances_are_preferred_in_its_field_else_in_an_annotation() {
    let annotation = |value: &str| format!(", annotations: {{networking.istio.io/traffic-distribution: {value}}}");
    for (field, annotation, expected) in [
        ("", String::new(), TrafficDistribution::Any),
        ("PreferClose", String::new(), TrafficDistribution::PreferSameZone),
        ("PreferSameZone", String::new(), TrafficDistribution::PreferSameZone),
        ("PreferSameNode", String::new(), TrafficDistribution::PreferSameNode),
        ("", annotation("preferclose"), TrafficDistribution::PreferSameZone),
        ("", annotation("PreferSameNode"), TrafficDistribution::PreferSameNode),
        ("PreferClose", annotation("PreferSameNode"), TrafficDistribution::PreferSameZone),
        ("", annotation("Anything"), TrafficDistribution::Any),
    ] {
        let spec = format!("spec: {{trafficDistribution: '{field}', ports: [{{name: http, port: 80}}]}}");
        let mesh = mesh(&[kubernetes("Service", &format!("shop/web{annotation}"), &spec)]);
        let found = service(&mesh, "web.shop.svc.cluster.local").traffic_distribution;
        assert_eq!(found, expected, "{field} {annotation}");
    }
    let mesh = mesh(&[entry(&format!("shop/a{}", annotation("PreferClose")), "a.test", &[80], "")]);
    assert_eq!(service(&mesh, "a.test").traffic_distribution, TrafficDistribution::PreferSameZone);
}

#[test]
fn a_namespace_says_it_for_its_services_that_do_not() {
    let namespace = |value: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{networking.istio.io/traffic-distribution: {value}}}}}\n"
        )
    };
    let own = |word: &str| format!(", annotations: {{networking.istio.io/traffic-distribution: {word}}}");
    for (of_namespace, of_service, expected) in [
        ("PreferClose", String::new(), TrafficDistribution::PreferSameZone),
        ("prefersamenode", String::new(), TrafficDistribution::PreferSameNode),
        ("Anything", String::new(), TrafficDistribution::Any),
        ("PreferClose", own("PreferSameNode"), TrafficDistribution::PreferSameNode),
        // A word that nobody knows is one that was said.
        ("PreferClose", own("Anything"), TrafficDistribution::Any),
        ("PreferClose", own("''"), TrafficDistribution::PreferSameZone),
    ] {
        let mesh = mesh(&[
            namespace(of_namespace),
            kubernetes("Service", &format!("shop/web{of_service}"), "spec: {ports: [{name: http, port: 80}]}"),
            entry(&format!("shop/a{of_service}"), "a.test", &[80], ""),
            entry("other/b", "b.test", &[80], ""),
        ]);
        for host in ["web.shop.svc.cluster.local", "a.test"] {
            assert_eq!(service(&mesh, host).traffic_distribution, expected, "{host} {of_namespace} {of_service}");
        }
        assert_eq!(service(&mesh, "b.test").traffic_distribution, TrafficDistribution::Any);
    }
}

#[test]
fn a_workload_that_serves_nothing_runs_on_a_node_too() {
    let mesh = mesh(&[kubernetes("Pod", "shop/w, labels: {app: a}", "spec: {nodeName: n1}\nstatus: {podIP: 10.0.0.1}")]);
    let own = labels(&mesh.labels_of(&proxy("")));
    assert_eq!(own, "app=a,kubernetes.io/hostname=n1,topology.istio.io/cluster=Kubernetes");
}
