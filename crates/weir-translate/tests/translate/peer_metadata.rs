//! Proxies that have the filter by which workloads tell each other of themselves get it in front of all others, and no other proxy does.

use serde_json::{Value, json};
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Labels, own};
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;

use crate::support::{gateway, json_of, mesh_with, sidecar};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec: {hosts: ['*'], gateways: [gw], http: [{route: [{destination: {host: shop.default.svc.cluster.local}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: server, namespace: default}
spec:
  egress: [{hosts: ['*/*']}]
  ingress:
  - {port: {number: 9000, name: http, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:9001'}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: default}
spec: {action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
";

/// What a proxy gets that has the filter, or has not.
fn listeners(mesh: &MeshSnapshot, proxy: &Proxy, has_filter: bool) -> Vec<Value> {
    let key = ClassKey::of(mesh, &Labels::of(mesh), proxy).exchanging_metadata(has_filter);
    let shared = Class::new(key).refresh(mesh, proxy).upserts;
    let shared = shared.iter().filter(|made| made.kind == ResourceType::Listener);
    let shared: Vec<Value> = shared.map(|made| json_of(&made.body.unpack::<Listener>().unwrap())).collect();
    shared.into_iter().chain(own(mesh, proxy, true, has_filter).listeners.iter().map(json_of)).collect()
}

/// The chains of HTTP filters in what it gets: their names, and what the first is told.
fn chains(value: &Value, found: &mut Vec<(Vec<String>, Value)>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(filters)) = fields.get("http_filters") {
                let names = filters.iter().map(|filter| filter["name"].as_str().unwrap().to_owned()).collect();
                found.push((names, filters[0]["typed_config"].clone()));
            }
            fields.values().for_each(|value| chains(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| chains(item, found)),
        _ => {}
    }
}

fn filters(mesh: &MeshSnapshot, proxy: &Proxy, has_filter: bool) -> Vec<(Vec<String>, Value)> {
    let mut found = vec![];
    listeners(mesh, proxy, has_filter).iter().for_each(|listener| chains(listener, &mut found));
    found
}

fn outbound(propagation: Value) -> Value {
    json!({
        "@type": "type.googleapis.com/io.istio.http.peer_metadata.Config",
        "upstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}],
        "upstream_propagation": [{"istio_headers": propagation}],
    })
}

#[test]
fn proxies_that_have_the_filter_get_it_first() {
    const NAME: &str = "istio.metadata_exchange";
    for (headers, propagation) in [
        ("{}", json!({})),
        ("{metadataExchangeHeaders: {mode: UNDEFINED}}", json!({})),
        ("{metadataExchangeHeaders: {mode: IN_MESH}}", json!({"skip_external_clusters": true})),
    ] {
        let mesh = mesh_with(&format!("{{defaultConfig: {{proxyHeaders: {headers}}}}}"), &[("mesh.yaml", MESH)]);
        let inbound = json!({
            "@type": "type.googleapis.com/io.istio.http.peer_metadata.Config",
            "downstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}],
            "downstream_propagation": [{"istio_headers": {}}],
        });
        let proxy = sidecar("10.0.0.9", &[]);
        let of_sidecar = filters(&mesh, &proxy, true);
        let configs: Vec<&Value> = of_sidecar.iter().map(|(_, config)| config).collect();
        assert!(configs.contains(&&inbound) && configs.contains(&&outbound(propagation.clone())), "{configs:?}");
        let of_gateway = filters(&mesh, &gateway(), true);
        assert!(!of_gateway.is_empty() && of_gateway.iter().all(|(_, config)| *config == outbound(propagation.clone())), "{headers}");
        for (proxy, with) in [(&proxy, of_sidecar), (&gateway(), of_gateway)] {
            assert!(with.iter().all(|(names, _)| names[0] == NAME && !names[1..].contains(&NAME.to_owned())), "{with:?}");
            // Without it all is as it was.
            let names = |filters: &[(Vec<String>, Value)], skipped: usize| -> Vec<Vec<String>> {
                filters.iter().map(|(names, _)| names[skipped..].to_vec()).collect()
            };
            assert_eq!(names(&with, 1), names(&filters(&mesh, proxy, false), 0));
        }
    }
}

#[test]
fn a_patch_switches_it_off() {
    let patch = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: off, namespace: istio-system}\nspec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: istio.metadata_exchange}}}
    patch: {operation: REMOVE}
";
    let mesh = mesh_with("{}", &[("mesh.yaml", MESH), ("patch.yaml", patch)]);
    for proxy in [sidecar("10.0.0.9", &[]), gateway()] {
        let of_proxy = filters(&mesh, &proxy, true);
        assert!(!of_proxy.is_empty());
        assert!(of_proxy.iter().all(|(names, _)| !names.contains(&"istio.metadata_exchange".to_owned())), "{of_proxy:?}");
    }
}
