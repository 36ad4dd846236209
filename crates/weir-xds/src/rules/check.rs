//! Holds a message's fields to its rules.

use std::borrow::Cow;
use std::time::Duration;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use super::read::{float, integer, nanoseconds};
use super::{Bounds, Counts, FieldRules, Form, MessageRules, Rule, TextRule, Violation};
use crate::pool;
use crate::walk::{Path, Step};

/// What a value must be, if it is not that.
type Checked = Result<(), String>;

/// Checks the fields of one message, set or not; what they hold is checked for itself.
pub(super) fn message(rules: &MessageRules, message: &DynamicMessage, at: &Path<'_>) -> Result<(), Violation> {
    let descriptor = message.descriptor();
    for rules in &rules.fields {
        let Some(field) = descriptor.get_field(rules.number) else { continue };
        let path = at.then(Step::Field(field.name()));
        of_field(rules, message, &field).map_err(|what| Violation { path: path.to_string(), what })?;
    }
    for (name, fields) in &rules.choices {
        if !fields.iter().any(|number| message.has_field_by_number(*number)) {
            let path = at.then(Step::Field(name));
            return Err(Violation { path: path.to_string(), what: "one of its fields must be set".to_owned() });
        }
    }
    Ok(())
}

fn of_field(rules: &FieldRules, message: &DynamicMessage, field: &FieldDescriptor) -> Checked {
    // Where nothing tells whether it is set, its zero is a value like others.
    let is_set = message.has_field(field) || !field.supports_presence();
    match is_set {
        true => value(&rules.rule, &message.get_field(field), &field.kind()),
        // Of alternatives, one is set or none.
        false if rules.required && field.containing_oneof().is_none() => Err("must be set".to_owned()),
        false => Ok(()),
    }
}

fn value(rule: &Rule, value: &Value, kind: &Kind) -> Checked {
    match rule {
        Rule::Anything => Ok(()),
        Rule::Integer(bounds) => integer(&unwrapped(value)).map_or(Ok(()), |number| bounds.check(&number, i128::to_string)),
        Rule::Duration(bounds) => nanoseconds(value).map_or(Ok(()), |number| bounds.check(&number, |bound| time(*bound))),
        Rule::Float(bounds) => float(&unwrapped(value)).map_or(Ok(()), |number| bounds.check(&number, f64::to_string)),
        Rule::Bool(wanted) => hold(unwrapped(value).as_bool() == Some(*wanted), || format!("must be {wanted}")),
        Rule::Text(rule) => text(rule, &unwrapped(value)),
        Rule::Enum(defined_only, none_of) => one_of_an_enum(*defined_only, none_of, value, kind),
        Rule::List(counts, unique, items) => list(*counts, *unique, items, value.as_list().unwrap_or_default(), kind),
        Rule::Map(counts, keys) => {
            let entries = value.as_map().into_iter().flatten().map(|(key, _)| Value::from(key.clone()));
            list(*counts, false, keys, &entries.collect::<Vec<_>>(), kind)
        }
    }
}

fn hold(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// What a wrapped value holds; any other value as it is.
fn unwrapped(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Message(message) if pool::is_value(&message.descriptor()) => {
            message.get_field_by_number(1).map_or(Cow::Borrowed(value), |inner| Cow::Owned(inner.into_owned()))
        }
        _ => Cow::Borrowed(value),
    }
}

/// A number of nanoseconds as people write it.
fn time(nanoseconds: i128) -> String {
    match u64::try_from(nanoseconds) {
        Ok(0) => "0s".to_owned(),
        Ok(nanoseconds) => format!("{:?}", Duration::from_nanos(nanoseconds)),
        Err(_) => format!("{nanoseconds}ns"),
    }
}

impl<N: PartialOrd> Bounds<N> {
    fn check(&self, number: &N, show: impl Fn(&N) -> String) -> Checked {
        let Self { less, at_most, greater, at_least } = self;
        let bounds: [(&Option<N>, fn(&N, &N) -> bool, &str); 4] =
            [(less, N::lt, "less than"), (at_most, N::le, "at most"), (greater, N::gt, "more than"), (at_least, N::ge, "at least")];
        let set = bounds.into_iter().filter_map(|(bound, holds, words)| Some((bound.as_ref()?, holds, words)));
        let broken = set.into_iter().find(|(bound, holds, _)| !holds(number, bound));
        broken.map_or(Ok(()), |(bound, _, words)| Err(format!("must be {words} {}", show(bound))))
    }
}

impl Counts {
    fn check(self, count: usize, things: &str) -> Checked {
        let Self { least, most } = self;
        let count = count as u64;
        if let Some(least) = least.filter(|least| count < *least) {
            return Err(if least == 1 { "must not be empty".to_owned() } else { format!("must have at least {least} {things}") });
        }
        most.filter(|most| count > *most).map_or(Ok(()), |most| Err(format!("must have at most {most} {things}")))
    }
}

fn text(rule: &TextRule, value: &Value) -> Checked {
    let TextRule { characters, most_bytes, prefix, suffix, one_of, form, may_be_empty } = rule;
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Bytes(bytes) => return characters.check(bytes.len(), "bytes"),
        _ => return Ok(()),
    };
    if *may_be_empty && text.is_empty() {
        return Ok(());
    }
    characters.check(text.chars().count(), "characters")?;
    Counts { least: None, most: *most_bytes }.check(text.len(), "bytes")?;
    hold(text.starts_with(prefix), || format!("must begin with `{prefix}`"))?;
    hold(text.ends_with(suffix), || format!("must end with `{suffix}`"))?;
    hold(one_of.is_empty() || one_of.iter().any(|allowed| allowed == text), || format!("must be one of {}", one_of.join(", ")))?;
    form.map_or(Ok(()), |form| form.check(text))
}

impl Form {
    fn check(self, text: &str) -> Checked {
        let (holds, what) = match self {
            Self::HeaderName => (is_header_name(text), "must be a name of a header"),
            Self::HeaderValue => (text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)), "must be a value of a header"),
            Self::OneLine => (!text.contains(['\0', '\n', '\r']), "must be on one line"),
        };
        hold(holds, || what.to_owned())
    }
}

/// A token, perhaps of a pseudo-header. The comma is no mistake of ours: the expression that Envoy uses allows it.
fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&byte))
}

fn one_of_an_enum(defined_only: bool, none_of: &[i32], value: &Value, kind: &Kind) -> Checked {
    let (Some(number), Some(declared)) = (value.as_enum_number(), kind.as_enum()) else { return Ok(()) };
    let declared = declared.get_value(number);
    hold(!defined_only || declared.is_some(), || format!("{number} is none of its values"))?;
    hold(!none_of.contains(&number), || match declared {
        Some(value) => format!("must not be {}", value.name()),
        None => format!("must not be {number}"),
    })
}

fn list(counts: Counts, unique: bool, rule: &Rule, values: &[Value], kind: &Kind) -> Checked {
    counts.check(values.len(), "items")?;
    let is_new = |(index, value): (usize, &Value)| !values.iter().take(index).any(|before| before == value);
    hold(!unique || values.iter().enumerate().all(is_new), || "must not have the same item twice".to_owned())?;
    let mut checked = values.iter().map(|item| value(rule, item, kind)).enumerate();
    checked.try_for_each(|(index, checked)| checked.map_err(|what| format!("item {index} {what}")))
}
