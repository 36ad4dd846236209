//! Writes down what a walk has to know of messages, as constants for `src/table.rs`.

use std::collections::BTreeMap;
use std::fmt::Write;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::rule::{Name, Span};
use super::rules::Rules;

/// Its messages stand in the options of fields only, and are of kinds that are nowhere else.
const OF_OPTIONS: &str = "validate";

/// A message as it was declared.
struct Declared<'d> {
    message: &'d DescriptorProto,
    is_proto3: bool,
}

/// Rust code with the constants `NAMES`, `FIELDS` and `MESSAGES`. On the way what is said of the fields is added to `rules`.
pub fn write(set: &FileDescriptorSet, rules: &mut Rules) -> Result<String, super::Error> {
    let mut declared = BTreeMap::new();
    for file in set.file.iter().filter(|file| file.package() != OF_OPTIONS) {
        let is_proto3 = file.syntax() == "proto3";
        file.message_type.iter().for_each(|message| collect(file.package(), message, is_proto3, &mut declared));
    }
    let places: BTreeMap<&str, usize> = declared.keys().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let (mut names, mut fields, mut messages) = (Names::default(), vec![], String::new());
    for (name, Declared { message, is_proto3 }) in &declared {
        let from = u16::try_from(fields.len())?;
        let mut own: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        // So that they can be searched.
        own.sort_unstable_by_key(|field| field.number());
        for field in own {
            let (kind, shape) = (kind(field, &places)?, shape(field, *is_proto3, &declared));
            // What is written as `optional` is alone in a oneof that nobody sees.
            let oneof = if field.proto3_optional() { None } else { field.oneof_index };
            let (number, rules) = (field.number(), rules.of_field(name, field.number(), &mut names)?);
            let name = names.add(field.name())?;
            fields.push(format!(
                "Field {{ number: {number}, name: {name:?}, kind: Kind::{kind}, shape: Shape::{shape}, oneof: {oneof:?}, rules: {rules} }},"
            ));
        }
        let (span, choices) = (Span { from, to: u16::try_from(fields.len())? }, rules.choices(name, &mut names)?);
        writeln!(messages, "Message {{ name: {:?}, fields: {span:?}, choices: {choices:?} }},", names.add(name)?)?;
    }
    let (names, count, number) = (&names.text, fields.len(), declared.len());
    let fields = fields.join("\n");
    Ok(format!(
        "static NAMES: &str = {names:?};\nstatic FIELDS: [Field; {count}] = [\n{fields}\n];\nstatic MESSAGES: [Message; {number}] = [\n{messages}];\n"
    ))
}

fn collect<'d>(outer: &str, message: &'d DescriptorProto, is_proto3: bool, declared: &mut BTreeMap<String, Declared<'d>>) {
    let name = format!("{outer}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(&name, nested, is_proto3, declared));
    declared.insert(name, Declared { message, is_proto3 });
}

/// All names in one text, each once.
#[derive(Default)]
pub struct Names {
    text: String,
    places: BTreeMap<String, usize>,
}

impl Names {
    /// Where it stands from now on.
    pub fn add(&mut self, name: &str) -> Result<Name, super::Error> {
        let at = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.text.push_str(name);
            self.text.len() - name.len()
        });
        Ok(Name { at: u32::try_from(at)?, length: u16::try_from(name.len())? })
    }
}

fn kind(field: &FieldDescriptorProto, places: &BTreeMap<&str, usize>) -> Result<String, super::Error> {
    let kind = match field.r#type() {
        Type::Bool => "Bool",
        Type::Int32 | Type::Enum => "Int32",
        Type::Int64 => "Int64",
        Type::Uint32 => "Uint32",
        Type::Uint64 => "Uint64",
        Type::Float => "Float",
        Type::Double => "Double",
        Type::String => "Text",
        Type::Bytes => "Bytes",
        Type::Message => {
            let name = field.type_name().trim_start_matches('.');
            let place = places.get(name).ok_or_else(|| format!("{name} is not declared"))?;
            return Ok(format!("Message({place})"));
        }
        // None of them is in Envoy's API.
        unknown @ (Type::Sint32 | Type::Sint64 | Type::Fixed32 | Type::Fixed64 | Type::Sfixed32 | Type::Sfixed64 | Type::Group) => {
            return Err(format!("the field {} is of a kind that a walk does not know: {unknown:?}", field.name()).into());
        }
    };
    Ok(kind.to_owned())
}

fn shape(field: &FieldDescriptorProto, is_proto3: bool, declared: &BTreeMap<String, Declared<'_>>) -> &'static str {
    let held = declared.get(field.type_name().trim_start_matches('.'));
    let is_entry = held.and_then(|held| held.message.options.as_ref()).is_some_and(|options| options.map_entry());
    match field.label() {
        Label::Repeated if is_entry => "Map",
        Label::Repeated => "List",
        _ if is_proto3 && field.oneof_index.is_none() && field.r#type() != Type::Message => "Implicit",
        _ => "Single",
    }
}
