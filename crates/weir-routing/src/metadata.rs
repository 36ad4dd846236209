//! What an xDS resource brings along, as texts for access logs, headers and people.

use weir_xds::core::Metadata as XdsMetadata;
use weir_xds::prost_types::{Struct, Value, value::Kind};
use weir_xds::values::json;

/// Ends a part. Texts with it are left out: there are none that people read.
const END: char = '\0';

/// Texts of a resource's metadata, by namespace and key.
///
/// There is one for each route, and it is only read when an access log names one of its keys, or a person asks. So it is one
/// text: namespace, key, text, and so on.
#[derive(Debug, Default, Clone)]
pub struct Metadata(Box<str>);

impl Metadata {
    /// Keeps the texts of an xDS resource's metadata.
    pub fn compile(metadata: Option<&XdsMetadata>) -> Self {
        let mut all = String::new();
        for (namespace, fields) in metadata.into_iter().flat_map(|metadata| &metadata.filter_metadata) {
            append_all(namespace, "", fields, &mut all);
        }
        Self(all.into())
    }

    /// The text of a namespace and key; the key of what stands inside of something is `outer:inner`.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        let mut parts = self.0.split(END);
        loop {
            let (own_namespace, own_key, text) = (parts.next()?, parts.next()?, parts.next()?);
            if (own_namespace, own_key) == (namespace, key) {
                return Some(text);
            }
        }
    }
}

/// Appends fields as texts, and the fields of those that have some.
fn append_all(namespace: &str, outer: &str, fields: &Struct, all: &mut String) {
    for (key, Value { kind }) in &fields.fields {
        let key = format!("{outer}{key}");
        let text = match kind {
            Some(Kind::StringValue(text)) => text.clone(),
            Some(Kind::NullValue(_)) | None => continue,
            Some(kind) => json(kind).to_string(),
        };
        let parts = [namespace, &key, &text];
        if !parts.iter().any(|part| part.contains(END)) {
            for part in parts {
                all.push_str(part);
                all.push(END);
            }
        }
        if let Some(Kind::StructValue(fields)) = kind {
            append_all(namespace, &format!("{key}:"), fields, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::values::{set_metadata, text};

    use super::*;

    #[test]
    fn texts_are_found_by_namespace_and_key() {
        let mut written = XdsMetadata::default();
        for (namespace, key, value) in
            [("istio", "config", "/apis/a"), ("weir", "source", "a.yaml:12"), ("weir", "bad", "a\0b"), ("w", "", "")]
        {
            set_metadata(&mut written, namespace, key, text(value));
        }
        let kinds = [
            text("x"),
            Value { kind: Some(Kind::NumberValue(1.5)) },
            Value { kind: Some(Kind::BoolValue(true)) },
            Value { kind: Some(Kind::NullValue(0)) },
        ];
        let list = Value { kind: Some(Kind::ListValue(weir_xds::prost_types::ListValue { values: kinds.into() })) };
        let fields = [("a", text("b")), ("list", list), ("n", Value { kind: Some(Kind::NumberValue(7.0)) })];
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let object = Value { kind: Some(Kind::StructValue(Struct { fields })) };
        set_metadata(&mut written, "ns", "object", object);
        let metadata = Metadata::compile(Some(&written));
        let cases = [
            ("ns", "object", Some(r#"{"a":"b","list":["x",1.5,true,null],"n":7}"#)),
            ("ns", "object:a", Some("b")),
            ("ns", "object:n", Some("7")),
            ("ns", "object:none", None),
            ("weir", "source", Some("a.yaml:12")),
            ("istio", "config", Some("/apis/a")),
            ("w", "", Some("")),
            ("weir", "bad", None),
            ("istio", "source", None),
            ("source", "a.yaml:12", None),
        ];
        for (namespace, key, expected) in cases {
            assert_eq!(metadata.get(namespace, key), expected, "{namespace} {key}");
        }
        assert_eq!(Metadata::default().get("weir", "source"), None);
    }
}
