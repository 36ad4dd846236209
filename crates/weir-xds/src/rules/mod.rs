//! What the descriptors say that a field must be: the `validate.rules` of Envoy's `.proto` files
//! (<https://github.com/bufbuild/protoc-gen-validate>). Envoy holds each message to them before it looks at what the message
//! means, so that a resource which breaks one is refused by every proxy.

mod check;
mod read;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use crate::Any;
use crate::json_error::JsonError;
use crate::pool;
use crate::walk::{Path, Step};

/// A field that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it stands, as in `filter_chains[0].filters`.
    pub path: String,
    /// What it must be.
    pub what: String,
}

/// The first rule that a packed message breaks, itself or by a message within it. Of what is packed in it, the types are checked
/// that `looks_into` names.
///
/// # Errors
/// If the message itself is of an unknown type, or malformed.
pub fn first_violation(any: &Any, looks_into: impl Fn(&str) -> bool) -> Result<Option<Violation>, JsonError> {
    let message = pool::decode(any.type_name(), any.value.clone())?;
    Ok(Checker { looks_into }.message(&message, &Path::ROOT, 0).err())
}

/// The rules of a message's type.
#[derive(Debug, Default)]
struct MessageRules {
    fields: Vec<FieldRules>,
    /// Alternatives of which one must be set: their name, and the numbers of their fields.
    choices: Vec<(String, Vec<u32>)>,
}

/// What is said of a field.
#[derive(Debug, Default)]
struct FieldRules {
    number: u32,
    /// Whether it must be set.
    required: bool,
    /// Whether what it holds is left unchecked.
    skip: bool,
    rule: Rule,
}

/// What a value must be. These are the rules that Envoy's messages have, of the many that there could be; a test says so.
#[derive(Debug, Default)]
enum Rule {
    #[default]
    Anything,
    Integer(Bounds<i128>),
    /// In nanoseconds.
    Duration(Bounds<i128>),
    Float(Bounds<f64>),
    Bool(bool),
    Text(TextRule),
    /// One of the values that are declared, where the first says so, but none of these.
    Enum(bool, Vec<i32>),
    /// So many items, each another where the second says so, and each like this.
    List(Counts, bool, Box<Rule>),
    /// So many entries, with keys like this.
    Map(Counts, Box<Rule>),
}

/// A number that must be within bounds.
#[derive(Debug)]
struct Bounds<N> {
    less: Option<N>,
    at_most: Option<N>,
    greater: Option<N>,
    at_least: Option<N>,
}

/// From how many to how many.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    least: Option<u64>,
    most: Option<u64>,
}

/// What a text, or bytes, must be.
#[derive(Debug, Default)]
struct TextRule {
    /// Of bytes, how many bytes.
    characters: Counts,
    most_bytes: Option<u64>,
    prefix: String,
    suffix: String,
    one_of: Vec<String>,
    form: Option<Form>,
    /// Whether none at all is as good.
    may_be_empty: bool,
}

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    HeaderName,
    HeaderValue,
    /// Either, where only the end of a line is forbidden.
    OneLine,
}

/// The rules of a type. They are read from its options when it is first met.
fn rules_of(message: &MessageDescriptor) -> Arc<MessageRules> {
    static KNOWN: RwLock<Option<HashMap<String, Arc<MessageRules>>>> = RwLock::new(None);
    let name = message.full_name();
    if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|known| known.get(name)) {
        return known.clone();
    }
    let rules = Arc::new(read::rules(message));
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(name.to_owned()).or_insert(rules).clone()
}

struct Checker<F> {
    looks_into: F,
}

impl<F: Fn(&str) -> bool> Checker<F> {
    fn message(&self, message: &DynamicMessage, at: &Path<'_>, packed: usize) -> Result<(), Violation> {
        let descriptor = message.descriptor();
        if descriptor.full_name() == pool::ANY {
            return self.packed(&pool::packed(message), at, packed);
        }
        if pool::is_value(&descriptor) {
            return Ok(());
        }
        let rules = rules_of(&descriptor);
        check::message(&rules, message, at)?;
        for (field, value) in message.fields() {
            if !rules.fields.iter().any(|rules| rules.skip && rules.number == field.number()) {
                self.value(value, &at.then(Step::Field(field.name())), packed)?;
            }
        }
        Ok(())
    }

    fn value(&self, value: &Value, at: &Path<'_>, packed: usize) -> Result<(), Violation> {
        match value {
            Value::Message(message) => self.message(message, at, packed),
            Value::List(values) => {
                values.iter().enumerate().try_for_each(|(index, value)| self.value(value, &at.then(Step::Index(index)), packed))
            }
            Value::Map(entries) => entries.iter().try_for_each(|(key, value)| self.value(value, &at.then(Step::Key(key)), packed)),
            _ => Ok(()),
        }
    }

    /// What cannot be looked into is for others to refuse or report.
    fn packed(&self, any: &Any, at: &Path<'_>, packed: usize) -> Result<(), Violation> {
        let name = any.type_name();
        if packed == pool::PACKING_LIMIT || !(self.looks_into)(name) {
            return Ok(());
        }
        match pool::decode(name, any.value.clone()) {
            Ok(message) => self.message(&message, at, packed + 1),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
