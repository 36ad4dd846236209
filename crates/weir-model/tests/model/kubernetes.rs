//! Kubernetes' Services: by WorkloadEntries, EndpointSlices and Endpoints.

use weir_model::{Health, Registry, Resolution};

use crate::support::{all, endpoints, entry, istio, kubernetes, labels, mesh, mesh_with, names, service};

const WEB: &str = "web.shop.svc.cluster.local";

/// The Service `web` of the namespace `shop`.
fn web(spec: &str) -> String {
    kubernetes("Service", "shop/web", &format!("spec: {{{spec}}}"))
}

fn slice(name: &str, content: &str) -> String {
    kubernetes("EndpointSlice", &format!("shop/{name}, labels: {{kubernetes.io/service-name: web}}"), content)
}

fn pod(name: &str, ip: &str, version: &str) -> String {
    let status = format!("status: {{podIP: {ip}, conditions: [{{type: Ready, status: 'True'}}]}}");
    kubernetes("Pod", &format!("shop/{name}, labels: {{app: web, version: {version}}}"), &status)
}

#[test]
fn a_service_is_known_by_its_name_in_full() {
    let mesh = mesh(&[web("clusterIP: 10.9.0.1, clusterIPs: [10.9.0.1, 'fd00::1'], ports: [{name: http, port: 80}]")]);
    assert_eq!(names(&all(&mesh)), ["shop/web.shop.svc.cluster.local 80"]);
    let service = service(&mesh, WEB);
    assert_eq!((&*service.name, service.resolution, service.registry), ("web", Resolution::Static, Registry::Kubernetes));
    assert_eq!(service.addresses, ["10.9.0.1", "fd00::1"]);
    assert!(!service.external);
}

#[test]
fn a_services_selector_picks_workload_entries_of_its_namespace() {
    let workload =
        |name: &str, address: &str| istio("WorkloadEntry", &format!("{name}, labels: {{app: web}}"), &format!("{{address: {address}}}"));
    let mesh = mesh(&[
        web("selector: {app: web}, ports: [{name: http, port: 80}]"),
        workload("shop/one", "10.0.0.1"),
        workload("other/two", "10.0.0.2"),
        istio("WorkloadEntry", "shop/three", "{address: 10.0.0.3, labels: {app: db}}"),
        // Where there are Pods, Kubernetes itself says in EndpointSlices which of them are instances.
        pod("four", "10.0.0.4", "v1"),
    ]);
    assert_eq!(endpoints(&mesh, WEB), ["80: 10.0.0.1:80"]);
}

#[test]
fn a_workload_entry_serves_a_port_where_it_says_itself_else_at_the_target_port() {
    let service = |target: &str| web(&format!("selector: {{app: web}}, ports: [{{name: http, port: 80{target}}}]"));
    let workload =
        |ports: &str| istio("WorkloadEntry", "shop/w", &format!("{{address: 10.0.0.1, labels: {{app: web}}, ports: {{{ports}}}}}"));
    for (target, ports, expected) in [
        ("", "", 80),
        (", targetPort: 8080", "", 8080),
        (", targetPort: 8080", "http: 1080", 1080),
        (", targetPort: serving", "serving: 9090", 9090),
        (", targetPort: serving", "serving: 9090, http: 1080", 1080),
    ] {
        let mesh = mesh(&[service(target), workload(ports)]);
        assert_eq!(endpoints(&mesh, WEB), [format!("80: 10.0.0.1:{expected}")], "{target} {ports}");
    }
}

#[test]
fn a_service_without_a_selector_picks_no_workload_entries() {
    let mesh = mesh(&[web("ports: [{name: http, port: 80}]"), istio("WorkloadEntry", "shop/w", "{address: 10.0.0.1}")]);
    assert_eq!(endpoints(&mesh, WEB), [""; 0]);
}

