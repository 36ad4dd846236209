//! From a text to objects: documents are told apart, each becomes a tree with places ([`yaml`]), and each
//! tree is given its type ([`crate::object`]). A document that cannot be read is refused alone.

mod mesh;

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::node::{Node, Value};
use crate::object::{self, Object};
use crate::source::{Place, Source};
use crate::stand_in;
use crate::syntax::yaml;

/// What a text held.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects that are of a known kind and accepted, in the text's order.
    pub objects: Vec<Arc<Object>>,
    /// Objects that could be read and are refused all the same: not for a mesh, but an analysis has more to say of them.
    pub refused: Vec<Arc<Object>>,
    /// What is in force instead of those refused of which no earlier version is known.
    pub stand_ins: Vec<Arc<Object>>,
    /// What is to be said of the text: errors (each names a document that is not among the objects),
    /// warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether any document was refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn add(&mut self, source: &Arc<Source>, node: Node) {
        each_of(node, &mut |node| {
            let read = object::read(source, node);
            let objects = if read.refused { &mut self.refused } else { &mut self.objects };
            objects.extend(read.object.map(Arc::new));
            self.stand_ins.extend(read.stand_in.map(Arc::new));
            self.diagnostics.extend(read.diagnostics);
        });
    }
}

/// Calls `read` for a document, or for each item of one that is a list.
pub(crate) fn each_of(node: Node, read: &mut dyn FnMut(Node)) {
    let is_list = node.get("kind").and_then(Node::as_str).is_some_and(|kind| kind.ends_with("List"));
    match (is_list, node.get("items").map(|items| &items.value)) {
        (true, Some(Value::List(items))) => items.iter().for_each(|item| each_of(item.clone(), read)),
        _ => read(node),
    }
}

/// Says which keys are not what they look like: `y` is `true` to Kubernetes, and so to us.
pub(crate) fn warn_of_words(source: &Arc<Source>, node: &Node, found: &mut Vec<Diagnostic>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let written = source.text.get(entry.key_span.offset as usize..).unwrap_or_default();
                if yaml::truth_value(&entry.key).is_some() && !written.trim_start_matches(['"', '\'']).starts_with(&entry.key) {
                    let word = written.split([':', ' ']).next().unwrap_or_default();
                    let message = format!("the key `{word}` is read as `{}`, as Kubernetes reads it", entry.key);
                    let place = Place { source: source.clone(), span: entry.key_span };
                    found.push(Diagnostic::warning(message).with_help(format!("write '{word}' to mean the word")).placed(Some(place)));
                }
                warn_of_words(source, &entry.node, found);
            }
        }
        Value::List(items) => items.iter().for_each(|item| warn_of_words(source, item, found)),
        _ => {}
    }
}

/// Reads all documents of a YAML or JSON text; lists of resources are taken apart.
pub fn parse(source: &Arc<Source>) -> Parsed {
    let mut parsed = Parsed::default();
    for document in yaml::documents(source) {
        match document {
            Ok(Node { value: Value::Null, .. }) => {}
            Ok(node) => {
                warn_of_words(source, &node, &mut parsed.diagnostics);
                parsed.add(source, node);
            }
            Err(diagnostic) => {
                let at = diagnostic.place.as_ref().map(|place| place.span.offset as usize);
                let stand_ins = object::of_unreadable(source, at);
                let told = stand_ins.first().map(|first| stand_in::warning(first.kind).placed(diagnostic.place.clone()));
                parsed.stand_ins.extend(stand_ins.into_iter().map(Arc::new));
                parsed.diagnostics.push(*diagnostic);
                parsed.diagnostics.extend(told);
            }
        }
    }
    parsed
}

/// Reads one object, or a list of them, that came as JSON: from an API server, not from a text of a person's.
pub fn parse_json(source: &Arc<Source>, json: serde_json::Value) -> Parsed {
    let mut parsed = Parsed::default();
    parsed.add(source, Node::from_json(json));
    parsed
}
