//! What differs between two states of an object, for a person to read.

use std::fmt;

use serde_json::{Map, Value};

/// So long a value may be in one line.
const LONGEST: usize = 100;
/// Of texts with more pairs of lines than this, all lines are shown: to look for those in common would take too long.
const MOST_PAIRS: usize = 1_000_000;
/// What the API server writes into each object by itself.
const OF_THE_SERVER: [&str; 6] = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which, as `spec.template.spec.containers[discovery].image`.
    pub path: String,
    /// What it was, if it was there.
    pub before: Option<Value>,
    /// What it is then, if it is there.
    pub after: Option<Value>,
}

/// In one line; a text of several in one for each of its lines that differs.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(Value::String(before)), Some(Value::String(after))) if before.contains('\n') || after.contains('\n') => {
                write!(f, "~ {}:", self.path)?;
                lines(before, after).iter().try_for_each(|(sign, line)| write!(f, "\n    {sign} {line}"))
            }
            (Some(before), Some(after)) => write!(f, "~ {}: {} -> {}", self.path, short(before), short(after)),
            (None, Some(after)) => write!(f, "+ {}: {}", self.path, short(after)),
            (Some(before), None) => write!(f, "- {}: {}", self.path, short(before)),
            (None, None) => write!(f, "  {}", self.path),
        }
    }
}

/// What differs, in the order of the fields; nothing that the API server keeps for itself, and no status.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = vec![];
    compare("", Some(&plain(before)), Some(&plain(after)), &mut found);
    found
}

/// An object as its owner sees it.
fn plain(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(fields) = plain.as_object_mut() {
        fields.shift_remove("status");
    }
    if let Some(metadata) = plain.get_mut("metadata").and_then(Value::as_object_mut) {
        OF_THE_SERVER.iter().for_each(|name| drop(metadata.shift_remove(*name)));
    }
    plain
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for name in names(before, after) {
                compare(&below(path, name), before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => match (by_name(before), by_name(after)) {
            (Some(before), Some(after)) => {
                for name in names(&before, &after) {
                    compare(&format!("{path}[{name}]"), before.get(name), after.get(name), found);
                }
            }
            _ => {
                for index in 0..before.len().max(after.len()) {
                    compare(&format!("{path}[{index}]"), before.get(index), after.get(index), found);
                }
            }
        },
        (before, after) => found.push(Difference { path: path.to_owned(), before: before.cloned(), after: after.cloned() }),
    }
}

/// The names of both, each once.
fn names<'v>(before: &'v Map<String, Value>, after: &'v Map<String, Value>) -> Vec<&'v String> {
    before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))).collect()
}

/// The elements of a list in which each has a name of its own: there the place in the list does not matter.
fn by_name(list: &[Value]) -> Option<Map<String, Value>> {
    let named: Option<Map<String, Value>> =
        list.iter().map(|element| Some((element["name"].as_str()?.to_owned(), element.clone()))).collect();
    named.filter(|named| named.len() == list.len())
}

/// The path of a field; names that hold dots, as labels do, in brackets.
fn below(path: &str, name: &str) -> String {
    match () {
        () if name.contains(['.', '/']) => format!("{path}[{name}]"),
        () if path.is_empty() => name.to_owned(),
        () => format!("{path}.{name}"),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) if !text.is_empty() && !text.contains('\n') => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The lines that one of two texts has and the other has not, in their order: the longest common part is left out.
fn lines<'t>(before: &'t str, after: &'t str) -> Vec<(char, &'t str)> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if before.len().saturating_mul(after.len()) > MOST_PAIRS {
        return before.into_iter().map(|line| ('-', line)).chain(after.into_iter().map(|line| ('+', line))).collect();
    }
    // common[i][j] is how many lines the rests from i and from j have in common.
    let mut common = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] = match before[i] == after[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, vec![]);
    while i < before.len() || j < after.len() {
        match (before.get(i), after.get(j)) {
            (Some(one), Some(other)) if one == other => (i, j) = (i + 1, j + 1),
            (Some(one), other) if other.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                found.push(('-', *one));
                i += 1;
            }
            (_, other) => {
                found.extend(other.map(|line| ('+', *line)));
                j += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_shown_by_its_path() {
        let before = json!({
            "metadata": {"name": "x", "resourceVersion": "1", "labels": {"istio.io/rev": "default"}},
            "spec": {"replicas": 2, "containers": [{"name": "a", "image": "weir:1"}, {"name": "b"}], "args": ["x", "y"], "old": {}},
            "data": {"mesh": "a: 1\nb: 2\nc: 3\n"},
            "status": {"ready": 1},
        });
        let after = json!({
            "metadata": {"name": "x", "resourceVersion": "2", "labels": {"istio.io/rev": "canary"}},
            "spec": {"replicas": 3, "containers": [{"name": "b"}, {"name": "a", "image": "weir:2"}], "args": ["x"], "new": ""},
            "data": {"mesh": "a: 1\nb: 3\nc: 3\nd: 4\n"},
        });
        let shown: Vec<String> = differences(&before, &after).iter().map(ToString::to_string).collect();
        let wanted = [
            "~ metadata.labels[istio.io/rev]: default -> canary",
            "~ spec.replicas: 2 -> 3",
            "~ spec.containers[a].image: weir:1 -> weir:2",
            "- spec.args[1]: y",
            "- spec.old: {}",
            "+ spec.new: \"\"",
            "~ data.mesh:\n    - b: 2\n    + b: 3\n    + d: 4",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(differences(&before, &before), []);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let value = json!({"a": "ä".repeat(200)});
        let shown = differences(&json!({}), &value)[0].to_string();
        assert_eq!(shown, format!("+ a: {}…", "ä".repeat(100)));
    }
}
