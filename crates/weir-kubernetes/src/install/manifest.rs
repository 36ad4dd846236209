//! The objects of a control plane, in the order in which they are to be made: each names only what stands before it, and what makes the API
//! server ask the control plane comes last.
//!
//! They have Istio's names where people, tools and injected pods look for these: Service and Deployment `istiod[-REV]`, the ConfigMap
//! `istio[-REV]`, the configurations of webhooks. Facts: charts/istio-control/istio-discovery/templates of Istio.

use serde_json::{Value, json};
use weir_inject::Webhooks;
use weir_inject::configuration::Reach;
use weir_inject::names::REVISION;

use crate::mesh_config;

use super::rights;
use super::settings::InstallSettings;
use super::workload;

/// Label: who applies an object, and may delete it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of that label for what is installed here.
pub const OURS: &str = "weir";
/// Label: the namespace of the control plane that an object belongs to.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The version of all objects about rights.
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// All objects of an installation.
pub fn manifest(settings: &InstallSettings) -> Vec<Value> {
    let mut objects = vec![namespace(settings), service_account(settings)];
    objects.extend(rights(settings));
    objects.extend([mesh(settings), workload::service(settings), workload::deployment(settings), workload::disruption_budget(settings)]);
    objects.extend(settings.autoscale.enabled.then(|| workload::autoscaler(settings)));
    objects.extend(webhooks(settings));
    objects
}

/// What makes the API server ask the control plane.
fn webhooks(settings: &InstallSettings) -> Vec<Value> {
    let webhooks = Webhooks {
        revision: settings.revision.clone(),
        tags: settings.tags.clone(),
        every_namespace: settings.every_namespace,
        own_namespace: settings.namespace.clone(),
    };
    let mut all = webhooks.injectors(&Reach::Service);
    all.extend(webhooks.validators(&Reach::Service));
    for object in &mut all {
        for (name, value) in common_labels(settings) {
            object["metadata"]["labels"][name] = value.into();
        }
    }
    all
}

/// Whether an object makes the API server ask the control plane.
pub fn is_webhook(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
}

/// By these labels the objects of an installation are found again.
fn common_labels(settings: &InstallSettings) -> [(&'static str, &str); 4] {
    [("app.kubernetes.io/name", "weir"), (INSTANCE, &settings.namespace), (MANAGED_BY, OURS), (REVISION, &settings.revision)]
}

/// They, and those that Istio's tools look for.
pub(super) fn labels(settings: &InstallSettings) -> Value {
    let mut labels = json!({"app": "istiod"});
    for (name, value) in common_labels(settings) {
        labels[name] = value.into();
    }
    labels
}

/// An object in the namespace of the control plane.
pub(super) fn object(settings: &InstallSettings, version: &str, kind: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "namespace": settings.namespace, "labels": labels(settings)});
    json!({"apiVersion": version, "kind": kind, "metadata": metadata})
}

/// It belongs to all revisions in it, and to whoever else uses it.
fn namespace(settings: &InstallSettings) -> Value {
    let labels = json!({"app.kubernetes.io/name": "weir", MANAGED_BY: OURS});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace, "labels": labels}})
}

fn service_account(settings: &InstallSettings) -> Value {
    let mut account = object(settings, "v1", "ServiceAccount", &settings.service());
    if !settings.image_pull_secrets.is_empty() {
        account["imagePullSecrets"] = settings.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    }
    account
}

/// What it may do in the cluster, and what more in its namespace.
fn rights(settings: &InstallSettings) -> [Value; 4] {
    let everywhere = format!("weir-pilot{}-{}", settings.suffix(), settings.namespace);
    let here = format!("weir-pilot{}", settings.suffix());
    let of_cluster = |kind: &str| json!({"apiVersion": RBAC, "kind": kind, "metadata": {"name": everywhere, "labels": labels(settings)}});
    let of_namespace = |kind: &str| object(settings, RBAC, kind, &here);
    let mut roles = [of_cluster("ClusterRole"), of_namespace("Role")];
    roles[0]["rules"] = rights::everywhere();
    roles[1]["rules"] = rights::in_own_namespace();
    let [role, own_role] = roles;
    let binding = bound(settings, of_cluster("ClusterRoleBinding"), "ClusterRole", &everywhere);
    let own_binding = bound(settings, of_namespace("RoleBinding"), "Role", &here);
    [role, binding, own_role, own_binding]
}

/// A binding of a role to the control plane's account.
fn bound(settings: &InstallSettings, mut binding: Value, kind: &str, role: &str) -> Value {
    binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": settings.service(), "namespace": settings.namespace}]);
    binding
}

/// The mesh's configuration. As YAML, for who reads or edits it.
fn mesh(settings: &InstallSettings) -> Value {
    let mut map = object(settings, "v1", "ConfigMap", &mesh_config::name(&settings.revision));
    let mesh = settings.mesh();
    map["data"] = json!({"mesh": serde_saphyr::to_string(&mesh).unwrap_or_else(|_| mesh.to_string())});
    map
}
