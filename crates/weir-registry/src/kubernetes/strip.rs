//! What is kept of an object of the API server's: what a mesh reads, and nothing that changes every few seconds.
//!
//! So a Pod of 8 KB is a few hundred bytes, and a Node that only says that it is alive changes nothing.

use serde_json::{Map, Value};
use weir_api::Kind;

/// What of any object's metadata counts.
const METADATA: [&str; 7] = ["name", "namespace", "labels", "annotations", "creationTimestamp", "generation", "uid"];
/// The whole object once more, as kubectl applied it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Names the Service of an EndpointSlice; no other label of one counts.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// What of a Pod's metadata counts, and of who made it.
const POD_METADATA: [&str; 7] = ["name", "generateName", "namespace", "labels", "annotations", "creationTimestamp", "ownerReferences"];
const OWNER: [&str; 4] = ["apiVersion", "kind", "name", "controller"];
/// What of a Pod's content counts: all of the containers is their names and ports.
const POD: [&str; 5] = ["serviceAccountName", "nodeName", "hostNetwork", "hostname", "subdomain"];
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];
const CONTAINER: [&str; 2] = ["name", "ports"];
const POD_STATUS: [&str; 3] = ["phase", "podIP", "podIPs"];
/// The keys under which a Secret may have a certificate, see Istio's pilot/pkg/credentials/kube/secrets.go.
const SECRET: [&str; 9] = ["cert", "key", "cacert", "crl", "tls.crt", "tls.key", "tls.ocsp-staple", "ca.crt", "ca.crl"];

/// An object of this kind as far as it counts.
pub(super) fn strip(kind: Kind, object: Value) -> Value {
    let Value::Object(mut object) = object else { return object };
    let mut kept = Map::new();
    for key in ["apiVersion", "kind"] {
        kept.extend(object.remove(key).map(|value| (key.to_owned(), value)));
    }
    kept.extend(object.remove("metadata").map(|value| ("metadata".to_owned(), metadata(kind, value))));
    match kind {
        Kind::Pod => {
            kept.extend(object.remove("spec").map(|spec| ("spec".to_owned(), pod(spec))));
            kept.extend(object.remove("status").map(|status| ("status".to_owned(), pod_status(status))));
        }
        Kind::Service => {
            kept.extend(object.remove("spec").map(|spec| ("spec".to_owned(), spec)));
            kept.extend(object.remove("status").map(|status| ("status".to_owned(), only(status, &["loadBalancer"]))));
        }
        Kind::Secret => {
            kept.extend(object.remove("type").map(|word| ("type".to_owned(), word)));
            kept.extend(object.remove("data").map(|data| ("data".to_owned(), only(data, &SECRET))));
        }
        Kind::Node | Kind::Namespace => {}
        // What else stands in a resource of Istio's does not belong there, and is to be said.
        _ => {
            object.remove("status");
            kept.extend(object);
        }
    }
    Value::Object(kept)
}

/// Drops what of a Secret's data does not count, of an object whose kind nobody has said: a Secret is what has data, and a type.
pub(super) fn strip_data(object: &mut Value) {
    if !object.get("type").is_some_and(Value::is_string) {
        return;
    }
    if let Some(Value::Object(data)) = object.get_mut("data") {
        data.retain(|key, _| SECRET.contains(&key.as_str()));
    }
}

fn metadata(kind: Kind, metadata: Value) -> Value {
    let mut metadata = match kind {
        // A slice's own age and annotations are those of its last change.
        Kind::EndpointSlice => only(metadata, &["name", "namespace", "labels"]),
        Kind::Node => only(metadata, &["name", "labels", "creationTimestamp"]),
        Kind::Namespace => only(metadata, &["name", "labels", "annotations", "creationTimestamp"]),
        Kind::Pod => pod_metadata(metadata),
        _ => only(metadata, &METADATA),
    };
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.shift_remove(LAST_APPLIED);
    }
    if let (Kind::EndpointSlice, Some(Value::Object(labels))) = (kind, metadata.get_mut("labels")) {
        labels.retain(|name, _| name == SERVICE_NAME);
    }
    metadata
}

