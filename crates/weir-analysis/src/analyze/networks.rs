//! The networks of a mesh of several clusters: each endpoint is of a registry that is known.

use std::collections::BTreeSet;

use weir_api::{Diagnostic, FieldPath, Node, ObjectName, Place};

use super::Input;
use super::codes::UNKNOWN_REGISTRY;
use super::finding::Report;
use super::in_mesh::is;
use super::index::Index;
use super::tree::{at, items, text};

/// The registries that are always there.
const KNOWN: [&str; 3] = ["Mock", "Kubernetes", "External"];
/// The label of a Secret whose keys name other clusters.
const REMOTE: &str = "istio/multiCluster";

/// Looks at the networks, if there are any.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let Some((source, node)) = input.networks else { return };
    let remote = index.secrets().filter(|(document, _)| is(&document.meta.labels, REMOTE, "true"));
    let remote: BTreeSet<&str> =
        remote.flat_map(|(_, secret)| secret.data.keys().chain(secret.string_data.keys())).map(String::as_str).collect();
    let networks = at(node, "networks").map(Node::entries).unwrap_or_default();
    for network in networks {
        for (number, endpoint) in items(&network.node, "endpoints") {
            let registry = text(endpoint, "fromRegistry");
            if registry.is_empty() || KNOWN.contains(&registry) || remote.contains(registry) {
                continue;
            }
            let field = FieldPath::default().key("networks").key(network.key.clone()).key("endpoints").index(number).key("fromRegistry");
            let message = format!("{registry} is no cluster of the mesh: no Secret with the label {REMOTE} names it");
            let span = node.span_at(&field);
            let mut diagnostic = Diagnostic::new(UNKNOWN_REGISTRY.level, message).at(field);
            diagnostic.place = span.is_known().then(|| Place { source: source.clone(), span });
            let namespace = input.mesh.root_namespace.clone();
            diagnostic.object = Some(ObjectName { kind: "MeshNetworks".to_owned(), namespace, name: "meshnetworks".to_owned() });
            report.add_alone(UNKNOWN_REGISTRY, diagnostic);
        }
    }
}
