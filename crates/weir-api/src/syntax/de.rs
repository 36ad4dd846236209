//! Trees as typed values: a serde deserializer over [`Node`].
//!
//! Unlike a usual deserializer it goes on after what it does not know: a field that a type does not have is
//! noted, with the name that was probably meant, and reading goes on; [`read`] also starts anew without the
//! field that stopped it, so that a person sees all that is wrong with a document at once.
//! An explicit `null` is the same as an absent field, as in protobuf's JSON.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use crate::diagnostic::Diagnostic;
use crate::field_path::{FieldPath, Segment};
use crate::likely::likely;
use crate::node::{Entry, Node, Value};

/// No document is read anew more often than this; who has more errors mends these first.
const MAX_ERRORS: usize = 20;

/// What becomes of fields that a type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Each is an error: the type has all fields that there are.
    Refuse,
    /// They are passed over: the type has only the fields that a mesh reads.
    Allow,
}

/// Reads a value of type `T` out of the node at `at` below `root`.
///
/// Diagnostics have their path from `root`, but no place. The value is the best that could be read; it is
/// only to be used where no diagnostic is an error.
pub fn read<T: DeserializeOwned + Default>(root: &Node, at: &FieldPath, unknown: Unknown) -> (T, Vec<Diagnostic>) {
    let mut tree = Cow::Borrowed(root);
    let mut errors: Vec<Diagnostic> = vec![];
    loop {
        let noted = RefCell::new(vec![]);
        let notes = (unknown == Unknown::Refuse).then_some(&noted);
        let result = match tree.at(at) {
            Some(node) => T::deserialize(NodeDeserializer { node, path: Path::Base(at), notes }),
            None => Ok(T::default()),
        };
        match result {
            Ok(value) => {
                errors.extend(noted.into_inner());
                return (value, errors);
            }
            Err(error) => {
                let again = errors.iter().any(|earlier| earlier.path == error.path);
                let path = error.path.clone();
                if !again {
                    errors.push(error.into_diagnostic());
                }
                if again || errors.len() >= MAX_ERRORS || path.0.len() <= at.0.len() {
                    return (T::default(), errors);
                }
                tree.to_mut().remove(&path);
            }
        }
    }
}

/// The way to a node, kept on the stack; written out only for an error.
#[derive(Clone, Copy)]
enum Path<'a> {
    Base(&'a FieldPath),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn to_field_path(self) -> FieldPath {
        match self {
            Path::Base(path) => path.clone(),
            Path::Key(parent, key) => parent.to_field_path().key(key.to_owned()),
            Path::Index(parent, index) => parent.to_field_path().index(index),
        }
    }
}

/// Why a node is not what its type wants.
#[derive(Debug)]
struct Error {
    message: String,
    help: Option<String>,
    path: FieldPath,
    placed: bool,
}

