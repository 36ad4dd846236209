//! A document of a text, whatever its kind: a tree with its names, and the object that was made of it if a mesh reads that kind.
//!
//! A mesh is made of [`Object`]s. Who analyses it looks at what stands beside them as well, such as the Deployments whose pods will be
//! its workloads, and at objects that the mesh refuses.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::field_path::FieldPath;
use crate::kind::Kind;
use crate::node::{Node, Value};
use crate::object::{self, Object};
use crate::object_name::ObjectName;
use crate::parse;
use crate::resources::Spec;
use crate::resources::meta::ObjectMeta;
use crate::source::{Place, Source};
use crate::syntax::de::{self, Unknown};
use crate::syntax::yaml;

/// One document.
#[derive(Debug, Clone)]
pub struct Document {
    /// The group of its kind; empty for Kubernetes' oldest kinds.
    pub group: String,
    /// Its kind, as written.
    pub kind: String,
    /// Its name, labels and annotations; the namespace is never empty for a namespaced kind.
    pub meta: ObjectMeta,
    /// The text that it was read from.
    pub source: Arc<Source>,
    /// What is to be said of it alone.
    pub diagnostics: Vec<Diagnostic>,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Typed(Arc<Object>),
    Tree(Node),
}

impl Document {
    /// All of it, as written, each part with its place.
    pub fn node(&self) -> &Node {
        match &self.content {
            Content::Typed(object) => &object.node,
            Content::Tree(node) => node,
        }
    }

    /// Its object, if it is of a kind that a mesh reads, and has the form of that kind. It may be one that the mesh refuses.
    pub fn object(&self) -> Option<&Arc<Object>> {
        match &self.content {
            Content::Typed(object) => Some(object),
            Content::Tree(_) => None,
        }
    }

    /// The typed content of that object.
    pub fn spec(&self) -> Option<&Spec> {
        self.object().map(|object| &object.spec)
    }

    /// Whether it is refused: an error is to be said of it.
    pub fn is_refused(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Which one it is.
    pub fn name(&self) -> ObjectName {
        ObjectName { kind: self.kind.clone(), namespace: self.meta.namespace.clone(), name: self.meta.name.clone() }
    }

    /// Where a field stands; the nearest part that is written, if the field is not.
    pub fn place(&self, path: &FieldPath) -> Option<Place> {
        self.node().place_at(&self.source, path)
    }

    fn read(source: &Arc<Source>, node: Node) -> Self {
        let text = |key: &str| node.get(key).and_then(Node::as_str).unwrap_or_default().to_owned();
        let (kind, api_version) = (text("kind"), text("apiVersion"));
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let (mut meta, _) = de::read::<ObjectMeta>(&node, &FieldPath::default().key("metadata"), Unknown::Allow);
        object::settle_namespace(&mut meta, &group, &kind);
        let read = object::read(source, node.clone());
        let content = read.object.map_or(Content::Tree(node), |object| Content::Typed(Arc::new(object)));
        Self { group, kind, meta, source: source.clone(), diagnostics: read.diagnostics, content }
    }
}

/// An object that is already there, of which nothing more is to be said.
impl From<Arc<Object>> for Document {
    fn from(object: Arc<Object>) -> Self {
        Self {
            group: object.kind.group().to_owned(),
            kind: Kind::name(object.kind).to_owned(),
            meta: object.meta.clone(),
            source: object.source.clone(),
            diagnostics: vec![],
            content: Content::Typed(object),
        }
    }
}

/// Reads all documents of a YAML or JSON text; lists of resources are taken apart. The diagnostics are those of what is no document.
pub fn documents(source: &Arc<Source>) -> (Vec<Document>, Vec<Diagnostic>) {
    let (mut found, mut diagnostics) = (vec![], vec![]);
    for document in yaml::documents(source) {
        match document {
            Ok(Node { value: Value::Null, .. }) => {}
            Ok(node) => {
                parse::warn_of_words(source, &node, &mut diagnostics);
                parse::each_of(node, &mut |node| found.push(Document::read(source, node)));
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    (found, diagnostics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_all_kinds_are_read() {
        let text = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n\
                    - {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: b}, spec: {egress: [{hosts: ['*']}]}}\n\
                    ---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: c, odd: 1}\n---\na: [\n";
        let (documents, diagnostics) = documents(&Source::new("x.yaml", text));
        let said: Vec<String> = documents
            .iter()
            .map(|document| format!("{} {} {}", document.name(), document.object().is_some(), document.is_refused()))
            .collect();
        assert_eq!(said, ["Deployment default/a false false", "Sidecar default/b true true", "CustomResourceDefinition c false false"]);
        assert_eq!(documents[1].place(&FieldPath::default().key("spec")).map(|place| place.span.line), Some(5));
        assert_eq!(diagnostics.len(), 1);
    }
}
