//! Changes to the query of a request's path.
//!
//! As in Envoy the whole query is written anew, in the order of the names. What a client encoded comes out decoded, and only
//! values that are added are encoded; so a path may come out that no request can have.

use weir_xds::core::key_value_append::KeyValueAppendAction;
use weir_xds::core::{KeyValueAppend, KeyValueMutation, KeyValuePair};
use weir_xds::prost_types::value::Kind;

use crate::error::CompileError;
use crate::header_changes::Action;
use crate::query::{Query, encode};
use crate::template::{Template, Values};

/// A change to a parameter of the query.
#[derive(Debug, Clone)]
pub struct QueryMutation {
    name: Box<[u8]>,
    /// What is written; without it all of this name go.
    write: Option<(Template, Action)>,
}

/// A path of bytes that no path can have. Envoy answers 503 then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid header value for: :path")]
pub struct InvalidPath;

impl QueryMutation {
    pub(super) fn compile(mutation: &KeyValueMutation) -> Result<Self, CompileError> {
        let KeyValueMutation { append, remove } = mutation;
        match append {
            Some(_) if !remove.is_empty() => Err(CompileError::new("remove", "may not be set together with `append`")),
            Some(append) => Self::write(append).map_err(|error| error.within("append")),
            None if remove.is_empty() => Err(CompileError::missing("append")),
            None => Ok(Self { name: remove.as_bytes().into(), write: None }),
        }
    }

    fn write(append: &KeyValueAppend) -> Result<Self, CompileError> {
        #[allow(deprecated)] // The entry that Envoy does not read either.
        let KeyValueAppend { record, entry: _, action: _ } = append;
        let KeyValuePair { key, value } = record.as_ref().ok_or_else(|| CompileError::missing("record"))?;
        if key.is_empty() {
            return Err(CompileError::missing("record.key"));
        }
        let Some(Kind::StringValue(text)) = value.as_ref().and_then(|value| value.kind.as_ref()) else {
            return Err(CompileError::new("record.value", "must be a string"));
        };
        let template = Template::compile(text).map_err(|error| error.within("record.value"))?;
        let action = match append.action() {
            KeyValueAppendAction::AppendIfExistsOrAdd => Action::Append,
            KeyValueAppendAction::AddIfAbsent => Action::AddIfAbsent,
            KeyValueAppendAction::OverwriteIfExistsOrAdd => Action::Set,
            KeyValueAppendAction::OverwriteIfExists => Action::SetIfPresent,
        };
        Ok(Self { name: key.as_bytes().into(), write: Some((template, action)) })
    }

    fn apply(&self, query: &mut Query, values: &impl Values) {
        let Some((template, action)) = &self.write else {
            query.0.remove(&*self.name);
            return;
        };
        let is_there = query.0.contains_key(&*self.name);
        match action {
            Action::AddIfAbsent if is_there => return,
            Action::SetIfPresent if !is_there => return,
            Action::Append => {}
            Action::Set | Action::AddIfAbsent | Action::SetIfPresent => drop(query.0.remove(&*self.name)),
        }
        let mut text = vec![];
        template.render(values, b"", &mut text);
        query.add(self.name.to_vec(), encode(&text));
    }