#[test]
fn an_endpoint_slice_lists_the_instances_of_its_service_port_by_port() {
    let mesh = mesh(&[
        web("ports: [{name: http, port: 80, targetPort: serving}, {name: admin, port: 90}]"),
        slice("web-1", "ports: [{name: admin, port: 9090}, {name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]"),
        slice("web-2", "ports: [{name: http, port: 8081}, {name: unknown, port: 1}]\nendpoints: [{addresses: [10.1.0.2]}]"),
        kubernetes("EndpointSlice", "shop/lost", "ports: [{name: http, port: 1}]\nendpoints: [{addresses: [10.1.0.3]}]"),
    ]);
    assert_eq!(endpoints(&mesh, WEB), ["90: 10.1.0.1:9090", "80: 10.1.0.1:8080", "80: 10.1.0.2:8081"]);
}

#[test]
fn a_single_port_needs_no_name() {
    let mesh = mesh(&[web("ports: [{port: 80}]"), slice("web-1", "ports: [{port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]")]);
    assert_eq!(endpoints(&mesh, WEB), ["80: 10.1.0.1:8080"]);
}

#[test]
fn an_instance_has_the_labels_of_its_pod() {
    let mesh = mesh(&[
        web("ports: [{name: http, port: 80}]"),
        slice(
            "web-1",
            "ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: one}}
- {addresses: [10.1.0.2]}
- {addresses: [10.1.0.3]}",
        ),
        // The reference counts, whatever the Pod's address.
        pod("one", "10.1.0.9", "v1"),
        pod("two", "10.1.0.2", "v2"),
    ]);
    let found = mesh.services.endpoints(&service(&mesh, WEB));
    let facts: Vec<String> = found.iter().map(|at| format!("{} {} {}", at.address, at.workload, labels(&at.labels))).collect();
    assert_eq!(
        facts,
        [
            "10.1.0.1 one app=web,topology.istio.io/cluster=Kubernetes,version=v1",
            "10.1.0.2 two app=web,topology.istio.io/cluster=Kubernetes,version=v2",
            "10.1.0.3 web ",
        ]
    );
}

#[test]
fn an_instance_that_refers_to_a_pod_waits_until_that_is_known() {
    let instances = "ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: one}}
- {addresses: [10.1.0.2], targetRef: {kind: VirtualMachine, name: two}}
- {addresses: [10.1.0.3]}";
    let documents = |pod: &[String]| [&[web("ports: [{name: http, port: 80}]"), slice("web-1", instances)], pod].concat();
    assert_eq!(endpoints(&mesh(&documents(&[])), WEB), ["80: 10.1.0.2:8080", "80: 10.1.0.3:8080"]);
    let known = mesh(&documents(&[pod("one", "10.1.0.1", "v1")]));
    assert_eq!(endpoints(&known, WEB), ["80: 10.1.0.1:8080", "80: 10.1.0.2:8080", "80: 10.1.0.3:8080"]);
}

#[test]
fn an_instance_in_two_slices_is_one_and_names_are_none() {
    let listed = |addresses: &str| format!("ports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [{addresses}]}}]");
    let mesh = mesh(&[
        web("ports: [{name: http, port: 80}]"),
        slice("web-1", &listed("10.1.0.1")),
        slice("web-2", &listed("10.1.0.1, 10.1.0.2")),
        slice("web-3", &format!("addressType: FQDN\n{}", listed("far.example.com"))),
    ]);
    assert_eq!(endpoints(&mesh, WEB), ["80: 10.1.0.1:8080", "80: 10.1.0.2:8080"]);
}

#[test]
fn an_instance_is_where_the_node_of_its_pod_stands_unless_the_pod_says_otherwise() {
    let node = |labels: &str| kubernetes("Node", &format!("default/n, labels: {{{labels}}}"), "");
    let pod = |label: &str| {
        let content = "spec: {nodeName: n}\nstatus: {podIP: 10.1.0.1}";
        kubernetes("Pod", &format!("shop/one, labels: {{app: web{label}}}"), content)
    };
    let zone = "topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: a";
    for (nodes, label, expected) in [
        (vec![], "", ""),
        (vec![node("")], "", ""),
        (vec![node(zone)], "", "eu/a"),
        (vec![node(&format!("{zone}, topology.istio.io/subzone: '1'"))], "", "eu/a/1"),
        (vec![node(zone)], ", topology.istio.io/locality: us.b", "us/b"),
    ] {
        let instance = "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: one}}]";
        let documents = [vec![web("ports: [{name: http, port: 80}]"), slice("web-1", instance), pod(label)], nodes].concat();
        let mesh = mesh(&documents);
        assert_eq!(mesh.services.endpoints(&service(&mesh, WEB))[0].locality, expected, "{documents:?}");
    }
}

