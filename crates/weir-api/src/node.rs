//! A document as a tree in which every node knows its place.

use std::sync::Arc;

use crate::field_path::{FieldPath, Segment};
use crate::source::{Place, Source, Span};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// What a [`Node`] is: JSON's kinds of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order in which it is written; no key stands twice.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// The value of an entry; `None` where this is not a map or has no such key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entries of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entries of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, where this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The node at the end of a path.
    pub fn at(&self, path: &FieldPath) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, segment| match segment {
            Segment::Key(key) => node.get(key),
            Segment::Index(index) => node.items().get(*index),
        })
    }

    /// The best place for a message about the field at `path`: a field's key, a list entry's value, or, where
    /// the path leads to something that is not written, the last part of it that is.
    pub fn span_at(&self, path: &FieldPath) -> Span {
        let mut node = self;
        let mut span = self.span;
        for segment in &path.0 {
            match segment {
                Segment::Key(key) => {
                    let Some(entry) = node.entry(key) else { break };
                    (node, span) = (&entry.node, entry.key_span);
                }
                Segment::Index(index) => {
                    let Some(item) = node.items().get(*index) else { break };
                    (node, span) = (item, item.span);
                }
            }
        }
        if matches!(path.0.last(), Some(Segment::Key(_))) && node.is_scalar() && node.span.length > 0 {
            // A wrong scalar is better shown than the name of its field.
            return if self.at(path).is_some() { node.span } else { span };
        }
        span
    }

    /// The place of a field's name; of anything else, as [`Self::span_at`].
    pub fn name_span_at(&self, path: &FieldPath) -> Span {
        let named = match path.0.split_last() {
            Some((Segment::Key(key), parents)) => self.at(&FieldPath(parents.to_vec())).and_then(|parent| parent.entry(key)),
            _ => None,
        };
        named.map_or_else(|| self.span_at(path), |entry| entry.key_span)
    }

    /// [`Self::span_at`] as a place of `source`; none if the node came without a text.
    pub fn place_at(&self, source: &Arc<Source>, path: &FieldPath) -> Option<Place> {
        let span = self.span_at(path);
        span.is_known().then(|| Place { source: source.clone(), span })
    }

    fn is_scalar(&self) -> bool {
        !matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// The same as JSON; numbers that JSON cannot hold become null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => i64::try_from(*value).map_or_else(|_| (*value as f64).into(), Into::into),
            Value::Float(value) => (*value).into(),
            Value::String(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect::<serde_json::Map<_, _>>().into(),
        }
    }

    /// The tree of a JSON value; its nodes have no place.
    pub fn from_json(json: serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value.into()),
                (None, Some(value)) => Value::Int(value.into()),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(value) => Value::String(value),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                let entry = |(key, value)| Entry { key, key_span: Span::default(), node: Self::from_json(value) };
                Value::Map(map.into_iter().map(entry).collect())
            }
        };
        Node { value, span: Span::default() }
    }

    /// Takes the node at the end of `path` out of the tree, so that the rest of it can be read without it.
    pub fn remove(&mut self, path: &FieldPath) {
        let Some((last, parents)) = path.0.split_last() else { return };
        let mut node = self;
        for segment in parents {
            let next = match (segment, &mut node.value) {
                (Segment::Key(key), Value::Map(entries)) => entries.iter_mut().find(|e| e.key == *key).map(|e| &mut e.node),
                (Segment::Index(index), Value::List(items)) => items.get_mut(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return,
            }
        }
        match (last, &mut node.value) {
            (Segment::Key(key), Value::Map(entries)) => entries.retain(|e| e.key != *key),
            // The others keep their index, and with it their path.
            (Segment::Index(index), Value::List(items)) if *index < items.len() => items[*index].value = Value::Null,
            _ => {}
        }
    }
}
