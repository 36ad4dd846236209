//! A walk over the fields that messages could have, set or not.

use std::collections::HashSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::json::JsonError;
use crate::pool;
use crate::walk::Below;

/// A field of a message's type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeclaredField {
    /// The full name of the type.
    pub message: String,
    /// The field's name, as in the `.proto` file.
    pub name: String,
}

/// All fields of the messages `roots` and of the messages that these hold, each once. Which message is packed in a field no
/// descriptor says: those in `packed` are taken as roots too. `below` says whether what a field holds is walked; a message that
/// another field holds as well is walked from there. Types of `google.protobuf` are values and have no fields here.
///
/// # Errors
/// If a type is unknown.
pub fn declared_fields<'n>(
    roots: impl IntoIterator<Item = &'n str>,
    packed: impl IntoIterator<Item = &'n str>,
    below: impl FnMut(&DeclaredField) -> Below,
) -> Result<impl Iterator<Item = DeclaredField>, JsonError> {
    let mut fields = DeclaredFields { seen: HashSet::new(), messages: vec![], fields: vec![], below };
    for name in roots.into_iter().chain(packed) {
        fields.add(pool::descriptor(name)?);
    }
    // Taken from the end.
    fields.messages.reverse();
    Ok(fields)
}

struct DeclaredFields<F> {
    seen: HashSet<String>,
    messages: Vec<MessageDescriptor>,
    fields: Vec<FieldDescriptor>,
    below: F,
}

impl<F> DeclaredFields<F> {
    fn add(&mut self, message: MessageDescriptor) {
        let value = message.package_name() == "google.protobuf";
        if !value && self.seen.insert(message.full_name().to_owned()) {
            self.messages.push(message);
        }
    }
}

impl<F: FnMut(&DeclaredField) -> Below> Iterator for DeclaredFields<F> {
    type Item = DeclaredField;

    fn next(&mut self) -> Option<DeclaredField> {
        while self.fields.is_empty() {
            self.fields = self.messages.pop()?.fields().collect();
            self.fields.reverse();
        }
        let field = self.fields.pop()?;
        let declared = DeclaredField { message: field.parent_message().full_name().to_owned(), name: field.name().to_owned() };
        if let Some(message) = held(&field)
            && (self.below)(&declared) == Below::Visit
        {
            self.add(message);
        }
        Some(declared)
    }
}

/// The message that a field holds, alone, in a list or as the values of a map.
fn held(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    kind.as_message().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: &str = "envoy.config.listener.v3.Listener";
    const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

    fn fields(packed: &[&str], skipped: &str) -> Vec<DeclaredField> {
        let below = |field: &DeclaredField| if field.name == skipped { Below::Skip } else { Below::Visit };
        declared_fields([LISTENER], packed.iter().copied(), below).expect("known types").collect()
    }

    fn has(fields: &[DeclaredField], message: &str, name: &str) -> bool {
        fields.iter().any(|field| field.message == message && field.name == name)
    }

    #[test]
    fn every_field_within_reach_comes_once() {
        let found = fields(&[], "");
        assert!(has(&found, LISTENER, "filter_chains"));
        assert!(has(&found, "envoy.config.listener.v3.FilterChainMatch", "server_names"));
        // Filter chains are matched by trees, which hold themselves.
        assert!(has(&found, "xds.type.matcher.v3.Matcher.MatcherTree.MatchMap", "map"));
        assert!(!has(&found, MANAGER, "route_config"));
        assert!(!found.iter().any(|field| field.message.starts_with("google.protobuf.")));
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
    }

    #[test]
    fn packed_types_are_roots_too() {
        let found = fields(&[MANAGER], "");
        assert!(has(&found, MANAGER, "route_config"));
        // A map's values.
        assert!(has(&found, "envoy.config.route.v3.HeaderMatcher", "present_match"));
        assert!(declared_fields([LISTENER], ["no.Such"], |_| Below::Visit).is_err());
    }

    #[test]
    fn what_lies_below_a_skipped_field_is_left_out() {
        let found = fields(&[], "filter_chain_match");
        assert!(has(&found, "envoy.config.listener.v3.FilterChain", "filter_chain_match"));
        assert!(!has(&found, "envoy.config.listener.v3.FilterChainMatch", "server_names"));
    }
}
