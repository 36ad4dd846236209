//! Holds a message's fields to its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Violation, table};
use crate::fields::{Fields, Key, Value};
use crate::rule::{Bounds, Counts, Form, Rule, Span, TextRule};
use crate::table::{Field, Shape};
use crate::walk::{Path, Step, is_value};

/// What a value must be, if it is not that.
type Checked = Result<(), String>;

/// Checks the fields of one message, set or not; what they hold is checked for itself.
pub(super) fn message(message: &Fields<'_>, at: &Path<'_>) -> Result<(), Violation> {
    let broken = |name, what| Violation { path: at.then(Step::Field(name)).to_string(), what };
    for field in message.of.fields() {
        of_field(field, message.get(field.number)).map_err(|what| broken(field.name(), what))?;
    }
    for choice in table::choices(message.of.choices) {
        if !message.iter().any(|(field, _)| field.oneof == Some(choice.oneof)) {
            return Err(broken(choice.name.text(), "one of its fields must be set".to_owned()));
        }
    }
    Ok(())
}

fn of_field(field: &Field, held: Option<&Value<'_>>) -> Checked {
    let Some(rules) = table::rules(field.rules) else { return Ok(()) };
    match (held, field.shape) {
        (Some(held), _) => value(&rules.rule, held),
        // Where nothing tells whether it is set, its zero is a value like others.
        (None, Shape::Implicit) => value(&rules.rule, &Value::nothing(field.kind)),
        (None, Shape::List) => value(&rules.rule, &Value::List(vec![])),
        (None, Shape::Map) => value(&rules.rule, &Value::Map(BTreeMap::new())),
        // Of alternatives, one is set or none.
        (None, Shape::Single) => hold(!rules.required || field.oneof.is_some(), || "must be set".to_owned()),
    }
}

fn value(rule: &Rule, held: &Value<'_>) -> Checked {
    match (rule, held) {
        // A wrapped value is held to what is said of its wrapper.
        (Rule::Integer(_) | Rule::Float(_) | Rule::Bool(_) | Rule::Text(_), Value::Message(wrapper)) => {
            let Some(inner) = wrapper.of.field(1).filter(|_| is_value(wrapper.of)) else { return Ok(()) };
            wrapper.get(1).map_or_else(|| value(rule, &Value::nothing(inner.kind)), |inner| value(rule, inner))
        }
        (Rule::Integer(bounds), held) => integer(held).map_or(Ok(()), |number| bounds.check(number, i64::to_string)),
        (Rule::Duration(bounds), held) => nanoseconds(held).map_or(Ok(()), |number| bounds.check(number, time)),
        (Rule::Float(bounds), held) => float(held).map_or(Ok(()), |number| bounds.check(number, f64::to_string)),
        (Rule::Bool(wanted), Value::Bool(held)) => hold(held == wanted, || format!("must be {wanted}")),
        (Rule::Text(rule), Value::Text(held)) => text(rule, held),
        (Rule::Text(rule), Value::Bytes(held)) => rule.characters.check(held.len(), "bytes"),
        (Rule::Enum(defined_only, values), Value::Signed(number)) => one_of_an_enum(*defined_only, *values, *number),
        (Rule::List(counts, unique, items), Value::List(values)) => list(*counts, *unique, *items, values),
        (Rule::Map(counts, keys), Value::Map(entries)) => {
            list(*counts, false, *keys, &entries.keys().map(Key::to_value).collect::<Vec<_>>())
        }
        _ => Ok(()),
    }
}

fn hold(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// A whole number of any size.
fn integer(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Signed(number) => Some((*number).into()),
        Value::Uint32(number) => Some((*number).into()),
        Value::Uint64(number) => Some((*number).into()),
        _ => None,
    }
}

/// A number with a fraction.
fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(number) => Some((*number).into()),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

/// A `google.protobuf.Duration`.
fn nanoseconds(value: &Value<'_>) -> Option<i128> {
    let Value::Message(duration) = value else { return None };
    let part = |number| duration.get(number).and_then(integer).unwrap_or_default();
    Some(part(1) * 1_000_000_000 + part(2))
}

/// A number of nanoseconds as people write it.
fn time(nanoseconds: &i64) -> String {
    match u64::try_from(*nanoseconds) {
        Ok(0) => "0s".to_owned(),
        Ok(nanoseconds) => format!("{:?}", Duration::from_nanos(nanoseconds)),
        Err(_) => format!("{nanoseconds}ns"),
    }
}

impl<N: Copy> Bounds<N> {
    fn check<M: PartialOrd + From<N>>(&self, number: M, show: impl Fn(&N) -> String) -> Checked {
        let Self { less, at_most, greater, at_least } = self;
        let broken = |bound: &Option<N>, holds: fn(&M, &M) -> bool, words: &str| {
            let bound = bound.filter(|bound| !holds(&number, &M::from(*bound)))?;
            Some(format!("must be {words} {}", show(&bound)))
        };
        broken(less, M::lt, "less than")
            .or_else(|| broken(at_most, M::le, "at most"))
            .or_else(|| broken(greater, M::gt, "more than"))
            .or_else(|| broken(at_least, M::ge, "at least"))
            .map_or(Ok(()), Err)
    }
}

impl Counts {
    fn check(self, count: usize, things: &str) -> Checked {
        let Self { least, most } = self;
        let count = count as u64;
        if let Some(least) = least.filter(|least| count < u64::from(*least)) {
            return Err(if least == 1 { "must not be empty".to_owned() } else { format!("must have at least {least} {things}") });
        }
        most.filter(|most| count > u64::from(*most)).map_or(Ok(()), |most| Err(format!("must have at most {most} {things}")))
    }
}

fn text(rule: &TextRule, text: &str) -> Checked {
    let TextRule { characters, most_bytes, prefix, suffix, one_of, form, may_be_empty } = rule;
    if *may_be_empty && text.is_empty() {
        return Ok(());
    }
    characters.check(text.chars().count(), "characters")?;
    Counts { least: None, most: *most_bytes }.check(text.len(), "bytes")?;
    hold(text.starts_with(prefix.text()), || format!("must begin with `{}`", prefix.text()))?;
    hold(text.ends_with(suffix.text()), || format!("must end with `{}`", suffix.text()))?;
    let mut allowed = table::texts(*one_of).iter().map(|name| name.text());
    let is_allowed = allowed.len() == 0 || allowed.any(|allowed| allowed == text);
    hold(is_allowed, || {
        let allowed: Vec<&str> = table::texts(*one_of).iter().map(|name| name.text()).collect();
        format!("must be one of {}", allowed.join(", "))
    })?;
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

fn one_of_an_enum(defined_only: bool, values: Span, number: i64) -> Checked {
    match table::enum_values(values).iter().find(|value| i64::from(value.number) == number) {
        Some(value) => hold(!value.refused, || format!("must not be {}", value.name.text())),
        None => hold(!defined_only, || format!("{number} is none of its values")),
    }
}

fn list(counts: Counts, unique: bool, items: u16, values: &[Value<'_>]) -> Checked {
    counts.check(values.len(), "items")?;
    let is_new = |(index, value): (usize, &Value<'_>)| !values.iter().take(index).any(|before| before == value);
    hold(!unique || values.iter().enumerate().all(is_new), || "must not have the same item twice".to_owned())?;
    let Some(rules) = table::rules(items) else { return Ok(()) };
    let mut checked = values.iter().map(|item| value(&rules.rule, item)).enumerate();
    checked.try_for_each(|(index, checked)| checked.map_err(|what| format!("item {index} {what}")))
}
