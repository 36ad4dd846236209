//! What the control plane may do in a cluster, and nothing else. This is the one place where it is said; the list in docs/kubernetes.md, by
//! which tests bind it, is compared with it.

use serde_json::{Value, json};

/// One rule: groups of the API, resources in them, and what may be done to these.
struct Rule(&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const ISTIO: &str = "networking.istio.io";
const ISTIO_SECURITY: &str = "security.istio.io";
const HOOKS: [&str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

/// In the whole cluster.
const EVERYWHERE: &[Rule] = &[
    Rule(&[""], &["services", "pods", "nodes", "secrets", "namespaces"], &["list", "watch"]),
    Rule(&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]),
    Rule(&["networking.k8s.io"], &["ingresses"], &["list", "watch"]),
    Rule(&[ISTIO, ISTIO_SECURITY], &["*"], &["get", "list", "watch"]),
    Rule(
        &[ISTIO],
        &[
            "virtualservices/status",
            "destinationrules/status",
            "gateways/status",
            "serviceentries/status",
            "workloadentries/status",
            "workloadgroups/status",
            "sidecars/status",
            "envoyfilters/status",
        ],
        &["patch"],
    ),
    Rule(&[ISTIO_SECURITY], &["authorizationpolicies/status", "peerauthentications/status", "requestauthentications/status"], &["patch"]),
    Rule(&["events.k8s.io"], &["events"], &["create"]),
    Rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
    Rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
    // To tell the API server by which roots it knows the webhooks.
    Rule(&["admissionregistration.k8s.io"], &HOOKS, &["list", "watch", "patch"]),
    // What is to be made has no name yet that a rule could have.
    Rule(&[""], &["configmaps"], &["create"]),
];
/// In the whole cluster, of this name alone.
const ROOTS: Rule = Rule(&[""], &["configmaps"], &["list", "watch", "patch"]);
/// In its own namespace.
const HERE: &[Rule] = &[
    // The root, which is made once.
    Rule(&[""], &["secrets"], &["create"]),
    Rule(&["coordination.k8s.io"], &["leases"], &["get", "list", "watch", "create", "update", "patch", "delete"]),
    // On trial, never for good: to see that validation works.
    Rule(&[ISTIO], &["gateways"], &["create"]),
    // What holds for the mesh, and how pods are injected, of any revision.
    Rule(&[""], &["configmaps"], &["list", "watch"]),
];

impl Rule {
    fn value(&self) -> Value {
        let Self(groups, resources, verbs) = self;
        json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
    }

    fn named(&self, name: &str) -> Value {
        let mut rule = self.value();
        rule["resourceNames"] = json!([name]);
        rule
    }
}

/// The rules of the ClusterRole.
pub(super) fn everywhere() -> Value {
    EVERYWHERE.iter().map(Rule::value).chain([ROOTS.named("istio-ca-root-cert")]).collect()
}

/// The rules of the Role in the namespace of the control plane.
pub(super) fn in_own_namespace() -> Value {
    HERE.iter().map(Rule::value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../../docs/kubernetes.md");

    /// The one role of this kind that stands in the documentation's part about them.
    fn documented(kind: &str) -> Vec<Value> {
        let part = DOCUMENTATION.split("\n## Rights\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        let blocks = part.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let documents = blocks.flat_map(|block| block.split("\n---\n"));
        let mut roles: Vec<Value> = documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap()).collect();
        roles.retain(|role| role["kind"] == kind);
        assert_eq!(roles.len(), 1, "docs/kubernetes.md shows one {kind}");
        roles[0]["rules"].as_array().unwrap().clone()
    }

    #[test]
    fn the_documentation_says_the_same() {
        for (kind, ours) in [("ClusterRole", everywhere()), ("Role", in_own_namespace())] {
            let (said, ours) = (documented(kind), ours.as_array().unwrap().clone());
            for (one, other, place) in [(&ours, &said, "docs/kubernetes.md"), (&said, &ours, "install/rights.rs")] {
                let missing: Vec<String> = one.iter().filter(|rule| !other.contains(rule)).map(Value::to_string).collect();
                assert!(missing.is_empty(), "the {kind} of {place} lacks\n{}", missing.join("\n"));
            }
        }
    }
}
