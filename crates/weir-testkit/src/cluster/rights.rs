//! What a pilot may do in a cluster: what the documentation says that it must be allowed to, and no more.

use serde_json::{Value, json};

use super::{Cluster, word};

/// What the pilot must be allowed to do stands there, in roles.
const DOCUMENTATION: &str = include_str!("../../../../docs/kubernetes.md");
const GROUP: &str = "rbac.authorization.k8s.io";

impl Cluster {
    /// Gives a user the documentation's roles, and makes the namespaces of those that are for one.
    ///
    /// # Panics
    /// If the API server refuses.
    pub(super) async fn grant(&self, user: &str) {
        for role in roles() {
            let (kind, name) = (word(&role["kind"]).to_owned(), word(&role["metadata"]["name"]).to_owned());
            let mut metadata = json!({"name": name});
            let mut folder = format!("/apis/{GROUP}/v1");
            if let Some(namespace) = role["metadata"]["namespace"].as_str() {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                self.apply(&format!("/api/v1/namespaces/{namespace}"), object).await;
                metadata["namespace"] = json!(namespace);
                folder += &format!("/namespaces/{namespace}");
            }
            let binding = json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
                "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
            });
            let plural = kind.to_lowercase();
            self.apply(&format!("{folder}/{plural}s/{name}"), role).await;
            self.apply(&format!("{folder}/{plural}bindings/{name}"), binding).await;
        }
    }
}

/// The roles in the documentation's part about rights.
fn roles() -> Vec<Value> {
    let part = DOCUMENTATION.split("\n## Rights\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let part = part.expect("the documentation says what a pilot must be allowed to do");
    let examples = part.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let documents = examples.flat_map(|example| example.split("\n---\n"));
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).expect("the documentation's examples are YAML"));
    objects.filter(|object| ["ClusterRole", "Role"].contains(&word(&object["kind"]))).collect()
}
