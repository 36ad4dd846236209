//! Values that every request is given for later filters and logs: Envoy's set-metadata filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/set_metadata_filter>).

use std::collections::btree_map::Entry as Place;

use weir_xds::prost_types::Struct;
use weir_xds::prost_types::value::Kind;
use weir_xds::set_metadata::{Config, Metadata};

use super::Policy;
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;

/// What is written, in its order. A route may have one too, which has no effect in Envoy either.
#[derive(Debug, Clone)]
pub struct MetadataPolicy(Box<[Entry]>);

/// What is written into a namespace.
#[derive(Debug, Clone)]
struct Entry {
    namespace: Box<str>,
    /// Whether it is merged into what is there already, which otherwise stays as it is.
    may_overwrite: bool,
    fields: Struct,
}

impl Policy for MetadataPolicy {
    type Message = Config;

    #[allow(deprecated, reason = "the older form of an entry is still read")]
    fn compile(message: &Config) -> Result<Self, CompileError> {
        let Config { metadata_namespace, value, metadata } = message;
        let older = value.as_ref().filter(|_| !metadata_namespace.is_empty());
        let older =
            older.map(|fields| Entry { namespace: metadata_namespace.as_str().into(), may_overwrite: true, fields: fields.clone() });
        let entry = |(i, entry)| Entry::compile(entry).map_err(|error: CompileError| error.within(&format!("metadata[{i}]"))).transpose();
        older.map(Ok).into_iter().chain(metadata.iter().enumerate().filter_map(entry)).collect::<Result<_, _>>().map(Self)
    }
}

impl Entry {
    /// `None` for one that writes nothing: typed values, which only filters of other proxies read, are reported.
    fn compile(message: &Metadata) -> Result<Option<Self>, CompileError> {
        let Metadata { metadata_namespace, allow_overwrite, value, typed_value: _ } = message;
        if metadata_namespace.is_empty() {
            return Err(CompileError::missing("metadata_namespace"));
        }
        let entry = |fields: &Struct| Self {
            namespace: metadata_namespace.as_str().into(),
            may_overwrite: *allow_overwrite,
            fields: fields.clone(),
        };
        Ok(value.as_ref().map(entry))
    }
}

impl MetadataPolicy {
    /// Writes into the metadata of a request.
    pub fn write(&self, all: &mut DynamicMetadata) {
        for Entry { namespace, may_overwrite, fields } in &self.0 {
            match all.entry(namespace.to_string()) {
                Place::Vacant(place) => {
                    place.insert(fields.clone());
                }
                Place::Occupied(mut there) if *may_overwrite => merge(there.get_mut(), fields),
                Place::Occupied(_) => {}
            }
        }
    }
}

/// Merges as this filter of Envoy does: lists grow, structures are merged, all else replaces.
fn merge(into: &mut Struct, from: &Struct) {
    for (key, new) in &from.fields {
        let Some(old) = into.fields.get_mut(key) else {
            into.fields.insert(key.clone(), new.clone());
            continue;
        };
        match (&mut old.kind, &new.kind) {
            (Some(Kind::StructValue(old)), Some(Kind::StructValue(new))) => merge(old, new),
            (Some(Kind::ListValue(old)), Some(Kind::ListValue(new))) => old.values.extend_from_slice(&new.values),
            (kind, Some(new)) => *kind = Some(new.clone()),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::prost_types::{ListValue, Value};
    use weir_xds::values::{json, text};

    use super::*;

    fn list(item: &str) -> Value {
        Value { kind: Some(Kind::ListValue(ListValue { values: vec![text(item)] })) }
    }

    fn of(fields: &[(&str, Value)]) -> Struct {
        Struct { fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
    }

    fn entry(namespace: &str, allow_overwrite: bool, fields: &[(&str, Value)]) -> Metadata {
        Metadata { metadata_namespace: namespace.into(), allow_overwrite, value: Some(of(fields)), typed_value: None }
    }

    #[test]
    fn what_may_overwrite_is_merged_and_all_else_is_written_once() {
        let inner = |key: &str| Value { kind: Some(Kind::StructValue(of(&[(key, text("v"))]))) };
        #[allow(deprecated)]
        let message = Config {
            metadata_namespace: "old".into(),
            value: Some(of(&[("a", text("1"))])),
            metadata: vec![
                entry("old", false, &[("a", text("2"))]),
                entry("ns", false, &[("t", text("1")), ("l", list("1")), ("s", inner("x")), ("k", list("1"))]),
                entry("ns", true, &[("t", text("2")), ("l", list("2")), ("s", inner("y")), ("k", text("3"))]),
                entry("ns", false, &[("t", text("4"))]),
                Metadata { metadata_namespace: "empty".into(), ..Metadata::default() },
            ],
        };
        let mut all = DynamicMetadata::new();
        MetadataPolicy::compile(&message).expect("valid").write(&mut all);
        let told: Vec<String> =
            all.into_iter().map(|(namespace, fields)| format!("{namespace} {}", json(&Kind::StructValue(fields)))).collect();
        assert_eq!(told, [r#"ns {"k":"3","l":["1","2"],"s":{"x":"v","y":"v"},"t":"2"}"#, r#"old {"a":"1"}"#]);
    }

    #[test]
    fn an_entry_needs_a_namespace() {
        let message = Config { metadata: vec![entry("", true, &[])], ..Config::default() };
        assert_eq!(MetadataPolicy::compile(&message).expect_err("no namespace").path, "metadata[0].metadata_namespace");
    }
}
