//! Reads the rules of messages from the options of their descriptors, and writes them down as constants for `src/rules/table.rs`.

use std::fmt::Debug;

use protox::prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, Value};

use super::Error;
use super::rule::{Bounds, Choice, Counts, EnumValue, FieldRules, Form, Name, Rule, Span, TextRule};
use super::table::Names;

/// The rules that were met so far, each once.
pub struct Rules {
    pool: DescriptorPool,
    of_field: ExtensionDescriptor,
    of_oneof: ExtensionDescriptor,
    rules: Vec<FieldRules>,
    choices: Vec<Choice>,
    enum_values: Vec<EnumValue>,
    texts: Vec<Name>,
}

impl Rules {
    pub fn new(pool: DescriptorPool) -> Result<Self, Error> {
        let extension = |name: &str| pool.get_extension_by_name(name).ok_or_else(|| format!("the option {name} is not declared"));
        let (of_field, of_oneof) = (extension("validate.rules")?, extension("validate.required")?);
        // The first place is that of the many fields of which nothing is said.
        let nothing = FieldRules { required: false, skip: false, rule: Rule::Anything };
        Ok(Self { pool, of_field, of_oneof, rules: vec![nothing], choices: vec![], enum_values: vec![], texts: vec![] })
    }

    /// The place of what is said of a message's field.
    pub fn of_field(&mut self, message: &str, number: i32, names: &mut Names) -> Result<u16, Error> {
        let declared = self.pool.get_message_by_name(message).and_then(|message| message.get_field(number.try_into().ok()?));
        let field = declared.ok_or_else(|| format!("{message} has no field {number}"))?;
        let options = field.options();
        if !options.has_extension(&self.of_field) {
            return Ok(0);
        }
        let said = options.get_extension(&self.of_field);
        let said = said.as_message().ok_or("the option validate.rules is no message")?;
        self.place(said, &field, names).map_err(|error| format!("{}: {error}", field.full_name()).into())
    }

    /// The alternatives of a message of which one must be set.
    pub fn choices(&mut self, message: &str, names: &mut Names) -> Result<Span, Error> {
        let message = self.pool.get_message_by_name(message).ok_or_else(|| format!("{message} is not declared"))?;
        let mut choices = vec![];
        for (index, oneof) in message.oneofs().enumerate() {
            if oneof.options().get_extension(&self.of_oneof).as_bool() == Some(true) {
                choices.push(Choice { name: names.add(oneof.name())?, oneof: index.try_into()? });
            }
        }
        span(&mut self.choices, choices)
    }

    /// Rust code with the constants `RULES`, `CHOICES`, `ENUM_VALUES` and `TEXTS`.
    pub fn write(&self) -> String {
        let Self { rules, choices, enum_values, texts, .. } = self;
        [
            constant("RULES: [FieldRules", rules),
            constant("CHOICES: [Choice", choices),
            constant("ENUM_VALUES: [EnumValue", enum_values),
            constant("TEXTS: [Name", texts),
        ]
        .concat()
    }

    /// The place of what a message of the type `validate.FieldRules` says.
    fn place(&mut self, said: &DynamicMessage, field: &FieldDescriptor, names: &mut Names) -> Result<u16, Error> {
        let rules = self.read(said, field, names)?;
        let place = self.rules.iter().position(|known| *known == rules).unwrap_or_else(|| {
            self.rules.push(rules);
            self.rules.len() - 1
        });
        Ok(place.try_into()?)
    }

    fn read(&mut self, said: &DynamicMessage, field: &FieldDescriptor, names: &mut Names) -> Result<FieldRules, Error> {
        let mut rules = FieldRules { required: false, skip: false, rule: Rule::Anything };
        for (kind, said) in said.fields() {
            let mut said = Said::new(kind.name(), said)?;
            match kind.name() {
                "message" => rules.skip = said.flag("skip"),
                kind => rules.rule = self.rule(kind, &mut said, field, names)?,
            }
            rules.required |= said.flag("required");
            said.end()?;
        }
        Ok(rules)
    }

    fn rule(&mut self, kind: &str, said: &mut Said<'_>, field: &FieldDescriptor, names: &mut Names) -> Result<Rule, Error> {
        Ok(match kind {
            "float" | "double" => Rule::Float(said.bounds(|value| value.as_f64().or_else(|| value.as_f32().map(f64::from)))?),
            "duration" => Rule::Duration(said.bounds(nanoseconds)?),
            "bool" => said.value("const").and_then(Value::as_bool).map_or(Rule::Anything, Rule::Bool),
            "string" | "bytes" => Rule::Text(self.text(said, names)?),
            "enum" => {
                let Kind::Enum(declared) = field.kind() else { return Err("it is no enum".into()) };
                self.one_of_an_enum(said, &declared, names)?
            }
            "repeated" => {
                Rule::List(said.counts("min_items", "max_items")?, said.flag("unique"), self.inner(said.value("items"), field, names)?)
            }
            "map" => {
                let Kind::Message(entry) = field.kind() else { return Err("it is no map".into()) };
                let key = entry.map_entry_key_field();
                Rule::Map(said.counts("min_pairs", "max_pairs")?, self.inner(said.value("keys"), &key, names)?)
            }
            // Of these it can only be said that they must be set.
            "any" | "timestamp" => Rule::Anything,
            _ => {
                let bounds = said.bounds(integer)?;
                // Zero would be fine beside the bounds, which they cannot say. It stands in no message of a configuration.
                if said.flag("ignore_empty") { Rule::Anything } else { Rule::Integer(bounds) }
            }
        })
    }

