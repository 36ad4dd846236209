//! What filters learn of a request and leave for those after them and for logs: values by namespace and key.

use std::collections::BTreeMap;

use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use weir_xds::values::json;

/// The dynamic metadata of a request, by namespace, which is usually the name of the filter that left it.
pub type DynamicMetadata = BTreeMap<String, Struct>;

/// Leaves values under a namespace, in the place of those that have the same keys.
pub fn leave(all: &mut DynamicMetadata, namespace: &str, values: Struct) {
    if values.fields.is_empty() {
        return;
    }
    match all.get_mut(namespace) {
        Some(known) => known.fields.extend(values.fields),
        None => drop(all.insert(namespace.to_owned(), values)),
    }
}

/// Appends the value at a path (a namespace and the keys below it) as Envoy's logs print it: texts as they are, all else as
/// JSON. False if there is none.
pub fn append(all: &DynamicMetadata, path: &[String], out: &mut Vec<u8>) -> bool {
    let Some((namespace, keys)) = path.split_first() else { return false };
    let Some(fields) = all.get(namespace) else { return false };
    let text = match keys.split_first() {
        None => json(&Kind::StructValue(fields.clone())).to_string(),
        Some((key, inner)) => match at(fields, key, inner) {
            Some(Kind::StringValue(text)) => text.clone(),
            Some(Kind::NullValue(_)) | None => return false,
            Some(kind) => json(kind).to_string(),
        },
    };
    out.extend_from_slice(text.as_bytes());
    true
}

fn at<'f>(fields: &'f Struct, key: &str, inner: &[String]) -> Option<&'f Kind> {
    let Value { kind } = fields.fields.get(key)?;
    match (kind.as_ref()?, inner.split_first()) {
        (kind, None) => Some(kind),
        (Kind::StructValue(fields), Some((key, inner))) => at(fields, key, inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::values::text;

    use super::*;

    #[test]
    fn values_print_as_in_envoys_logs() {
        let number = Value { kind: Some(Kind::NumberValue(7.0)) };
        let inner = Struct { fields: [("b".to_owned(), text("x")), ("n".to_owned(), number)].into() };
        let fields = [
            ("a", Value { kind: Some(Kind::StructValue(inner)) }),
            ("empty", text("")),
            ("null", Value { kind: Some(Kind::NullValue(0)) }),
        ];
        let fields = fields.map(|(key, value)| (key.to_owned(), value)).into();
        let all = DynamicMetadata::from([("ns".to_owned(), Struct { fields }), ("none".to_owned(), Struct::default())]);
        let cases = [
            ("ns:a:b", Some("x")),
            ("ns:a:n", Some("7")),
            ("ns:a", Some(r#"{"b":"x","n":7}"#)),
            ("none", Some("{}")),
            ("ns:empty", Some("")),
            ("ns:null", None),
            ("ns:a:b:c", None),
            ("ns:b", None),
            ("other:a", None),
        ];
        for (path, expected) in cases {
            let path: Vec<String> = path.split(':').map(str::to_owned).collect();
            let mut out = vec![];
            let found = append(&all, &path, &mut out).then(|| String::from_utf8(out).expect("UTF-8"));
            assert_eq!(found.as_deref(), expected, "{path:?}");
        }
    }
}