    /// The path after all changes.
    ///
    /// # Errors
    /// If it is none.
    pub fn apply_all(mutations: &[Self], path: &str, values: &impl Values) -> Result<String, InvalidPath> {
        let mut query = Query::parse(path);
        for mutation in mutations {
            mutation.apply(&mut query, values);
        }
        let mut changed = path.split_once('?').map_or(path, |(path, _)| path).as_bytes().to_vec();
        let pairs = query.0.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        for (i, (name, value)) in pairs.enumerate() {
            changed.push(if i == 0 { b'?' } else { b'&' });
            changed.extend_from_slice(name);
            changed.push(b'=');
            changed.extend_from_slice(value);
        }
        let changed = String::from_utf8(changed).map_err(|_| InvalidPath)?;
        if changed.chars().any(char::is_control) { Err(InvalidPath) } else { Ok(changed) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_xds::values::text;

    use super::super::tests::Said;
    use super::*;

    fn write(key: &str, value: &str, action: KeyValueAppendAction) -> KeyValueMutation {
        let record = Some(KeyValuePair { key: key.into(), value: Some(text(value)) });
        let append = Some(KeyValueAppend { record, action: action.into(), ..Default::default() });
        KeyValueMutation { append, ..Default::default() }
    }

    fn remove(key: &str) -> KeyValueMutation {
        KeyValueMutation { remove: key.into(), ..Default::default() }
    }

    fn compile(mutations: &[KeyValueMutation]) -> Vec<QueryMutation> {
        mutations.iter().map(|mutation| QueryMutation::compile(mutation).expect("valid")).collect()
    }

    /// As Envoy 1.40 sent these paths on.
    #[test]
    fn the_query_is_written_anew() {
        use KeyValueAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
        let all = compile(&[
            write("a", "new", AppendIfExistsOrAdd),
            write("z z", "v w", AppendIfExistsOrAdd),
            write("b", "o", OverwriteIfExists),
            write("nob", "o", OverwriteIfExists),
            write("c", "d", OverwriteIfExistsOrAdd),
            remove("rm"),
            write("a", "x", AddIfAbsent),
            write("h", "%REQ(x-h)%", AppendIfExistsOrAdd),
        ]);
        let said = "h=p%26q%3D%2541%20%23&z z=v%20w";
        let cases = [
            ("/x?a=1&b=2&a=3&rm=1&rm=2&c", Ok(format!("/x?a=1&a=3&a=new&b=o&c=d&{said}"))),
            ("/x", Ok(format!("/x?a=new&c=d&{said}"))),
            ("/x?", Ok(format!("/x?a=new&c=d&{said}"))),
            ("/x?b=%20%26&d=%zz&=e&&f=g=h", Ok(format!("/x?=e&=&a=new&b=o&c=d&d=%zz&f=g=h&{said}"))),
            ("/x?d=%2541", Ok(format!("/x?a=new&c=d&d=%41&{said}"))),
            ("/x?d=%0d%0ax:y", Err(InvalidPath)),
            ("/x?d=%E9", Err(InvalidPath)),
        ];
        for (path, expected) in cases {
            assert_eq!(QueryMutation::apply_all(&all, path, &Said), expected, "{path}");
        }
        assert_eq!(QueryMutation::apply_all(&compile(&[remove("b"), remove("c")]), "/x?b&c", &Said).as_deref(), Ok("/x"));
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let append = KeyValueAppendAction::AppendIfExistsOrAdd;
        let no_record = KeyValueMutation { append: Some(KeyValueAppend::default()), ..Default::default() };
        let mut no_text = write("a", "", append);
        no_text.append.as_mut().and_then(|append| append.record.as_mut()).expect("there").value = None;
        let cases = [
            (KeyValueMutation { remove: "c".into(), ..write("a", "b", append) }, "remove: may not be set together with `append`"),
            (KeyValueMutation::default(), "append: is missing"),
            (no_record, "append.record: is missing"),
            (no_text, "append.record.value: must be a string"),
            (write("", "b", append), "append.record.key: is missing"),
            (write("a", "%NOPE%", append), "append.record.value: `%NOPE%` is not an operator that Weir knows, or has a wrong argument"),
        ];
        for (mutation, expected) in cases {
            assert_eq!(QueryMutation::compile(&mutation).expect_err(expected).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_path_does_harm(path in "/[a%&=?é0-9]{0,20}") {
            let mutation = compile(&[write("a", "%REQ(x-h)%", KeyValueAppendAction::OverwriteIfExistsOrAdd)]);
            if let Ok(changed) = QueryMutation::apply_all(&mutation, &path, &Said) {
                prop_assert!(!changed.chars().any(char::is_control));
                let values = Query::parse(&changed).0.remove(b"a".as_slice());
                prop_assert!(values.is_some_and(|values| values.last().is_some_and(|value| value == b"p&q=%41 #")));
            }
        }
    }
}
