//! The columns of each kind, as Istio's and Kubernetes' own definitions have them; of those that nobody reads from a file, the age alone.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;
use weir_api::resources::kubernetes::Service;
use weir_api::{Kind, Object, Spec};
use weir_registry::Catalog;

use crate::print;

/// What kubectl prints where there is nothing.
const NONE: &str = "<none>";

/// A table of objects of one kind; a wide one has columns of less importance.
pub(super) fn table(kind: Kind, objects: &[&Arc<Object>], with_namespace: bool, is_wide: bool, catalog: &Catalog) -> String {
    let namespaced = with_namespace && objects.iter().any(|object| !object.meta.namespace.is_empty());
    let mut head: Vec<&str> = if namespaced { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    head.extend(columns(kind));
    head.extend(wide_columns(kind).iter().filter(|_| is_wide));
    let row = |object: &&Arc<Object>| {
        let mut row = if namespaced { vec![object.meta.namespace.clone()] } else { vec![] };
        row.push(object.meta.name.clone());
        row.extend(cells(object, age(object, catalog)));
        row.extend(wide_cells(&object.spec).into_iter().filter(|_| is_wide));
        row
    };
    print::table(&head, objects.iter().map(row).collect())
}

fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::VirtualService => &["GATEWAYS", "HOSTS", "AGE"],
        Kind::DestinationRule => &["HOST", "AGE"],
        Kind::ServiceEntry => &["HOSTS", "LOCATION", "RESOLUTION", "AGE"],
        Kind::WorkloadEntry => &["AGE", "ADDRESS"],
        Kind::AuthorizationPolicy => &["ACTION", "AGE"],
        Kind::PeerAuthentication => &["MODE", "AGE"],
        Kind::Service => &["TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
        Kind::Ingress => &["CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"],
        Kind::Secret => &["TYPE", "DATA", "AGE"],
        Kind::ConfigMap => &["DATA", "AGE"],
        _ => &["AGE"],
    }
}

fn cells(object: &Object, age: String) -> Vec<String> {
    match &object.spec {
        Spec::VirtualService(spec) => vec![list(&spec.gateways), list(&spec.hosts), age],
        Spec::DestinationRule(spec) => vec![spec.host.clone(), age],
        Spec::ServiceEntry(spec) => {
            let location = match spec.location {
                weir_api::resources::service_entry::Location::MeshExternal => "MESH_EXTERNAL",
                weir_api::resources::service_entry::Location::MeshInternal => "MESH_INTERNAL",
            };
            vec![list(&spec.hosts), location.to_owned(), spec.resolution.name().to_owned(), age]
        }
        Spec::WorkloadEntry(spec) => vec![age, spec.address.clone()],
        Spec::Service(service) => of_service(service, age),
        Spec::Secret(secret) => {
            let kind = if secret.r#type.is_empty() { "Opaque" } else { &secret.r#type };
            vec![kind.to_owned(), secret.data.keys().chain(secret.string_data.keys()).count().to_string(), age]
        }
        Spec::ConfigMap(map) => vec![(map.data.len() + map.binary_data.len()).to_string(), age],
        _ => of_json(object, age),
    }
}

/// Those that are told by a word of what is written.
fn of_json(object: &Object, age: String) -> Vec<String> {
    let json = object.node.to_json();
    let word = |path: &str| json.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    match object.kind {
        Kind::AuthorizationPolicy => vec![word("/spec/action"), age],
        Kind::PeerAuthentication => vec![word("/spec/mtls/mode"), age],
        Kind::Ingress => {
            let class = Some(word("/spec/ingressClassName")).filter(|class| !class.is_empty()).unwrap_or_else(|| NONE.to_owned());
            let ports = if items(&json, "/spec/tls").next().is_some() { "80, 443" } else { "80" };
            vec![class, hosts_of_ingress(&json), addresses(&json), ports.to_owned(), age]
        }
        _ => vec![age],
    }
}

fn items<'j>(json: &'j Value, path: &str) -> impl Iterator<Item = &'j Value> + use<'j> {
    json.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// The first three, and how many more there are.
fn hosts_of_ingress(json: &Value) -> String {
    let all: Vec<&str> = items(json, "/spec/rules").filter_map(|rule| rule["host"].as_str()).filter(|host| !host.is_empty()).collect();
    match all.as_slice() {
        [] => "*".to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        few => few.join(","),
    }
}

/// Those of load balancers, as its status has them.
fn addresses(json: &Value) -> String {
    let all = items(json, "/status/loadBalancer/ingress");
    all.filter_map(|at| at["ip"].as_str().or(at["hostname"].as_str())).collect::<Vec<_>>().join(",")
}

fn of_service(service: &Service, age: String) -> Vec<String> {
    let spec = &service.spec;
    let kind = if spec.r#type.is_empty() { "ClusterIP" } else { &spec.r#type };
    let or_none = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
    let port = |port: &weir_api::resources::kubernetes::ServicePort| {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        match port.node_port {
            0 => format!("{}/{protocol}", port.port),
            node => format!("{}:{node}/{protocol}", port.port),
        }
    };
    let ports: Vec<String> = spec.ports.iter().map(port).collect();
    vec![kind.to_owned(), or_none(&spec.cluster_ip), external_addresses(service, kind), or_none(&ports.join(",")), age]
}

fn external_addresses(service: &Service, kind: &str) -> String {
    if service.spec.is_external_name() {
        return service.spec.external_name.clone();
    }
    let balancers = &service.status.load_balancer.ingress;
    let of_balancers = balancers.iter().map(|at| if at.ip.is_empty() { &at.hostname } else { &at.ip });
    let all: Vec<&str> = of_balancers.chain(&service.spec.external_ips).map(String::as_str).collect();
    match (all.is_empty(), kind) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => NONE.to_owned(),
        (false, _) => all.join(","),
    }
}

fn wide_columns(kind: Kind) -> &'static [&'static str] {
    if kind == Kind::Service { &["SELECTOR"] } else { &[] }
}

fn wide_cells(spec: &Spec) -> Option<String> {
    let Spec::Service(service) = spec else { return None };
    let labels: Vec<String> = service.spec.selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(if labels.is_empty() { NONE.to_owned() } else { labels.join(",") })
}

/// As kubectl prints a list; nothing for an empty one.
fn list(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::Value::from(words).to_string() }
}

/// Since when the object is there, or, where it does not say, since when its text is as it is.
fn age(object: &Object, catalog: &Catalog) -> String {
    let created = object.meta.creation_timestamp.map(|time: Timestamp| SystemTime::from(time));
    let since = created.or_else(|| catalog.changed(&object.source.path));
    let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
    age.map_or_else(|| "<unknown>".to_owned(), print::age)
}
