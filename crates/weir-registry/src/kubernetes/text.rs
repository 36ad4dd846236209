//! An object as a text, so that a message about it can show the place: as `kubectl get -o yaml` would print it.
//!
//! Words that YAML may take for something else stand in quotes, by JSON's rules: what is read from the text is what the
//! API server said, to the last bit.

use serde_json::{Map, Value};

/// Words that are no words to some reader of YAML, in lower case.
const MEANINGFUL: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];

/// The text of an object.
pub(super) fn yaml(object: &Value) -> String {
    let mut out = String::new();
    value(object, 0, &mut out);
    out
}

/// Writes a value behind `- ` or at the beginning of a line, the rest of it with this indent.
fn value(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => entries(map, indent, out),
        Value::Array(list) if !list.is_empty() => items(list, indent, out),
        _ => {
            scalar(value, out);
            out.push('\n');
        }
    }
}

fn entries(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, entry)) in map.iter().enumerate() {
        begin_line(index, indent, out);
        text(key, out);
        out.push(':');
        match entry {
            Value::Object(map) if !map.is_empty() => {
                begin_block(indent + 2, out);
                entries(map, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                begin_block(indent, out);
                items(list, indent, out);
            }
            _ => {
                out.push(' ');
                scalar(entry, out);
                out.push('\n');
            }
        }
    }
}

fn items(list: &[Value], indent: usize, out: &mut String) {
    for (index, item) in list.iter().enumerate() {
        begin_line(index, indent, out);
        out.push_str("- ");
        value(item, indent + 2, out);
    }
}

/// The first line of a block is already begun.
fn begin_line(index: usize, indent: usize, out: &mut String) {
    if index > 0 {
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn begin_block(indent: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(word) => text(word, out),
        // JSON's other scalars, and what is empty, are YAML's too.
        other => out.push_str(&other.to_string()),
    }
}

fn text(word: &str, out: &mut String) {
    if is_plain(word) {
        out.push_str(word);
        return;
    }
    out.push('"');
    for char in word.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            // Not all that JSON allows may stand in a text of YAML, or stays what it is there.
            _ if is_printable(char) => out.push(char),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(char))),
        }
    }
    out.push('"');
}

fn is_printable(char: char) -> bool {
    matches!(char, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' | '\u{e000}'..='\u{fdcf}' | '\u{10000}'..='\u{1fffd}')
}

fn is_plain(word: &str) -> bool {
    let begins = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_harmless = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
    begins && word.chars().all(is_harmless) && !MEANINGFUL.contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use weir_api::{Node, Source, parse};

    use super::*;

    #[test]
    fn an_object_reads_as_kubectl_prints_it() {
        let object = json!({
            "kind": "VirtualService",
            "metadata": {"name": "reviews", "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"hosts": ["reviews", "*.example.com"], "http": [{"match": [{"headers": {"end-user": {"exact": "yes"}}}],
                "route": [{"destination": {"host": "reviews"}, "weight": 75}, {"weight": 25}]}], "empty": [], "nested": [[1, [2]], []]},
        });
        let expected = r#"kind: VirtualService
metadata:
  name: reviews
  labels: {}
  creationTimestamp: "2026-01-01T00:00:00Z"
spec:
  hosts:
  - reviews
  - "*.example.com"
  http:
  - match:
    - headers:
        end-user:
          exact: "yes"
    route:
    - destination:
        host: reviews
      weight: 75
    - weight: 25
  empty: []
  nested:
  - - 1
    - - 2
  - []
"#;
        assert_eq!(yaml(&object), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let word = prop_oneof!["\\PC{0,8}", any::<String>(), "(y|NO|On|null|~|1e3|0x1f|1_000|\\.inf|a: b|- a|#|a #b|%|@|'|\\?)"];
        let float = (-1e300..1e300).prop_map(|value: f64| json!(value));
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            float,
            word.clone().prop_map(Value::String)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            let map = prop::collection::vec((word.clone(), inner.clone()), 0..5).prop_map(|all| Value::Object(all.into_iter().collect()));
            prop_oneof![prop::collection::vec(inner, 0..5).prop_map(Value::Array), map]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_from_the_text_is_what_was_said(content in any_value()) {
            let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "other": content});
            let parsed = parse(&Source::new("x", yaml(&object)));
            prop_assert_eq!(parsed.objects.len(), 1, "{}\n{:?}", yaml(&object), parsed.diagnostics);
            prop_assert_eq!(&parsed.objects[0].node.to_json(), &Node::from_json(object.clone()).to_json(), "{}", yaml(&object));
        }
    }
}
