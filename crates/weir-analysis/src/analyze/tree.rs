//! Reads fields of documents whose kinds have no types of their own here.

use weir_api::resources::meta::Labels;
use weir_api::{FieldPath, Node, Value};

/// The node at a path of names with points between them.
pub(crate) fn at<'n>(node: &'n Node, names: &str) -> Option<&'n Node> {
    names.split('.').try_fold(node, |node, name| node.get(name)).filter(|node| node.value != Value::Null)
}

/// The text there; empty if there is none.
pub(crate) fn text<'n>(node: &'n Node, names: &str) -> &'n str {
    at(node, names).and_then(Node::as_str).unwrap_or_default()
}

/// The items of the list there, each with its index.
pub(crate) fn items<'n>(node: &'n Node, names: &str) -> impl Iterator<Item = (usize, &'n Node)> {
    at(node, names).map(Node::items).unwrap_or_default().iter().enumerate()
}

/// The whole number there.
pub(crate) fn number(node: &Node, names: &str) -> Option<i128> {
    match at(node, names)?.value {
        Value::Int(number) => Some(number),
        _ => None,
    }
}

/// Whether `true` stands there.
pub(crate) fn is_true(node: &Node, names: &str) -> bool {
    at(node, names).is_some_and(|node| node.value == Value::Bool(true))
}

/// The map of texts there, such as labels; empty if there is none.
pub(crate) fn labels(node: &Node, names: &str) -> Labels {
    let entries = at(node, names).map(Node::entries).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.as_str()?.to_owned()))).collect()
}

/// A path with more names at its end.
pub(crate) fn below(path: &FieldPath, names: &str) -> FieldPath {
    names.split('.').fold(path.clone(), |path, name| path.key(name.to_owned()))
}
