//! Reads the rules of a type from the options of its descriptor.

use prost_reflect::{DynamicMessage, ExtensionDescriptor, MessageDescriptor, Value};

use super::{Bounds, Counts, FieldRules, Form, MessageRules, Rule, TextRule};
use crate::pool;

/// The rules of a type.
pub(super) fn rules(message: &MessageDescriptor) -> MessageRules {
    let (Some(of_field), Some(of_oneof)) = (pool::extension("validate.rules"), pool::extension("validate.required")) else {
        return MessageRules::default();
    };
    let fields = message.fields().filter_map(|field| {
        let said = extension(&field.options(), &of_field)?;
        Some(FieldRules { number: field.number(), ..field_rules(said.as_message()?) })
    });
    let choices =
        message.oneofs().filter(|oneof| extension(&oneof.options(), &of_oneof).is_some_and(|value| value.as_bool() == Some(true)));
    let choices = choices.map(|oneof| (oneof.name().to_owned(), oneof.fields().map(|field| field.number()).collect()));
    MessageRules { fields: fields.collect(), choices: choices.collect() }
}

fn extension(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<Value> {
    options.has_extension(extension).then(|| options.get_extension(extension).into_owned())
}

/// What `FieldRules` says.
fn field_rules(said: &DynamicMessage) -> FieldRules {
    let of_message = Said::find(said, "message");
    let flag = |name| of_message.as_ref().is_some_and(|of_message| of_message.flag(name));
    let mut rules = FieldRules { number: 0, required: flag("required"), skip: flag("skip"), rule: Rule::Anything };
    let Some((kind, of_kind)) = said.fields().find(|(field, _)| field.name() != "message") else { return rules };
    let Some(of_kind) = of_kind.as_message() else { return rules };
    let of_kind = Said(of_kind);
    rules.required |= of_kind.flag("required");
    rules.rule = match kind.name() {
        "float" | "double" => Rule::Float(of_kind.bounds(float)),
        "duration" => Rule::Duration(of_kind.bounds(nanoseconds)),
        "bool" => of_kind.value("const").and_then(Value::as_bool).map_or(Rule::Anything, Rule::Bool),
        "string" | "bytes" => Rule::Text(of_kind.text()),
        "enum" => Rule::Enum(of_kind.flag("defined_only"), of_kind.list("not_in", Value::as_i32)),
        "repeated" => Rule::List(of_kind.counts("min_items", "max_items"), of_kind.flag("unique"), of_kind.inner("items")),
        "map" => Rule::Map(of_kind.counts("min_pairs", "max_pairs"), of_kind.inner("keys")),
        // Of these it can only be said that they must be set.
        "any" | "timestamp" => Rule::Anything,
        _ => Rule::Integer(of_kind.bounds(integer)),
    };
    rules
}

/// A message that says something of a field.
struct Said<'m>(&'m DynamicMessage);

impl<'m> Said<'m> {
    fn find(message: &'m DynamicMessage, name: &str) -> Option<Self> {
        let field = message.fields().find(|(field, _)| field.name() == name);
        field.and_then(|(_, value)| value.as_message()).map(Self)
    }

    /// The value of a field, if it is set.
    fn value(&self, name: &str) -> Option<&'m Value> {
        self.0.fields().find(|(field, _)| field.name() == name).map(|(_, value)| value)
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.as_bool() == Some(true))
    }

    fn list<T>(&self, name: &str, of: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        self.value(name).and_then(Value::as_list).unwrap_or_default().iter().filter_map(of).collect()
    }

    fn counts(&self, least: &str, most: &str) -> Counts {
        let count = |name: &str| self.value(name).and_then(Value::as_u64);
        Counts { least: count(least), most: count(most) }
    }

    fn bounds<N>(&self, of: impl Fn(&Value) -> Option<N>) -> Bounds<N> {
        let bound = |name| self.value(name).and_then(&of);
        Bounds { less: bound("lt"), at_most: bound("lte"), greater: bound("gt"), at_least: bound("gte") }
    }

    fn text(&self) -> TextRule {
        let text = |name| self.value(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        TextRule {
            characters: self.counts("min_len", "max_len"),
            most_bytes: self.value("max_bytes").and_then(Value::as_u64),
            prefix: text("prefix"),
            suffix: text("suffix"),
            one_of: self.list("in", |value| value.as_str().map(str::to_owned)),
            form: self.form(),
            may_be_empty: self.flag("ignore_empty"),
        }
    }

    /// What a text is for. Patterns of its own only one field within reach has, which is held to it where it is compiled.
    fn form(&self) -> Option<Form> {
        let lax = self.value("strict").is_some_and(|strict| strict.as_bool() == Some(false));
        match self.value("well_known_regex").and_then(Value::as_enum_number) {
            Some(1 | 2) if lax => Some(Form::OneLine),
            Some(1) => Some(Form::HeaderName),
            Some(2) => Some(Form::HeaderValue),
            _ => None,
        }
    }

    /// The rule of what a list or a map holds.
    fn inner(&self, name: &str) -> Box<Rule> {
        Box::new(Self::find(self.0, name).map(|inner| field_rules(inner.0).rule).unwrap_or_default())
    }
}

/// A whole number of any size.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I32(number) => Some((*number).into()),
        Value::I64(number) => Some((*number).into()),
        Value::U32(number) => Some((*number).into()),
        Value::U64(number) => Some((*number).into()),
        _ => None,
    }
}

/// A number with a fraction.
pub(super) fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_f32().map(f64::from))
}

/// A `google.protobuf.Duration`.
pub(super) fn nanoseconds(value: &Value) -> Option<i128> {
    let duration = value.as_message()?;
    let part = |number| duration.get_field_by_number(number).and_then(|part| integer(&part)).unwrap_or_default();
    Some(part(1) * 1_000_000_000 + part(2))
}