#[test]
fn an_instance_that_is_not_ready_takes_no_requests_unless_the_service_publishes_it() {
    let instances = "ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}}
- {addresses: [10.1.0.2], conditions: {ready: false}}
- {addresses: [10.1.0.3]}";
    for (publish, state) in [("", "!"), ("publishNotReadyAddresses: true, ", "")] {
        let mesh = mesh(&[web(&format!("{publish}ports: [{{name: http, port: 80}}]")), slice("web-1", instances)]);
        assert_eq!(endpoints(&mesh, WEB), ["80: 10.1.0.1:80", &format!("80: 10.1.0.2:80{state}"), "80: 10.1.0.3:80"], "{publish}");
    }
}

/// Whom clients are told of, and as what, by what the Service says of sessions and of places.
#[test]
fn what_an_instance_says_of_itself_tells_whether_it_takes_requests_and_the_service_whether_clients_are_told() {
    let (plain, sessions) = ("shop/web", "shop/web, labels: {istio.io/persistent-session: session}");
    let by_header = "shop/web, labels: {istio.io/persistent-session-header: x-session}";
    let near = "shop/web, annotations: {networking.istio.io/traffic-distribution: PreferClose}";
    let told = |head: &str, label: &str, conditions: &str| {
        let listed = format!(
            "ports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [10.1.0.1], targetRef: {{kind: Pod, name: one}}, conditions: {{{conditions}}}}}]"
        );
        let pod = kubernetes("Pod", &format!("shop/one, labels: {{app: web{label}}}"), "status: {podIP: 10.1.0.1}");
        let mesh = mesh(&[kubernetes("Service", head, "spec: {ports: [{name: http, port: 80}]}"), slice("web-1", &listed), pod]);
        let service = service(&mesh, WEB);
        mesh.services.endpoints(&service)[0].told(&service)
    };
    let (healthy, draining, unhealthy) = (Some(Health::Healthy), Some(Health::Draining), Some(Health::Unhealthy));
    for (conditions, label, expected) in [
        ("", "", [healthy; 4]),
        ("ready: true, serving: true, terminating: false", "", [healthy; 4]),
        ("ready: false, serving: false, terminating: false", "", [None, None, None, unhealthy]),
        ("ready: false, serving: true, terminating: false", "", [None, None, None, unhealthy]),
        ("ready: false, serving: true, terminating: true", "", [None, draining, draining, None]),
        ("ready: false, serving: false, terminating: true", "", [None; 4]),
        // Who does not say whether it is being stopped, and is not ready, is.
        ("ready: false", "", [None, draining, draining, None]),
        ("ready: true", ", istio.io/draining: 'true'", [None, draining, draining, None]),
        ("ready: true", ", istio.io/draining: ''", [healthy; 4]),
        ("ready: false, terminating: false", ", istio.io/draining: 'true'", [None; 4]),
    ] {
        let found = [plain, sessions, by_header, near].map(|head| told(head, label, conditions));
        assert_eq!(found, expected, "{conditions} {label}");
    }
}

