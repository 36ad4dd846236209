//! JSON as lines, each value under its path, so that two messages can be compared line by line.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Any;
use crate::json::{Names, any_to_value};

/// The lines of a value. An item of a list is called by its name where all items have one, so that its path stays when another is
/// put before it; then the names are a line of their own.
pub fn lines(path: &str, value: &Value) -> Vec<String> {
    let mut lines = vec![];
    flatten(path, value, &mut lines);
    lines
}

/// The lines in which two values differ: first those that are gone, with `-`, then the new ones, with `+`. Of what is gone as a whole
/// only the path is told.
pub fn differences(path: &str, before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (lines(path, before), lines(path, after));
    let gone = before.iter().filter(|line| !after.contains(line));
    let mut differences: Vec<String> = gone.map(|line| format!("- {}", shortened(line, &after))).collect();
    differences.dedup();
    differences.extend(after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}")));
    differences
}

/// The lines in which two packed messages differ, with the names of the `.proto` files. None stands for a message that says nothing.
pub fn of_messages(before: Option<&Any>, after: Option<&Any>) -> Vec<String> {
    let json = |message: Option<&Any>| match message.map(|message| any_to_value(message, Names::Proto)) {
        Some(Ok(value)) => value,
        Some(Err(error)) => Value::String(error.to_string()),
        None => Value::Object(Map::new()),
    };
    differences("", &json(before), &json(after))
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let names: Option<Vec<&str>> = items.iter().map(|item| item.get("name")?.as_str()).collect();
            let names = names.filter(|names| !names.is_empty());
            if let Some(names) = &names {
                lines.push(format!("{path}: {}", names.join(", ")));
            }
            for (index, item) in items.iter().enumerate() {
                match names.as_ref().and_then(|names| names.get(index)) {
                    Some(name) => flatten(&format!("{path}[{name}]"), item, lines),
                    None => flatten(&format!("{path}[{index}]"), item, lines),
                }
            }
        }
        Value::Object(fields) => {
            // Maps of a message have no order.
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            sorted.into_iter().for_each(|(key, value)| flatten(&below(path, key), value, lines));
        }
        other => lines.push(format!("{path} = {other}")),
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of what is gone as a whole, where something is.
fn shortened(line: &str, after: &[String]) -> String {
    let ends = line.match_indices(']').filter_map(|(at, _)| line.get(..=at));
    let whole = ends.into_iter().find(|prefix| !after.iter().any(|line| line.starts_with(prefix)));
    whole.map_or_else(|| line.to_owned(), |prefix| format!("{prefix} is gone"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_a_name_keeps_its_path() {
        let before = json!({"filters": [{"name": "a", "x": 1}, {"name": "b"}], "list": [1]});
        let after = json!({"filters": [{"name": "new"}, {"name": "a", "x": 2}], "list": [1]});
        assert_eq!(
            differences("", &before, &after),
            [
                "- filters: a, b",
                "- filters[a].x = 1",
                "- filters[b] is gone",
                "+ filters: new, a",
                "+ filters[new].name = \"new\"",
                "+ filters[a].x = 2"
            ]
        );
        assert!(differences("", &before, &before).is_empty());
    }
}
