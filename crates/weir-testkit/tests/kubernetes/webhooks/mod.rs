//! The admission webhooks: the API server asks the pilot before it makes a pod or a resource, and heeds what it is answered.

mod injection;
mod rotation;
mod validation;

use serde_json::{Value, json};
use weir_inject::Webhooks;
use weir_inject::configuration::Reach;
use weir_testkit::{Cluster, until};

pub const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
pub const PORT: &str = "15017";

/// A control plane of this revision and with these tags.
pub fn plane(revision: &str, tags: &[&str]) -> Webhooks {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Webhooks { revision: revision.to_owned(), tags, every_namespace: false, own_namespace: "istio-system".to_owned() }
}

/// Makes the namespaces of the control plane, and the Service by which the API server finds a pilot on the node.
async fn make_service(cluster: &Cluster, name: &str) {
    let object = |kind: &str, version: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    cluster.apply("/api/v1/namespaces/istio-system", object("Namespace", "v1", "istio-system")).await;
    let mut service = object("Service", "v1", name);
    service["spec"] = json!({"ports": [{"name": "https-webhook", "port": 443, "targetPort": 15017}]});
    cluster.apply(&format!("/api/v1/namespaces/istio-system/services/{name}"), service).await;
    let mut slice = object("EndpointSlice", "discovery.k8s.io/v1", name);
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": name});
    slice["addressType"] = json!("IPv4");
    slice["ports"] = json!([{"name": "https-webhook", "port": 15017, "protocol": "TCP"}]);
    slice["endpoints"] = json!([{"addresses": ["10.244.0.1"], "conditions": {"ready": true}}]);
    cluster.apply(&format!("/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices/{name}"), slice).await;
}

/// Applies configurations, and gives back their paths.
pub async fn apply_all(cluster: &Cluster, kind: &str, configurations: Vec<Value>) -> Vec<String> {
    let mut paths = vec![];
    for configuration in configurations {
        let path = format!("{kind}/{}", configuration["metadata"]["name"].as_str().unwrap());
        cluster.apply(&path, configuration).await;
        paths.push(path);
    }
    paths
}

/// The webhooks of a configuration as they are now.
async fn hooks(cluster: &Cluster, path: &str) -> Vec<Value> {
    let read = cluster.ask("GET", path, None).await.unwrap();
    read["webhooks"].as_array().cloned().unwrap_or_default()
}

/// Waits until all webhooks of these configurations have a caBundle.
pub async fn until_known(cluster: &Cluster, paths: &[String]) {
    for path in paths {
        until(&format!("{path} has the mesh's roots"), async || {
            hooks(cluster, path).await.iter().all(|hook| hook["clientConfig"]["caBundle"].is_string())
        })
        .await;
    }
}

/// Waits until all webhooks of these configurations refuse what they do not answer.
async fn until_closed(cluster: &Cluster, paths: &[String]) {
    for path in paths {
        until(&format!("{path} fails closed"), async || hooks(cluster, path).await.iter().all(|hook| hook["failurePolicy"] == "Fail"))
            .await;
    }
}

/// A namespace with labels, in which pods can be made.
pub async fn make_namespace(cluster: &Cluster, name: &str, labels: &Value) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    cluster.apply(&format!("/api/v1/namespaces/{name}"), object).await;
}

/// Tries to make a pod; gives back what it would be.
async fn try_pod(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<Value, String> {
    let made = cluster.create(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod).await;
    made.map(|(pod, _)| pod)
}

fn pod(labels: &Value, annotations: &Value) -> Value {
    let metadata = json!({"name": "p", "labels": labels, "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "app", "image": "app"}]}})
}

/// Whether containers of a list have this one.
fn has(pod: &Value, list: &str, name: &str) -> bool {
    pod["spec"][list].as_array().into_iter().flatten().any(|container| container["name"] == name)
}

/// How a pilot of a revision is told to answer at an address.
fn arguments<'a>(revision: &'a str, address: &'a str) -> Vec<&'a str> {
    vec!["--ephemeral-root", "--revision", revision, "--webhooks", address]
}

/// And by the Service of the default revision, which is its own though nobody keeps its root.
fn arguments_of_service(address: &str) -> Vec<&str> {
    [arguments("default", address), vec!["--webhook-host", "istiod.istio-system.svc"]].concat()
}

pub fn at(port: &str) -> Reach {
    Reach::Url(format!("https://127.0.0.1:{port}"))
}