#[test]
fn annotations_say_as_whom_else_instances_may_show_themselves() {
    for (annotations, expected) in [
        ("", ""),
        ("alpha.istio.io/kubernetes-serviceaccounts: 'cart, pay'", "spiffe://td/ns/shop/sa/cart spiffe://td/ns/shop/sa/pay"),
        ("alpha.istio.io/canonical-serviceaccounts: 'spiffe://old/x'", "spiffe://old/x"),
        (
            "alpha.istio.io/canonical-serviceaccounts: spiffe://old/x, alpha.istio.io/kubernetes-serviceaccounts: cart",
            "spiffe://old/x spiffe://td/ns/shop/sa/cart",
        ),
        // What could be read as another's account is none.
        ("alpha.istio.io/kubernetes-serviceaccounts: 'a/ns/b/sa/admin,'", ""),
    ] {
        let object = kubernetes("Service", &format!("shop/web, annotations: {{{annotations}}}"), "spec: {ports: [{port: 80}]}");
        let found = mesh_with("trustDomain: td", &[object]);
        assert_eq!(service(&found, WEB).subject_alt_names.join(" "), expected, "{annotations}");
    }
}

/// They lead to it from outside; clients in the mesh have its own.
#[test]
fn addresses_for_clients_outside_are_none_of_a_service_in_the_mesh() {
    let mesh = mesh(&[kubernetes(
        "Service",
        "shop/web, annotations: {traffic.istio.io/nodeSelector: '{}'}",
        "spec: {type: LoadBalancer, clusterIP: 10.9.0.1, externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: lb.example.com}]}}",
    )]);
    assert_eq!(service(&mesh, WEB).addresses, ["10.9.0.1"]);
}

#[test]
fn a_pod_has_a_name_of_its_own_below_its_subdomain() {
    for (spec, expected) in [("", ""), ("hostname: one", ""), ("subdomain: web", "pod-1.web"), ("hostname: one, subdomain: web", "one.web")]
    {
        let mesh = mesh(&[
            web("clusterIP: None, ports: [{name: http, port: 80}]"),
            slice("web-1", "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: pod-1}}]"),
            kubernetes("Pod", "shop/pod-1", &format!("spec: {{{spec}}}\nstatus: {{podIP: 10.1.0.1}}")),
        ]);
        assert_eq!(mesh.services.endpoints(&service(&mesh, WEB))[0].own_name, expected, "{spec}");
    }
}

#[test]
fn endpoints_are_the_older_form_of_a_slice() {
    let instances = "subsets:
- addresses: [{ip: 10.1.0.1, targetRef: {kind: Pod, name: one}}]
  notReadyAddresses: [{ip: 10.1.0.2}]
  ports: [{name: http, port: 8080}]
- {addresses: [{ip: 10.1.0.3}], ports: [{name: admin, port: 9090}]}";
    let documents = |publish: &str| {
        [
            web(&format!("{publish}ports: [{{name: http, port: 80}}, {{name: admin, port: 90}}]")),
            kubernetes("Endpoints", "shop/web", instances),
            kubernetes("Endpoints", "other/web", "subsets: [{addresses: [{ip: 10.1.0.4}], ports: [{name: http, port: 8080}]}]"),
            pod("one", "10.1.0.1", "v1"),
        ]
    };
    let published = mesh(&documents("publishNotReadyAddresses: true, "));
    assert_eq!(endpoints(&published, WEB)[1], "80: 10.1.0.2:8080");
    let mesh = mesh(&documents(""));
    assert_eq!(endpoints(&mesh, WEB), ["80: 10.1.0.1:8080", "80: 10.1.0.2:8080!", "90: 10.1.0.3:9090"]);
    assert_eq!(labels(&mesh.services.endpoints(&service(&mesh, WEB))[0].labels), "app=web,topology.istio.io/cluster=Kubernetes,version=v1");
}

#[test]
fn a_headless_service_has_no_address_and_is_passed_through() {
    let mesh = mesh(&[
        web("clusterIP: None, clusterIPs: [None], ports: [{name: http, port: 80}]"),
        slice("web-1", "ports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]"),
    ]);
    let service = service(&mesh, WEB);
    assert_eq!((service.resolution, service.addresses.len()), (Resolution::Passthrough, 0));
    assert_eq!(endpoints(&mesh, WEB), ["80: 10.1.0.1:8080"]);
}

