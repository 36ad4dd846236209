//! What a walk has to know of messages' types: fields by their numbers, their names and kinds.
//!
//! The descriptors say it too, and more; but they take megabytes once they are decoded, for as long as a process lives. These are
//! constants that hold no address, so that they need neither memory of their own nor anything done when the process starts.

use crate::rule::{Name, Span};

// The constants, as `build/table.rs` has written them.
include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// A type of message.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    name: Name,
    fields: Span,
    /// The alternatives of which one must be set, in the table of the rules.
    pub choices: Span,
}

/// A field of a message.
#[derive(Debug, PartialEq)]
pub(crate) struct Field {
    pub number: u32,
    name: Name,
    pub kind: Kind,
    pub shape: Shape,
    /// Of the fields of a message with the same number here at most one is set.
    pub oneof: Option<u8>,
    /// The place of what it must be in the table of the rules.
    pub rules: u16,
}

/// What a field holds one or many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    /// Enums too.
    Int32,
    Int64,
    Uint32,
    Uint64,
    Float,
    Double,
    Text,
    Bytes,
    /// By its place among all messages.
    Message(u16),
}

/// How much a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value; it is not set if that is nothing.
    Implicit,
    /// One value, which may be nothing.
    Single,
    List,
    /// Its kind is the message of an entry: key and value are fields 1 and 2.
    Map,
}

impl Name {
    pub fn text(self) -> &'static str {
        let at = self.at as usize;
        NAMES.get(at..at + usize::from(self.length)).unwrap_or_default()
    }
}

impl Message {
    /// The message of a name, which is in full.
    pub fn named(name: &str) -> Option<&'static Self> {
        MESSAGES.binary_search_by(|message| message.name().cmp(name)).ok().and_then(|place| MESSAGES.get(place))
    }

    /// Its name in full.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// All its fields, in the order of their numbers.
    pub fn fields(&self) -> &'static [Field] {
        FIELDS.get(usize::from(self.fields.from)..usize::from(self.fields.to)).unwrap_or_default()
    }

    /// Its field of a number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        let fields = self.fields();
        fields.binary_search_by_key(&number, |field| field.number).ok().and_then(|place| fields.get(place))
    }
}

impl Field {
    /// Its name, as in the `.proto` file.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }
}

impl Kind {
    /// The message that it is.
    pub fn message(self) -> Option<&'static Message> {
        match self {
            Self::Message(place) => MESSAGES.get(usize::from(place)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_numbers() {
        let cluster = Message::named("envoy.config.cluster.v3.Cluster").expect("known");
        let name = cluster.field(1).expect("declared");
        assert_eq!((name.name(), name.kind, name.shape), ("name", Kind::Text, Shape::Implicit));
        let outliers = cluster.field(19).expect("declared");
        assert_eq!(outliers.kind.message().map(Message::name), Some("envoy.config.cluster.v3.OutlierDetection"));
        let options = cluster.field(36).expect("declared");
        assert_eq!((options.name(), options.shape), ("typed_extension_protocol_options", Shape::Map));
        assert!(cluster.field(0).is_none());
        assert!(Message::named("no.Such").is_none());
    }
}
