//! Who is who in a cluster: proxies show tokens of service accounts, and have certificates and keys of their own, and nobody else's.

mod attempts;
mod keys;
mod remote;
mod roots;

use serde_json::{Value, json};
use weir_testkit::{Cluster, Process, until};

/// Where pilots serve by TLS.
const TLS: &str = "127.0.0.1:15012";
const OTHER_TLS: &str = "127.0.0.1:15112";

fn config_map(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert")
}

fn secret(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

/// The roots that a namespace was told; empty until it is.
async fn roots(cluster: &Cluster, namespace: &str) -> String {
    let told = cluster.ask("GET", &config_map(namespace), None).await.unwrap_or_default();
    told["data"]["root-cert.pem"].as_str().unwrap_or_default().to_owned()
}

/// A pilot that serves by TLS at an address, which keeps its root in a Secret.
async fn pilot(cluster: &Cluster, folder: &str, tls: &str) -> Process {
    let (xds, admin) = (format!("unix:{folder}.xds"), if tls == TLS { "127.0.0.1:15000" } else { "127.0.0.1:15100" });
    cluster.run_pilot(folder, &["--xds", &xds, "--admin", admin, "--tls-xds", tls]).await
}

/// A cluster with two namespaces and Pods of three accounts, and a pilot; with the roots that Pods know it by.
async fn start() -> Option<(Cluster, Process, String)> {
    let cluster = Cluster::start().await?;
    for namespace in ["shop", "money"] {
        cluster.make_namespace(namespace).await;
    }
    for (namespace, name, labels, address) in [
        ("shop", "cart", json!({"app": "cart"}), "10.244.1.1"),
        ("shop", "till", json!({"app": "till"}), "10.244.1.2"),
        ("shop", "edge", json!({"istio": "edge"}), "10.244.1.3"),
        ("money", "bank", json!({"app": "bank"}), "10.244.1.4"),
    ] {
        cluster.run_account(namespace, name, &labels, address).await;
    }
    let pilot = pilot(&cluster, "first", TLS).await;
    let mut told = String::new();
    until("the roots are told", async || {
        told = roots(&cluster, "shop").await;
        !told.is_empty()
    })
    .await;
    Some((cluster, pilot, told))
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A Secret with these texts.
fn secret_of(kind: &str, name: &str, texts: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = texts.iter().map(|(key, text)| ((*key).to_owned(), json!(base64(text)))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "data": data})
}
