//! From YAML to what a proxy gets, as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::resources::MeshConfig;
use weir_api::{Severity, Source, parse};
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind};
use weir_translate::{Translation, translate};
use weir_xds::cluster::Cluster;
use weir_xds::json::{Names, any_to_value};
use weir_xds::{Any, Message, Name};

/// The mesh of some files.
pub fn mesh(files: &[(&str, &str)]) -> MeshSnapshot {
    mesh_with("accessLogFile: ''\n", files)
}

/// The same with a mesh's configuration.
pub fn mesh_with(config: &str, files: &[(&str, &str)]) -> MeshSnapshot {
    let mut objects = vec![];
    for (name, text) in files {
        let parsed = parse(&Source::new(*name, *text));
        let errors: Vec<_> = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        objects.extend(parsed.objects);
    }
    let (config, diagnostics) = MeshConfig::parse(&Source::new("mesh.yaml", config));
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{diagnostics:#?}");
    MeshSnapshot::new(&objects, Arc::new(config), DEFAULT_DOMAIN)
}

/// The gateway that Istio installs.
pub fn gateway() -> Proxy {
    let labels = [("istio", "ingressgateway"), ("app", "istio-ingressgateway")];
    proxy(ProxyKind::Router, "0.0.0.0", "istio-system", &labels)
}

/// The sidecar of a workload in the default namespace.
pub fn sidecar(address: &str, labels: &[(&str, &str)]) -> Proxy {
    proxy(ProxyKind::Sidecar, address, "default", labels)
}

fn proxy(kind: ProxyKind, address: &str, namespace: &str, labels: &[(&str, &str)]) -> Proxy {
    Proxy {
        id: Proxy::make_id(kind, address, "proxy", namespace, DEFAULT_DOMAIN),
        kind,
        name: "proxy".to_owned(),
        namespace: namespace.to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        addresses: if kind == ProxyKind::Router { vec![] } else { vec![address.to_owned()] },
        locality: String::new(),
        interception: Interception::None,
    }
}

/// All that a proxy gets, as Envoy's JSON.
pub fn whole(mesh: &MeshSnapshot, proxy: &Proxy) -> String {
    let made = translate(mesh, proxy);
    let all = json!({
        "listeners": list(&made.listeners), "routes": list(&made.routes), "clusters": list(&made.clusters),
        "endpoints": list(&made.endpoints), "findings": findings(&made),
    });
    print(all)
}

/// Only the routes.
pub fn routes(mesh: &MeshSnapshot, proxy: &Proxy) -> String {
    let made = translate(mesh, proxy);
    print(json!({ "routes": list(&made.routes), "findings": findings(&made) }))
}

/// Keys in order: the maps of a message have none.
fn print(mut value: Value) -> String {
    value.sort_all_objects();
    serde_json::to_string_pretty(&value).unwrap()
}

/// A cluster by name.
pub fn cluster<'m>(made: &'m Translation, name: &str) -> &'m Cluster {
    made.clusters.iter().find(|cluster| cluster.name == name).unwrap_or_else(|| panic!("no cluster {name}"))
}

/// A message as Envoy's JSON, without its type.
pub fn json_of<M: Message + Name>(message: &M) -> Value {
    let mut value = any_to_value(&Any::pack(message), Names::Proto).unwrap();
    value.as_object_mut().unwrap().remove("@type");
    value
}

/// What a translation has to say.
pub fn findings(made: &Translation) -> Vec<String> {
    made.findings.iter().map(ToString::to_string).collect()
}

fn list<M: Message + Name>(messages: &[M]) -> Vec<Value> {
    messages.iter().map(|message| any_to_value(&Any::pack(message), Names::Camel).unwrap()).collect()
}