/// Of who a Pod belongs to only who made it.
fn pod_metadata(metadata: Value) -> Value {
    let mut metadata = only(metadata, &POD_METADATA);
    if let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") {
        owners.retain(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        owners.iter_mut().for_each(|owner| *owner = only(owner.take(), &OWNER));
    }
    metadata
}

fn pod(mut spec: Value) -> Value {
    for containers in CONTAINERS {
        for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            *container = only(container.take(), &CONTAINER);
        }
    }
    only(spec, &[&POD[..], &CONTAINERS].concat())
}

/// Of a Pod's state only whether it is ready; when it last was changes with every probe.
fn pod_status(mut status: Value) -> Value {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let ready = conditions.into_iter().filter(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let ready: Vec<Value> = ready.map(|condition| only(condition, &["type", "status"])).collect();
    let mut status = only(status, &POD_STATUS);
    if let (Some(status), false) = (status.as_object_mut(), ready.is_empty()) {
        status.insert("conditions".to_owned(), ready.into());
    }
    status
}

/// A map with only these of its entries, in its own order; what is no map stays what it is, and is found to be none by who reads it.
fn only(mut value: Value, keys: &[&str]) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|key, _| keys.contains(&key.as_str()));
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_each_kind_only_what_a_mesh_reads_is_kept() {
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"});
        let cases = [
            (
                Kind::VirtualService,
                json!({"kind": "VirtualService", "metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "managedFields": [{}],
                    "annotations": applied}, "spec": {"hosts": ["a"]}, "status": {"x": 1}, "spce": {}}),
                json!({"kind": "VirtualService", "metadata": {"name": "a", "uid": "1", "annotations": {"a": "b"}}, "spec": {"hosts": ["a"]},
                    "spce": {}}),
            ),
            (
                Kind::Pod,
                json!({"metadata": {"name": "a", "uid": "1", "labels": {"app": "a"}, "ownerReferences": [{"kind": "X"}, {"kind": "Job", "name": "j",
                    "controller": true, "uid": "2"}]}, "spec": {"nodeName": "n", "volumes": [],
                    "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}]}]},
                    "status": {"podIP": "10.0.0.1", "hostIP": "1", "conditions": [{"type": "Initialized", "status": "True"},
                    {"type": "Ready", "status": "True", "lastProbeTime": "t"}]}}),
                json!({"metadata": {"name": "a", "labels": {"app": "a"}, "ownerReferences": [{"kind": "Job", "name": "j", "controller": true}]},
                    "spec": {"nodeName": "n", "containers": [{"name": "c",
                    "ports": [{"containerPort": 1}]}]}, "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}}),
            ),
            (
                Kind::EndpointSlice,
                json!({"metadata": {"name": "a", "generation": 3, "annotations": {"at": "t"}, "labels": {"kubernetes.io/service-name": "s",
                    "other": "x"}}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": []}),
                json!({"metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
                    "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": []}),
            ),
            (
                Kind::Secret,
                json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"password": "eA==", "tls.crt": "eQ=="}}),
                json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"tls.crt": "eQ=="}}),
            ),
            (
                Kind::Service,
                json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}, "status": {"loadBalancer": {"ingress": []}, "conditions": []}}),
                json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}, "status": {"loadBalancer": {"ingress": []}}}),
            ),
            (
                Kind::Node,
                json!({"metadata": {"name": "n", "labels": {"z": "1"}}, "spec": {"podCIDR": "x"}, "status": {"images": []}}),
                json!({"metadata": {"name": "n", "labels": {"z": "1"}}}),
            ),
        ];
        for (kind, object, expected) in cases {
            assert_eq!(strip(kind, object), expected, "{kind}");
        }
        for odd in [json!(null), json!([1]), json!({"metadata": 1, "spec": 2, "status": {"conditions": 3}})] {
            for kind in Kind::all() {
                strip(kind, odd.clone());
            }
        }
    }
}
