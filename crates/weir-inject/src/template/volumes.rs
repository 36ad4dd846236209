//! The volumes of the proxy, at the places that Istio's users know.

use serde_json::{Value, json};

use super::Context;
use crate::kube::{Mount, Source, Volume};

/// How long a token of the pod's service account holds, in seconds; the kubelet writes another one in time.
const TOKEN_SECONDS: u32 = 43_200;
/// Whom the token is for.
const AUDIENCE: &str = "istio-ca";

/// The token by which a proxy shows who it is.
pub(super) const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
/// The mesh's authorities.
pub(super) const ROOT: &str = "/var/run/secrets/istio/root-cert.pem";
/// What the proxy, and who stands beside it, write.
pub(super) const SCRATCH: &str = "/etc/istio/proxy";

/// The volumes of the pod, each with its place in the proxy's container.
pub(super) fn volumes() -> Vec<(Volume, &'static str)> {
    let empty = |medium| Source::EmptyDir { medium };
    let config = |name, optional| Source::ConfigMap { name, optional };
    let field = |path: &str| json!({"path": path, "fieldRef": {"fieldPath": format!("metadata.{path}")}});
    let token = json!({"serviceAccountToken": {"path": "istio-token", "expirationSeconds": TOKEN_SECONDS, "audience": AUDIENCE}});
    let all = [
        ("workload-socket", empty(None), "/var/run/secrets/workload-spiffe-uds"),
        ("credential-socket", empty(None), "/var/run/secrets/credential-uds"),
        ("workload-certs", empty(None), "/var/run/secrets/workload-spiffe-credentials"),
        ("istiod-ca-cert", config("istio-ca-root-cert", false), "/var/run/secrets/istio"),
        ("istio-ca-crl", config("istio-ca-crl", true), "/var/run/secrets/istio/crl"),
        ("istio-data", empty(None), "/var/lib/istio/data"),
        ("istio-envoy", empty(Some("Memory")), SCRATCH),
        ("istio-token", Source::Projected { sources: vec![token] }, "/var/run/secrets/tokens"),
        ("istio-podinfo", Source::DownwardApi { items: vec![field("labels"), field("annotations")] }, "/etc/istio/pod"),
    ];
    all.into_iter().map(|(name, source, place)| (Volume { name: name.to_owned(), source }, place)).collect()
}

/// Where the proxy's container sees them.
pub(super) fn mounts() -> Vec<Mount> {
    let mount = |(volume, place): (Volume, &str)| Mount { name: volume.name, mount_path: place.to_owned() };
    volumes().into_iter().map(mount).collect()
}

/// What the pod's annotations add: volumes, and places of the proxy.
pub(crate) fn of_user(context: &Context<'_>) -> (Vec<Value>, Vec<Value>) {
    let named = |entries: &serde_json::Map<String, Value>| {
        let with_name = |(name, value): (&String, &Value)| {
            let mut value = value.clone();
            value["name"] = name.as_str().into();
            value
        };
        entries.iter().map(with_name).collect()
    };
    (named(&context.wishes.volumes), named(&context.wishes.mounts))
}
