//! Whether sidecars are native: init containers that stay. Kubernetes has them for good since 1.33, and so must the kubelets of all nodes, since
//! nobody knows where a pod will run.
//!
//! Facts: `DetectNativeSidecar` in pkg/kube/inject/webhook.go of Istio.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

/// The first version in which nobody can switch them off.
const SINCE: (u32, u32) = (1, 33);

/// Whether sidecars are native where the pod does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// If the kubelets can do that.
    Auto,
    /// All are, or none.
    Always(bool),
}

/// Whether a node's kubelet can do it. Of one that says no version nobody knows.
pub(super) fn can(node: &Node) -> bool {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.and_then(|info| version(&info.kubelet_version)).is_some_and(|version| version >= SINCE)
}

/// Whether all nodes can.
pub(super) fn can_all(nodes: &BTreeMap<String, bool>) -> bool {
    nodes.values().all(|can| *can)
}

/// Major and minor of `v1.33.4-eks-1`, or `1.33+`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeStatus, NodeSystemInfo};

    use super::*;

    fn node(version: &str) -> Node {
        let info = NodeSystemInfo { kubelet_version: version.to_owned(), ..NodeSystemInfo::default() };
        Node { status: Some(NodeStatus { node_info: Some(info), ..NodeStatus::default() }), ..Node::default() }
    }

    #[test]
    fn a_kubelet_can_since_1_33() {
        for (version, expected) in [
            ("v1.33.0", true),
            ("v1.33.4-eks-1b0b", true),
            ("1.34+", true),
            ("v2.0.0", true),
            ("v1.32.9", false),
            ("v1.4.0", false),
            ("v1", false),
            ("", false),
            ("v1.x", false),
            ("v99999999999.1", false),
        ] {
            assert_eq!(can(&node(version)), expected, "{version}");
        }
        assert!(!can(&Node::default()));
    }

    #[test]
    fn one_old_node_decides_for_all() {
        let nodes = |all: &[bool]| all.iter().enumerate().map(|(index, can)| (index.to_string(), *can)).collect();
        assert!(can_all(&nodes(&[true, true])) && can_all(&nodes(&[])));
        assert!(!can_all(&nodes(&[true, false])));
    }
}
