//! What proxies get that are alike is what each of them gets alone.

use std::collections::{BTreeMap, BTreeSet};

use weir_model::{Interception, MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Encoded, Labels, Translation, encode_own, own, translate};
use weir_xds::resource::ResourceType;
use weir_xds::{Any, Message, Name};

use crate::support::{gateway, mesh, sidecar};

pub(crate) type Set = BTreeMap<(ResourceType, String), Any>;

fn add<M: Message + Name>(set: &mut Set, kind: ResourceType, messages: &[M], name: impl Fn(&M) -> &String) {
    set.extend(messages.iter().map(|message| ((kind, name(message).clone()), Any::pack(message))));
}

/// What a proxy gets, from one translation for it alone.
pub(crate) fn alone(mesh: &MeshSnapshot, proxy: &Proxy) -> (Set, BTreeSet<String>) {
    let Translation { listeners, routes, clusters, endpoints, secrets, extensions, findings } = translate(mesh, proxy);
    let mut set = Set::new();
    add(&mut set, ResourceType::Listener, &listeners, |listener| &listener.name);
    add(&mut set, ResourceType::Route, &routes, |routes| &routes.name);
    add(&mut set, ResourceType::Cluster, &clusters, |cluster| &cluster.name);
    add(&mut set, ResourceType::Endpoint, &endpoints, |endpoints| &endpoints.cluster_name);
    add(&mut set, ResourceType::Secret, &secrets, |secret| &secret.name);
    add(&mut set, ResourceType::Extension, &extensions, |config| &config.name);
    (set, findings.iter().map(ToString::to_string).collect())
}

fn key(mesh: &MeshSnapshot, proxy: &Proxy) -> ClassKey {
    ClassKey::of(mesh, &Labels::of(mesh), proxy)
}

/// The same by way of its class.
pub(crate) fn by_class(mesh: &MeshSnapshot, proxy: &Proxy) -> (Set, BTreeSet<String>) {
    let update = Class::new(key(mesh, proxy)).refresh(mesh, proxy);
    let own = own(mesh, proxy, true, false);
    let encoded = |encoded: &Encoded| ((encoded.kind, encoded.name.to_string()), encoded.body.clone());
    let mut set: Set = update.upserts.iter().map(|made| encoded(made)).collect();
    set.extend(encode_own(&own).iter().map(|made| encoded(made)));
    let findings = update.findings.unwrap_or_default();
    (set, findings.iter().chain(&own.findings).map(ToString::to_string).collect())
}

/// What only one mesh has: services of all sorts, on ports of all sorts, and rules about them.
const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sniffed, namespace: default}
spec:
  hosts: [a.test]
  addresses: [10.1.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: any}, {number: 9001, name: tcp, protocol: TCP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 10.2.0.1, labels: {version: v1}}, {address: 10.2.0.2, labels: {version: v2}, locality: eu/a/1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other, namespace: default}
spec:
  hosts: [b.test]
  addresses: [10.1.0.4]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: any}, {number: 9001, name: tcp, protocol: TCP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 10.2.0.3}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec:
  hosts: ['*.wild.test', x.wild.test]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: http-too, protocol: HTTP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named, namespace: default}
