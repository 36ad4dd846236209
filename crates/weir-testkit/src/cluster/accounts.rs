//! Service accounts of a cluster, their Pods and their tokens.

use serde_json::{Value, json};

use super::{Cluster, word};
use crate::wait::until;

impl Cluster {
    /// A namespace.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn make_namespace(&self, name: &str) {
        self.apply(&format!("/api/v1/namespaces/{name}"), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .await;
    }

    /// A service account, and a Pod of it of the same name with these labels, of which a node says that it runs at this address.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn run_account(&self, namespace: &str, name: &str, labels: &Value, address: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        self.apply(&path, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
        until("there is a service account", async || self.exists_by_now(&path).await).await;
        // Pods of nodes that are not there are collected as garbage.
        self.apply("/api/v1/nodes/node", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}})).await;
        let spec = json!({"nodeName": "node", "serviceAccountName": name, "containers": [{"name": "app", "image": "app"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec});
        self.apply(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod).await;
        self.report_pod(namespace, name, address, true).await;
    }

    /// A token of a service account for these audiences, as a kubelet asks for one for its Pod of the same name; or for none.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn token(&self, namespace: &str, name: &str, audiences: &[&str], with_pod: bool) -> String {
        let mut spec = json!({"audiences": audiences, "expirationSeconds": 600});
        if with_pod {
            let pod = self.ask("GET", &format!("/api/v1/namespaces/{namespace}/pods/{name}"), None).await.expect("there is a Pod");
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]});
        }
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let made = self.ask("POST", &path, Some(("application/json", request))).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        word(&made["status"]["token"]).to_owned()
    }

    /// Lets a service account list the Secrets of its namespace, or not any more.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn allow_secrets(&self, namespace: &str, account: &str, is_allowed: bool) {
        let folder = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let binding = format!("{folder}/rolebindings/{account}");
        if !is_allowed {
            return self.delete(&binding).await;
        }
        let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]});
        let of = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": account}});
        let (mut role, mut bound) = (of("Role"), of("RoleBinding"));
        role["rules"] = json!([rule]);
        bound["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account});
        bound["subjects"] = json!([{"kind": "ServiceAccount", "name": account, "namespace": namespace}]);
        self.apply(&format!("{folder}/roles/{account}"), role).await;
        self.apply(&binding, bound).await;
    }
}
