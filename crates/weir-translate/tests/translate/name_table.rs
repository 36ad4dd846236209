//! Which names a sidecar may answer to questions of DNS.

use weir_translate::{Class, ClassKey, Labels};
use weir_xds::names::NameTable;
use weir_xds::resource::ResourceType;

use crate::support::{mesh, sidecar};

const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp, port: 5432}]
endpoints:
- {addresses: [10.0.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: db-1}}
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: db-0}}
- {addresses: [10.0.0.3], conditions: {ready: false}, targetRef: {kind: Pod, name: db-2}}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: default}
spec: {hostname: db-0, subdomain: db}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, namespace: default}
spec: {}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: db-2, namespace: default}
spec: {hostname: db-2, subdomain: db}
status: {podIP: 10.0.0.3}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec:
  hosts: ['*.example.com']
  addresses: [240.240.0.1, 10.9.0.0/16, 240.240.0.2/32]
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.other.svc.cluster.local]
  addresses: [10.97.0.1]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nowhere, namespace: default}
spec:
  hosts: [nowhere.test]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: away}
spec:
  hosts: [hidden.test]
  addresses: [10.98.0.1]
  exportTo: ['.']
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
";

#[test]
fn what_a_proxy_may_reach_and_has_addresses_has_a_name() {
    let (mesh, proxy) = (mesh(&[("mesh.yaml", MESH)]), sidecar("10.0.0.9", &[]));
    let key = || ClassKey::of(&mesh, &Labels::of(&mesh), &proxy);
    let table = |key: ClassKey| {
        let update = Class::new(key).refresh(&mesh, &proxy);
        update.upserts.iter().find(|made| made.kind == ResourceType::NameTable).map(|made| made.body.unpack::<NameTable>().unwrap())
    };
    assert_eq!(table(key()), None, "who answers no questions gets no names");
    let table = table(key().answering_dns(true)).unwrap();
    let shown: Vec<String> = table
        .table
        .iter()
        .map(|(host, info)| format!("{host} {} {}/{} [{}]", info.registry, info.namespace, info.shortname, info.ips.join(" ")))
        .collect();
    assert_eq!(
        shown,
        [
            "*.example.com External / [240.240.0.1 240.240.0.2]",
            "db-0.db.default.svc.cluster.local Kubernetes default/db-0.db [10.0.0.1]",
            "db.default.svc.cluster.local Kubernetes default/db [10.0.0.1 10.0.0.2]",
            "reviews.default.svc.cluster.local Kubernetes default/reviews [10.96.0.1 fd00::1]",
            "shop.other.svc.cluster.local External other/shop [10.97.0.1]",
        ]
    );
}