spec:
  hosts: [c.test]
  addresses: [10.1.0.2]
  ports: [{number: 9000, name: any}, {number: 9001, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, ports: [{port: 9001, name: tcp}, {port: 9002, name: any}], selector: {app: headless}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: headless-1, namespace: default, labels: {kubernetes.io/service-name: headless}}
addressType: IPv4
ports: [{name: tcp, port: 9001}, {name: any, port: 9002}]
endpoints: [{addresses: [10.3.0.1]}, {addresses: [10.3.0.2]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.test, '*.wild.test', elsewhere.test]
  http:
  - match: [{sourceLabels: {tier: front}, uri: {prefix: /x}}]
    route: [{destination: {host: b.test, port: {number: 80}}}]
  - route: [{destination: {host: a.test, subset: v1}, weight: 80}, {destination: {host: a.test, subset: v3}, weight: 20}]
    mirror: {host: nowhere.test}
  tcp:
  - match: [{port: 9001}]
    route: [{destination: {host: b.test}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, namespace: default}
spec:
  hosts: [a.test]
  http: [{route: [{destination: {host: c.test}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a.test
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
    outlierDetection: {consecutive5xxErrors: 3}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: default}
spec:
  host: b.test
  workloadSelector: {matchLabels: {app: special}}
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: special, namespace: default}
spec:
  workloadSelector: {labels: {app: special}}
  ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8081}]
  egress: [{port: {number: 9000, protocol: HTTP, name: http}, hosts: ['*/a.test', '*/c.test']}, {hosts: ['*/*']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

/// Proxies of all sorts.
fn proxies() -> Vec<Proxy> {
    let mut proxies = vec![gateway()];
    for interception in [Interception::None, Interception::Redirect, Interception::Tproxy] {
        for (address, labels) in [
            ("10.2.0.1", &[("app", "a")][..]),
            ("10.2.0.2", &[("app", "special"), ("tier", "front")]),
            ("10.3.0.1", &[("app", "headless")]),
            ("10.3.0.2", &[("app", "headless")]),
            ("10.9.0.9", &[("tier", "front")]),
        ] {
            proxies.push(Proxy { interception, ..sidecar(address, labels) });
        }
    }
    proxies
}

fn meshes() -> Vec<MeshSnapshot> {
    let samples = ["bookinfo", "httpbin", "tcp-echo"].map(|name| {
        let folder = format!("{}/../../samples/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<(String, String)> = vec![];
        let mut folders = vec![std::path::PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "yaml") {
                    files.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        files.sort();
        mesh(&files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
    });
    samples.into_iter().chain([mesh(&[("mesh.yaml", MESH)])]).collect()
}

/// Each with an address of IPv6 more.
fn of_both_families(proxies: Vec<Proxy>) -> impl Iterator<Item = Proxy> {
    proxies.into_iter().filter(|proxy| !proxy.addresses.is_empty()).map(|mut proxy| {
        proxy.addresses.push("fd00::1".to_owned());
        proxy
    })
}

#[test]
fn by_its_class_a_proxy_gets_what_it_gets_alone() {
    for mesh in meshes() {
        for proxy in proxies().into_iter().chain(of_both_families(proxies())) {
            let ((expected, said), (got, told)) = (alone(&mesh, &proxy), by_class(&mesh, &proxy));
            assert!(!expected.is_empty());
            assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{proxy:?}");
            for (key, body) in &expected {
                assert!(got.get(key) == Some(body), "{key:?} of {proxy:?}");
            }
            assert_eq!(told, said, "{proxy:?}");
        }
    }
}

#[test]
fn proxies_are_alike_unless_a_rule_tells_them_apart() {
    let mesh = mesh(&[("mesh.yaml", MESH)]);
    let of = |address: &str, labels: &[(&str, &str)]| key(&mesh, &sidecar(address, labels));
    let plain = of("10.9.0.1", &[("app", "x")]);
    assert_eq!(plain, of("10.9.0.2", &[("app", "x"), ("pod-template-hash", "7")]));
    // A condition on the source, a selector, a Sidecar's own: each is a difference.
    assert_ne!(plain, of("10.9.0.2", &[("app", "x"), ("tier", "front")]));
    assert_ne!(plain, of("10.9.0.2", &[("app", "y")]), "a DestinationRule looks at it");
    assert_ne!(of("10.9.0.2", &[("app", "special")]), of("10.9.0.2", &[("app", "y")]));
    // Where instances run decides which of them are near.
    assert_ne!(plain, of("10.2.0.2", &[("app", "x")]));
    // Instances of a service without an address do not listen for themselves.
    let redirected = |address: &str| key(&mesh, &Proxy { interception: Interception::Redirect, ..sidecar(address, &[]) });
    assert_ne!(redirected("10.3.0.1"), redirected("10.3.0.2"));
    assert_eq!(redirected("10.9.0.1"), redirected("10.9.0.2"));
}

/// A namespace may know another service by a name than the one that instances are about: what it makes of them is its own.
#[test]
fn instances_that_stand_in_clusters_change_though_another_service_of_that_name_is_told_by_eds() {
    let service = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: x, annotations: {networking.istio.io/exportTo: .}}
spec: {clusterIP: 10.2.0.2, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: x}
spec: {hosts: [web.x.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";
    let slice = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.2]}]
";
    let (before, proxy) = (mesh(&[("mesh.yaml", service)]), sidecar("10.9.0.1", &[]));
    let mut class = Class::new(key(&before, &proxy));
    class.refresh(&before, &proxy);
    let added = weir_api::parse(&weir_api::Source::new("slice.yaml", slice)).objects.remove(0);
    let after = before.update(&[weir_api::ObjectChange::added(added)], None, &[]);
    let changed: BTreeSet<_> = class.refresh(&after, &proxy).upserts.iter().map(|made| made.name.to_string()).collect();
    let (old, new) = (alone(&before, &proxy).0, alone(&after, &proxy).0);
    let expected = new.iter().filter(|(key, body)| old.get(*key) != Some(*body)).map(|((_, name), _)| name.clone());
    assert_eq!(changed, expected.collect::<BTreeSet<_>>());
    assert!(!changed.is_empty());
}

/// Of services whose ports may carry any protocol, each has a route configuration of its own.
#[test]
fn the_route_configuration_of_one_service_is_made_of_that_service_alone() {
    const SERVICES: usize = 200;
    let service = |i: usize| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{i}, namespace: default}}
spec:
  hosts: [s{i}.test]
  addresses: [10.1.0.{i}]
  ports: [{{number: 9000, name: any}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{{address: 10.2.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{i}, namespace: default}}
spec:
  hosts: [s{i}.test]
  http: [{{route: [{{destination: {{host: s{i}.test}}}}], timeout: 1s}}]
"
        )
    };
    let text = (1..=SERVICES).map(service).collect::<Vec<_>>().join("---\n");
    let (mesh, proxy) = (mesh(&[("mesh.yaml", &text)]), Proxy { interception: Interception::Redirect, ..sidecar("10.9.0.1", &[]) });
    for by_virtual_host in [false, true] {
        let mut class = Class::new(key(&mesh, &proxy).by_virtual_host(&mesh, by_virtual_host));
        let made = class.refresh(&mesh, &proxy).upserts;
        let routes: Vec<&str> = made.iter().filter(|made| made.kind == ResourceType::Route).map(|made| &*made.name).collect();
        assert_eq!(routes.iter().filter(|name| name.ends_with(".test:9000")).count(), SERVICES, "{routes:?}");
        assert!(made.iter().all(|made| made.kind != ResourceType::VirtualHost), "there is nothing to divide");
        // All rules are looked at once more for port 80, where hosts need not be services.
        assert!(class.work().asked_for_routes <= 2 * SERVICES, "{:?}", class.work());
    }
}

#[test]
fn a_refresh_without_a_change_changes_nothing() {
    for mesh in meshes() {
        for proxy in proxies() {
            let mut class = Class::new(key(&mesh, &proxy));
            assert!(!class.refresh(&mesh, &proxy).upserts.is_empty());
            let update = class.refresh(&mesh, &proxy);
            assert!(update.upserts.is_empty() && update.removals.is_empty());
        }
    }
}

/// One service for its own node divides those alone by their nodes that reach it.
#[test]
fn only_who_reaches_a_service_for_its_own_node_is_told_apart_by_node() {
    let services = |spec: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: near, namespace: default}}
spec: {{clusterIP: 10.1.0.1, ports: [{{port: 80, name: http}}]{spec}}}
---
apiVersion: v1
kind: Service
metadata: {{name: far, namespace: default}}
spec: {{clusterIP: 10.1.0.2, ports: [{{port: 80, name: http}}]}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: far, namespace: default}}
spec: {{workloadSelector: {{labels: {{app: far}}}}, egress: [{{hosts: [./far.default.svc.cluster.local]}}]}}
"
        )
    };
    for (spec, by_node) in [
        (", internalTrafficPolicy: Local", true),
        (", trafficDistribution: PreferSameNode", true),
        (", trafficDistribution: PreferClose", false),
        ("", false),
    ] {
        let mesh = mesh(&[("mesh.yaml", &services(spec))]);
        for (app, reaches_it) in [("near", true), ("far", false)] {
            let key = |node| key(&mesh, &sidecar("10.9.0.1", &[("app", app), ("kubernetes.io/hostname", node)]));
            assert_eq!(key("n1") != key("n2"), by_node && reaches_it, "{spec} {app}");
        }
    }
}
