//! What the descriptors say that a field must be: the `validate.rules` of Envoy's `.proto` files
//! (<https://github.com/bufbuild/protoc-gen-validate>). Envoy holds each message to them before it looks at what the message
//! means, so that a resource which breaks one is refused by every proxy.
//!
//! The build script has written them down beside the table of fields. Only `pattern` is left out: of what is within reach, one field
//! has one, and is held to it where it is compiled.

mod check;
mod table;

use crate::Any;
use crate::fields::{Fields, Value};
use crate::json_error::JsonError;
use crate::pool::{ANY, PACKING_LIMIT};
use crate::walk::{Path, Step, decode, is_value, packed};

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
    let message = decode(any.type_name(), &any.value)?;
    Ok(Checker { looks_into }.message(&message, &Path::ROOT, 0).err())
}

struct Checker<F> {
    looks_into: F,
}

impl<F: Fn(&str) -> bool> Checker<F> {
    fn message(&self, message: &Fields<'_>, at: &Path<'_>, depth: usize) -> Result<(), Violation> {
        if message.of.name() == ANY {
            return self.packed(message, at, depth);
        }
        if is_value(message.of) {
            return Ok(());
        }
        check::message(message, at)?;
        for (field, value) in message.iter() {
            if !table::rules(field.rules).is_some_and(|rules| rules.skip) {
                self.value(value, &at.then(Step::Field(field.name())), depth)?;
            }
        }
        Ok(())
    }

    fn value(&self, value: &Value<'_>, at: &Path<'_>, depth: usize) -> Result<(), Violation> {
        match value {
            Value::Message(message) => self.message(message, at, depth),
            Value::List(values) => {
                values.iter().enumerate().try_for_each(|(index, value)| self.value(value, &at.then(Step::Index(index)), depth))
            }
            Value::Map(entries) => entries.iter().try_for_each(|(key, value)| self.value(value, &at.then(Step::Key(key)), depth)),
            _ => Ok(()),
        }
    }

    /// What cannot be looked into is for others to refuse or report.
    fn packed(&self, any: &Fields<'_>, at: &Path<'_>, depth: usize) -> Result<(), Violation> {
        let (name, bytes) = packed(any);
        if depth == PACKING_LIMIT || !(self.looks_into)(name) {
            return Ok(());
        }
        match decode(name, bytes) {
            Ok(message) => self.message(&message, at, depth + 1),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
