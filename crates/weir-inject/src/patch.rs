//! JSON Patch (RFC 6902): the operations that make one value of another. Lists that only grow at their end, or differ in members at the
//! same place, are patched member by member; others are replaced whole.

use serde_json::{Map, Value, json};

/// What makes `after` of `before`.
pub(crate) fn difference(before: &Value, after: &Value) -> Value {
    let mut operations = vec![];
    compare(before, after, String::new(), &mut operations);
    Value::Array(operations)
}

fn compare(before: &Value, after: &Value, path: String, operations: &mut Vec<Value>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => compare_maps(before, after, &path, operations),
        (Value::Array(before), Value::Array(after)) if before.len() <= after.len() => {
            for (place, (old, new)) in before.iter().zip(after).enumerate() {
                compare(old, new, format!("{path}/{place}"), operations);
            }
            operations.extend(after.iter().skip(before.len()).map(|new| json!({"op": "add", "path": format!("{path}/-"), "value": new})));
        }
        _ => operations.push(json!({"op": "replace", "path": path, "value": after})),
    }
}

fn compare_maps(before: &Map<String, Value>, after: &Map<String, Value>, path: &str, operations: &mut Vec<Value>) {
    for (name, old) in before {
        let path = format!("{path}/{}", escaped(name));
        match after.get(name) {
            Some(new) => compare(old, new, path, operations),
            None => operations.push(json!({"op": "remove", "path": path})),
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        operations.push(json!({"op": "add", "path": format!("{path}/{}", escaped(name)), "value": new}));
    }
}

/// A name in a JSON Pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
