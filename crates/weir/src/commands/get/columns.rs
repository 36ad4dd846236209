//! The columns of each kind, as Istio's and Kubernetes' own definitions have them.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use weir_api::{Kind, Object, Spec};
use weir_registry::Catalog;

use crate::print;

/// A table of objects of one kind.
pub(super) fn table(kind: Kind, objects: &[&Arc<Object>], with_namespace: bool, catalog: &Catalog) -> String {
    let own = own_columns(kind);
    let namespaced = with_namespace && objects.iter().any(|object| !object.meta.namespace.is_empty());
    let mut head: Vec<&str> = if namespaced { vec!["NAMESPACE", "NAME"] } else { vec!["NAME"] };
    head.extend(own);
    head.push("AGE");
    let row = |object: &&Arc<Object>| {
        let mut cells = if namespaced { vec![object.meta.namespace.clone()] } else { vec![] };
        cells.push(object.meta.name.clone());
        cells.extend(own_cells(&object.spec));
        cells.push(age(object, catalog));
        cells
    };
    print::table(&head, objects.iter().map(row).collect())
}

fn own_columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::VirtualService => &["GATEWAYS", "HOSTS"],
        Kind::DestinationRule => &["HOST"],
        Kind::ServiceEntry => &["HOSTS", "LOCATION", "RESOLUTION"],
        Kind::WorkloadEntry => &["ADDRESS"],
        Kind::Service => &["TYPE", "CLUSTER-IP", "PORT(S)"],
        _ => &[],
    }
}

fn own_cells(spec: &Spec) -> Vec<String> {
    match spec {
        Spec::VirtualService(spec) => vec![list(&spec.gateways), list(&spec.hosts)],
        Spec::DestinationRule(spec) => vec![spec.host.clone()],
        Spec::ServiceEntry(spec) => {
            let location = match spec.location {
                weir_api::resources::service_entry::Location::MeshExternal => "MESH_EXTERNAL",
                weir_api::resources::service_entry::Location::MeshInternal => "MESH_INTERNAL",
            };
            vec![list(&spec.hosts), location.to_owned(), spec.resolution.name().to_owned()]
        }
        Spec::WorkloadEntry(spec) => vec![spec.address.clone()],
        Spec::Service(service) => {
            let ports: Vec<String> = service.spec.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
            let address = if service.spec.cluster_ip.is_empty() { "<none>" } else { &service.spec.cluster_ip };
            vec![service.spec.r#type.clone(), address.to_owned(), ports.join(",")]
        }
        _ => vec![],
    }
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