impl Error {
    fn into_diagnostic(self) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.message).at(self.path);
        match self.help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        // A type's own message may carry its remedy behind a semicolon.
        let (message, help) = match text.split_once("; ") {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text, None),
        };
        Error { message, help, path: FieldPath::default(), placed: false }
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Signed(number) => number.to_string(),
            de::Unexpected::Unsigned(number) => number.to_string(),
            other => other.to_string(),
        };
        let expected = match expected.to_string().as_str() {
            "u8" => "a number from 0 to 255".to_owned(),
            "u16" => "a number from 0 to 65535".to_owned(),
            "u32" => "a number from 0 to 4294967295".to_owned(),
            "u64" => "a number from 0 up".to_owned(),
            "i32" => "a number from -2147483648 to 2147483647".to_owned(),
            other => other.to_owned(),
        };
        Self::custom(format_args!("{found} is not {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("the field `{field}` is missing"))
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

struct NodeDeserializer<'a> {
    node: &'a Node,
    path: Path<'a>,
    /// Where unknown fields are noted; none where they are nobody's concern.
    notes: Option<&'a RefCell<Vec<Diagnostic>>>,
}

impl<'a> NodeDeserializer<'a> {
    /// Gives an error its path, unless something deeper has done so.
    fn placed<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            if !error.placed {
                error.path = self.path.to_field_path();
                error.placed = true;
            }
            error
        })
    }

    fn wrong(&self, expected: &str) -> Error {
        let (found, help) = match &self.node.value {
            Value::Null => ("nothing".to_owned(), None),
            Value::Bool(value) => (format!("`{value}`"), Some(format!("put it in quotes: \"{value}\""))),
            Value::Int(value) => (format!("the number {value}"), Some(format!("put it in quotes: \"{value}\""))),
            Value::Float(value) => (format!("the number {value}"), Some("put it in quotes".to_owned())),
            Value::String(text) => (format!("the text \"{}\"", shorten(text)), None),
            Value::List(_) => ("a list".to_owned(), None),
            Value::Map(_) => ("a map".to_owned(), None),
        };
        let help = match (expected, &self.node.value) {
            ("a text", _) => help,
            ("a list", Value::Map(_) | Value::String(_)) => Some("begin each entry of a list with `- `".to_owned()),
            ("a whole number", Value::String(text)) if text.parse::<i64>().is_ok() => Some(format!("leave the quotes away: {text}")),
            ("true or false", Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
                Some(format!("leave the quotes away: {text}"))
            }
            ("a whole number", _) => Some("write a number, such as 1".to_owned()),
            _ => None,
        };
        Error { message: format!("expected {expected}, found {found}"), help, path: self.path.to_field_path(), placed: true }
    }

    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_u64(0),
            Value::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => return Err(self.wrong("a whole number")),
            },
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => visitor.visit_i64(*value as i64),
            _ => return Err(self.wrong("a whole number")),
        };
        self.placed(result)
    }

    fn real<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Int(value) => visitor.visit_f64(*value as f64),
            Value::Float(value) => visitor.visit_f64(*value),
            _ => Err(self.wrong("a number")),
        }
    }

    /// Notes the fields that the type does not have.
    fn note_unknown(&self, fields: &[&'static str]) {
        let Some(notes) = self.notes else { return };
        for entry in self.node.entries().iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            let path = self.path.to_field_path().key(entry.key.clone());
            let diagnostic = Diagnostic::error(format!("unknown field `{}`", entry.key)).at(path).about_name();
            notes.borrow_mut().push(match likely(&entry.key, fields) {
                Some(meant) => diagnostic.with_help(format!("did you mean `{meant}`?")),
                None if fields.len() <= 12 => diagnostic.with_help(format!("known here: {}", list(fields))),
                None => diagnostic,
            });
        }
    }
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.whole(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(_) => self.whole(visitor),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(_) => self.deserialize_str(visitor),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.wrong("true or false")),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.real(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.real(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text),
            _ => return Err(self.wrong("a text")),
        };
        self.placed(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null | Value::List(_) => {
                let result = visitor.visit_seq(Items { nodes: self.node.items().iter().enumerate(), parent: &self });
                self.placed(result)
            }
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null | Value::Map(_) => {
                let access = Entries { entries: self.node.entries().iter(), parent: &self, current: None, skip_null: false };
                let result = visitor.visit_map(access);
                self.placed(result)
            }
            _ => Err(self.wrong("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null | Value::Map(_) => {
                self.note_unknown(fields);
                let access = Entries { entries: self.node.entries().iter(), parent: &self, current: None, skip_null: true };
                let result = visitor.visit_map(access);
                self.placed(result)
            }
            _ => Err(self.wrong(&format!("a map with {}", list(&fields[..fields.len().min(3)])))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let Value::String(text) = &self.node.value else { return Err(self.wrong(&format!("one of {}", list(variants)))) };
        if !variants.contains(&text.as_str()) {
            let help = likely(text, variants).map(|meant| format!("did you mean `{meant}`?"));
            let message = format!("unknown value \"{}\", expected one of {}", shorten(text), list(variants));
            return Err(Error { message, help, path: self.path.to_field_path(), placed: true });
        }
        visitor.visit_enum(Variant(text))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }
}

struct Items<'a> {
    nodes: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    parent: &'a NodeDeserializer<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.nodes.next() else { return Ok(None) };
        let path = Path::Index(&self.parent.path, index);
        seed.deserialize(NodeDeserializer { node, path, notes: self.parent.notes }).map(Some)
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    parent: &'a NodeDeserializer<'a>,
    current: Option<&'a Entry>,
    skip_null: bool,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let skip_null = self.skip_null;
        self.current = self.entries.find(|entry| !(skip_null && entry.node.value == Value::Null));
        let Some(entry) = self.current else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::new(&entry.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.current.take() else { return Err(de::Error::custom("a value without a key")) };
        let path = Path::Key(&self.parent.path, &entry.key);
        let deserializer = NodeDeserializer { node: &entry.node, path, notes: self.parent.notes };
        let place = NodeDeserializer { node: &entry.node, path, notes: self.parent.notes };
        let result = seed.deserialize(deserializer);
        place.placed(result)
    }
}

/// The name of an enum's variant; no resource has variants with content.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(de::value::StrDeserializer::<Error>::new(self.0))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(de::Error::custom("a word stands where a structure is expected"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a word stands where a structure is expected"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a word stands where a structure is expected"))
    }
}

/// A path that begins at `spec`.
pub fn spec() -> FieldPath {
    FieldPath(vec![Segment::Key(Cow::Borrowed("spec"))])
}