    fn text(&mut self, said: &mut Said<'_>, names: &mut Names) -> Result<TextRule, Error> {
        // One field has one, which is held to it where it is compiled.
        said.value("pattern");
        let one_of: Vec<Value> = said.list("in");
        let one_of = one_of.iter().filter_map(Value::as_str).map(|text| names.add(text)).collect::<Result<_, _>>()?;
        Ok(TextRule {
            characters: said.counts("min_len", "max_len")?,
            most_bytes: said.count("max_bytes")?,
            prefix: names.add(said.text("prefix"))?,
            suffix: names.add(said.text("suffix"))?,
            one_of: span(&mut self.texts, one_of)?,
            form: said.form()?,
            may_be_empty: said.flag("ignore_empty"),
        })
    }

    fn one_of_an_enum(&mut self, said: &mut Said<'_>, declared: &EnumDescriptor, names: &mut Names) -> Result<Rule, Error> {
        let refused: Vec<i32> = said.list("not_in").iter().filter_map(Value::as_i32).collect();
        if refused.iter().any(|number| declared.get_value(*number).is_none()) {
            return Err("a value is forbidden that is not declared".into());
        }
        let mut values = vec![];
        for value in declared.values() {
            let (number, name) = (value.number(), names.add(value.name())?);
            values.push(EnumValue { number, name, refused: refused.contains(&number) });
        }
        Ok(Rule::Enum(said.flag("defined_only"), span(&mut self.enum_values, values)?))
    }

    /// The place of the rule of what a list or a map holds.
    fn inner(&mut self, said: Option<&Value>, field: &FieldDescriptor, names: &mut Names) -> Result<u16, Error> {
        said.and_then(Value::as_message).map_or(Ok(0), |said| self.place(said, field, names))
    }
}

/// A table as it prints itself, which is as Rust writes it.
fn constant<T: Debug>(declared: &str, values: &[T]) -> String {
    let lines: String = values.iter().map(|value| format!("{value:?},\n")).collect();
    format!("static {declared}; {}] = [\n{lines}];\n", values.len())
}

/// Where these stand in a table, to which they are added unless they are there.
fn span<T: Clone + PartialEq>(table: &mut Vec<T>, wanted: Vec<T>) -> Result<Span, Error> {
    let length = wanted.len();
    let known = if length == 0 { Some(0) } else { table.windows(length).position(|known| known == wanted) };
    let from = known.unwrap_or_else(|| {
        table.extend(wanted);
        table.len() - length
    });
    Ok(Span { from: from.try_into()?, to: (from + length).try_into()? })
}

/// A message that says something of a field, of which nothing may be left over.
struct Said<'m> {
    kind: &'m str,
    left: Vec<(String, &'m Value)>,
}

impl<'m> Said<'m> {
    fn new(kind: &'m str, said: &'m Value) -> Result<Self, Error> {
        let message = said.as_message().ok_or("what is said of a field is no message")?;
        Ok(Self { kind, left: message.fields().map(|(field, value)| (field.name().to_owned(), value)).collect() })
    }

    /// Takes the value of a field, if it is set.
    fn value(&mut self, name: &str) -> Option<&'m Value> {
        let place = self.left.iter().position(|(left, _)| left == name)?;
        Some(self.left.swap_remove(place).1)
    }

    /// A rule that is not known would not be kept.
    fn end(self) -> Result<(), Error> {
        match self.left.first() {
            Some((name, _)) => Err(format!("the rule {}.{name} is not known", self.kind).into()),
            None => Ok(()),
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.as_bool() == Some(true))
    }

    fn text(&mut self, name: &str) -> &'m str {
        self.value(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn list(&mut self, name: &str) -> Vec<Value> {
        self.value(name).and_then(Value::as_list).unwrap_or_default().to_vec()
    }

    fn count(&mut self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.value(name).and_then(Value::as_u64).map(u32::try_from).transpose()?)
    }

    fn counts(&mut self, least: &str, most: &str) -> Result<Counts, Error> {
        Ok(Counts { least: self.count(least)?, most: self.count(most)? })
    }

    fn bounds<N>(&mut self, of: impl Fn(&Value) -> Option<N>) -> Result<Bounds<N>, Error> {
        let mut bound = |name| match self.value(name) {
            Some(value) => of(value).map(Some).ok_or_else(|| Error::from(format!("the bound {name} is too great, or no number"))),
            None => Ok(None),
        };
        Ok(Bounds { less: bound("lt")?, at_most: bound("lte")?, greater: bound("gt")?, at_least: bound("gte")? })
    }

    fn form(&mut self) -> Result<Option<Form>, Error> {
        let lax = self.value("strict").is_some_and(|strict| strict.as_bool() == Some(false));
        match self.value("well_known_regex").and_then(Value::as_enum_number) {
            None => Ok(None),
            Some(1 | 2) if lax => Ok(Some(Form::OneLine)),
            Some(1) => Ok(Some(Form::HeaderName)),
            Some(2) => Ok(Some(Form::HeaderValue)),
            Some(unknown) => Err(format!("the expression {unknown} is not known").into()),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::I32(number) => Some((*number).into()),
        Value::I64(number) => Some(*number),
        Value::U32(number) => Some((*number).into()),
        Value::U64(number) => (*number).try_into().ok(),
        _ => None,
    }
}

/// A `google.protobuf.Duration`.
fn nanoseconds(value: &Value) -> Option<i64> {
    let duration = value.as_message()?;
    let part = |number| duration.get_field_by_number(number).and_then(|part| integer(&part)).unwrap_or_default();
    part(1).checked_mul(1_000_000_000)?.checked_add(part(2))
}
