//! Listeners and instances at Unix sockets.

use serde_json::Value;
use weir_translate::{Translation, translate};

use crate::support::{json_of, mesh, sidecar};

fn listener(made: &Translation, name: &str) -> Value {
    json_of(made.listeners.iter().find(|listener| listener.name == name).unwrap())
}

#[test]
fn a_sidecar_listens_and_sends_at_unix_sockets() {
    let text = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 'unix:///run/shop'}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: default}
spec:
  hosts: [bank.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: default}
spec:
  ingress:
  - {port: {number: 9000, name: http, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: 'unix:///run/app'}
  egress:
  - {port: {protocol: HTTP, name: out}, bind: 'unix:///run/out', hosts: ['*/*']}
  - {port: {number: 8080, protocol: HTTP, name: more}, hosts: ['*/*']}
";
    let made = translate(&mesh(&[("a.yaml", text)]), &sidecar("10.0.0.9", &[]));
    let out = listener(&made, "unix:///run/out_0");
    assert_eq!(out["address"]["pipe"]["path"], "/run/out");
    let rds = &out["filter_chains"][0]["filters"][0]["typed_config"]["rds"]["route_config_name"];
    assert_eq!(rds, "unix:///run/out");
    let table = made.routes.iter().find(|table| table.name == "unix:///run/out").unwrap();
    let names: Vec<&str> = table.virtual_hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["bank.default.svc.cluster.local:80", "shop.default.svc.cluster.local:8080", "allow_any"]);
    // There the port of a host says which is meant, and at a port it says nothing.
    assert!(!table.ignore_port_in_host_matching);
    assert!(table.virtual_hosts[1].domains.contains(&"shop:8080".to_owned()), "{:?}", table.virtual_hosts[1].domains);
    assert!(made.routes.iter().any(|table| table.name == "8080" && table.ignore_port_in_host_matching));
    let endpoint = |name: &str| json_of(made.clusters.iter().find(|cluster| cluster.name == name).unwrap());
    let place = &endpoint("inbound|9000||")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
    assert_eq!(place["pipe"]["path"], "/run/app");
    let assignment = made.endpoints.iter().find(|assignment| assignment.cluster_name.starts_with("outbound|8080|")).unwrap();
    assert_eq!(json_of(assignment)["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["pipe"]["path"], "/run/shop");
}
