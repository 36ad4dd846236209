//! What a mesh's `proxyHeaders` asks for stands in every resource that it is about, and nothing of it if it is not asked for.

use serde_json::Value;
use weir_translate::{Translation, translate};

use crate::support::{json_of, mesh_with, sidecar};

const SHOP: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}, {number: 8090, name: other}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.default.svc.cluster.local]
  http:
  - rewrite: {authority: other.test}
    route: [{destination: {host: shop.default.svc.cluster.local}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: server, namespace: default}
spec:
  ingress:
  - {port: {number: 9000, name: http, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:9001'}
";

fn made_with(headers: &str) -> Translation {
    let config = format!("{{defaultConfig: {{proxyHeaders: {headers}}}}}");
    translate(&mesh_with(&config, &[("shop.yaml", SHOP)]), &sidecar("10.0.0.9", &[]))
}

/// All values of a field, wherever it stands.
fn all<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    let mut found = vec![];
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name));
            fields.values().for_each(|value| found.extend(all(value, name)));
        }
        Value::Array(items) => items.iter().for_each(|item| found.extend(all(item, name))),
        _ => {}
    }
    found
}

/// All values of a field in what a proxy gets.
fn values(made: &Translation, name: &str) -> Vec<Value> {
    let listeners = made.listeners.iter().map(json_of);
    let resources = listeners.chain(made.clusters.iter().map(json_of)).chain(made.routes.iter().map(json_of));
    resources.flat_map(|resource| all(&resource, name).into_iter().cloned().collect::<Vec<_>>()).collect()
}

#[test]
fn each_header_is_turned_on_and_off_where_it_is_made() {
    let cases = [
        ("{attemptCount: {disabled: true}}", "include_request_attempt_count", 0, 3),
        ("{envoyDebugHeaders: {disabled: true}}", "suppress_envoy_headers", 4, 0),
        ("{xForwardedHost: {enabled: true}}", "append_x_forwarded_host", 3, 0),
        ("{xForwardedPort: {enabled: true}}", "append_x_forwarded_port", 4, 0),
        ("{preserveHttp1HeaderCase: true}", "header_key_format", 8, 0),
    ];
    let number = |headers, field| values(&made_with(headers), field).len();
    let found = cases.map(|(headers, field, ..)| (headers, field, number(headers, field), number("{}", field)));
    assert_eq!(found, cases);
}

#[test]
fn x_forwarded_client_cert_says_of_a_certificate_what_is_asked_for() {
    let details = |headers| {
        let mut all = values(&made_with(headers), "set_current_client_cert_details");
        all.dedup();
        all
    };
    let usual = serde_json::json!({"subject": true, "dns": true, "uri": true});
    assert_eq!(details("{}"), [usual]);
    let asked = serde_json::json!({"subject": false, "cert": true, "chain": true});
    assert_eq!(details("{setCurrentClientCertDetails: {subject: false, cert: true, chain: true, dns: false, uri: false}}"), [asked]);
}
