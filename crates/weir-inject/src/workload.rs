//! What a pod belongs to: the Deployment, the CronJob… that made it, as far as its metadata tells.
//!
//! Facts: `GetDeployMetaFromPod` in pkg/kube/util.go of Istio.

use serde_json::Value;
use weir_api::resources::controller::Controller;

use crate::pod::Pod;

/// The object by which people know a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its kind's version, such as `apps/v1`.
    pub api_version: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Workload {
    /// The workload of a pod: its controller, seen through ReplicaSets and Jobs, or else itself.
    pub fn of_pod(pod: Pod<'_>, namespace: &str) -> Self {
        let alone = || Self::new("Pod", "v1", pod.0["metadata"]["name"].as_str().unwrap_or_default(), namespace);
        // A pod whose name is its own was made by a person.
        if pod.0["metadata"]["generateName"].as_str().unwrap_or_default().is_empty() {
            return alone();
        }
        let owners = pod.0["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        match owners.into_iter().find(|owner| owner["controller"] == Value::Bool(true)) {
            Some(owner) => Self::of_controller(owner, pod, namespace),
            None => alone(),
        }
    }

    fn of_controller(owner: &Value, pod: Pod<'_>, namespace: &str) -> Self {
        let word = |field: &str| owner[field].as_str().unwrap_or_default();
        let controller = Controller { kind: word("kind"), api_version: word("apiVersion"), name: word("name") };
        let Controller { kind, api_version, name } = controller.seen_through(|label| pod.0["metadata"]["labels"][label].as_str());
        Self::new(kind, api_version, name, namespace)
    }

    /// One that is known.
    pub fn new(kind: &str, api_version: &str, name: &str, namespace: &str) -> Self {
        let [kind, api_version, name, namespace] = [kind, api_version, name, namespace].map(str::to_owned);
        Self { kind, api_version, name, namespace }
    }

    /// As Istio names it in telemetry; empty if it has no name.
    pub fn owner(&self) -> String {
        if self.api_version.is_empty() || self.name.is_empty() {
            return String::new();
        }
        let namespace = if self.namespace.is_empty() { "default" } else { &self.namespace };
        format!("kubernetes://apis/{}/namespaces/{namespace}/{}s/{}", self.api_version, self.kind.to_lowercase(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_known_by_who_made_it() {
        let rows = [
            (json!({"name": "alone"}), "Pod v1 alone"),
            (json!({"name": "alone", "ownerReferences": [{"controller": true, "kind": "Node", "name": "n"}]}), "Pod v1 alone"),
            (owned("ReplicaSet", "apps/v1", "reviews-v1-6c9", json!({"pod-template-hash": "6c9"})), "Deployment apps/v1 reviews-v1"),
            (owned("ReplicaSet", "apps/v1", "reviews-v1-6c9", json!({})), "ReplicaSet apps/v1 reviews-v1-6c9"),
            (owned("ReplicaSet", "apps/v1", "web-77", json!({"rollouts-pod-template-hash": "77"})), "Rollout v1alpha1 web"),
            (owned("ReplicationController", "v1", "dc-1", json!({"deploymentconfig": "dc"})), "DeploymentConfig v1 dc"),
            (owned("Job", "batch/v1", "backup-28000000", json!({})), "CronJob batch/v1 backup"),
            (owned("Job", "batch/v1", "backup-2800", json!({})), "Job batch/v1 backup-2800"),
            (owned("StatefulSet", "apps/v1", "db", json!({})), "StatefulSet apps/v1 db"),
        ];
        for (metadata, expected) in rows {
            let pod = json!({"metadata": metadata});
            let Workload { kind, api_version, name, .. } = Workload::of_pod(Pod(&pod), "shop");
            assert_eq!(format!("{kind} {api_version} {name}"), expected);
        }
    }

    fn owned(kind: &str, version: &str, name: &str, labels: Value) -> Value {
        let owner = json!({"controller": true, "kind": kind, "apiVersion": version, "name": name});
        json!({"generateName": "x-", "labels": labels, "ownerReferences": [{"kind": "Other"}, owner]})
    }

    #[test]
    fn an_owner_is_named_as_istio_does() {
        let owner = Workload::new("Deployment", "apps/v1", "reviews-v1", "shop").owner();
        assert_eq!(owner, "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1");
    }
}
