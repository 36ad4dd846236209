//! What the model of the mesh says of rules that have no effect beside others.

use std::sync::Arc;

use weir_api::{Diagnostic, Document, Object};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot};

use super::Input;
use super::codes::WITHOUT_EFFECT;
use super::finding::Report;
use super::index::Index;

/// Makes the mesh's model of all documents that are not refused, and asks it.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let good = input.documents.iter().filter(|document| !document.is_refused());
    let objects: Vec<Arc<Object>> = good.filter_map(|document| document.object().cloned()).collect();
    let mesh = MeshSnapshot::new(&objects, input.mesh.clone(), DEFAULT_DOMAIN);
    let of_rules = mesh.virtual_services.findings().chain(mesh.destination_rules.findings());
    for diagnostic in of_rules.chain(mesh.peer_authentications.findings()) {
        match document_of(index, diagnostic) {
            Some(document) => report.add(WITHOUT_EFFECT, document, diagnostic.clone()),
            None => report.add_alone(WITHOUT_EFFECT, diagnostic.clone()),
        }
    }
}

fn document_of<'i>(index: &Index<'i>, diagnostic: &Diagnostic) -> Option<&'i Document> {
    let name = diagnostic.object.as_ref()?;
    let groups = ["networking.istio.io", "security.istio.io"];
    groups.iter().find_map(|group| index.find(group, &name.kind, &name.namespace, &name.name))
}