#[test]
fn an_external_name_is_but_another_name_of_a_host() {
    let mesh = mesh(&[
        web("type: ExternalName, externalName: Far.example.com, ports: [{name: https, port: 443}]"),
        entry("other/far", "far.example.com", &[443], ", resolution: DNS"),
    ]);
    let alias = service(&mesh, WEB);
    assert_eq!((alias.resolution, alias.alias_of.as_deref()), (Resolution::Alias, Some("far.example.com")));
    assert_eq!(endpoints(&mesh, WEB), [""; 0]);
    let target = service(&mesh, "far.example.com");
    assert_eq!((target.alias_of.as_deref(), target.aliases.as_slice()), (None, [WEB.into()].as_slice()));
}

#[test]
fn a_ports_protocol_is_told_by_its_app_protocol_then_by_its_name() {
    for (port, expected) in [
        ("name: http", Some("HTTP")),
        ("name: grpc-web", Some("GRPC-WEB")),
        ("name: GRPC-api", Some("GRPC")),
        ("name: tls-x", Some("TLS")),
        ("name: web", None),
        ("name: httpx", None),
        ("name: tcp, appProtocol: http", Some("HTTP")),
        ("name: http, appProtocol: kubernetes.io/h2c", Some("HTTP2")),
        ("name: tcp, appProtocol: kubernetes.io/ws", Some("HTTP")),
        ("name: tcp, appProtocol: kubernetes.io/wss", Some("HTTPS")),
        ("name: http, protocol: UDP", Some("UDP")),
        ("name: db, protocol: TCP", None),
    ] {
        let mesh = mesh(&[web(&format!("ports: [{{port: 80, {port}}}]"))]);
        assert_eq!(service(&mesh, WEB).ports[0].protocol.map(|protocol| protocol.name()), expected, "{port}");
    }
    for (number, expected) in [(25, Some("TCP")), (3306, Some("TCP")), (27017, Some("TCP")), (5432, None)] {
        let mesh = mesh(&[web(&format!("ports: [{{port: {number}, name: x}}]"))]);
        assert_eq!(service(&mesh, WEB).ports[0].protocol.map(|protocol| protocol.name()), expected, "{number}");
    }
}

#[test]
fn an_annotation_says_which_namespaces_see_a_service() {
    for (annotation, seen_by) in [("'*'", "shop other third"), ("'.'", "shop"), ("'., other'", "shop other"), ("'~'", "")] {
        let name = format!("shop/web, annotations: {{networking.istio.io/exportTo: {annotation}}}");
        let mesh = mesh(&[kubernetes("Service", &name, "spec: {ports: [{port: 80}]}")]);
        let sees = |namespace: &&str| !mesh.services.visible_to(namespace).is_empty();
        assert_eq!(["shop", "other", "third"].into_iter().filter(sees).collect::<Vec<_>>().join(" "), seen_by, "{annotation}");
    }
    let mesh = mesh_with("defaultServiceExportTo: ['.']", &[web("ports: [{port: 80}]")]);
    assert_eq!((mesh.services.visible_to("shop").len(), mesh.services.visible_to("other").len()), (1, 0));
}

/// Or a namespace could say of another's service, or of the API server, who its instances are and that they take mutual TLS.
#[test]
fn what_a_workload_of_another_namespace_says_of_an_address_counts_for_nothing() {
    let slices = |entry: &str| {
        let mesh = mesh(&[
            web("ports: [{name: http, port: 80}]"),
            slice("one", "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1]}]"),
            istio("WorkloadEntry", entry, "{address: 10.1.0.1, serviceAccount: own, labels: {version: v7}}"),
        ]);
        let endpoints = mesh.services.endpoints(&service(&mesh, WEB));
        (endpoints[0].service_account.clone(), labels(&endpoints[0].labels))
    };
    let (account, own) = slices("shop/own");
    assert!(account == "own" && own.contains("version=v7"), "{account} {own}");
    let (account, foreign) = slices("evil/own");
    assert!(account.is_empty() && !foreign.contains("version"), "{account} {foreign}");
}
