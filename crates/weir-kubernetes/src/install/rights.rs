//! What the control plane may do in a cluster, and nothing else. This is the one place where it is said; the list in docs/kubernetes.md, by
//! which tests bind it, is compared with it.

use serde_json::{Value, json};

/// One rule: groups of the API, resources in them, and what may be done to these.
struct Rule(&'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// In the whole cluster.
const EVERYWHERE: &[Rule] = &[
    Rule(&[""], &["services", "pods", "nodes", "secrets", "namespaces"], &["list", "watch"]),
    Rule(&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]),
    Rule(&["networking.k8s.io"], &["ingresses"], &["list", "watch"]),
    Rule(&["networking.istio.io", "security.istio.io"], &["*"], &["list", "watch"]),
];

/// The rules of the ClusterRole.
pub(super) fn everywhere() -> Value {
    rules(EVERYWHERE)
}

fn rules(rules: &[Rule]) -> Value {
    rules.iter().map(|Rule(groups, resources, verbs)| json!({"apiGroups": groups, "resources": resources, "verbs": verbs})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../../docs/kubernetes.md");

    /// The objects of the documentation's blocks of YAML, of this kind.
    fn documented(kind: &str) -> Vec<Value> {
        let blocks = DOCUMENTATION.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let objects = blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap());
        objects.filter(|object| object["kind"] == kind).collect()
    }

    #[test]
    fn the_documentation_says_the_same() {
        let roles = documented("ClusterRole");
        assert_eq!(roles.len(), 1, "docs/kubernetes.md shows the ClusterRole once");
        let (said, ours) = (roles[0]["rules"].as_array().unwrap(), everywhere());
        let ours = ours.as_array().unwrap();
        for (one, other, place) in [(ours, said, "docs/kubernetes.md"), (said, ours, "install/rights.rs")] {
            let missing: Vec<String> = one.iter().filter(|rule| !other.contains(rule)).map(Value::to_string).collect();
            assert!(missing.is_empty(), "{place} lacks {}", missing.join("\n"));
        }
    }
}
