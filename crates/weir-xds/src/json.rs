//! Messages as protobuf's JSON, with packed messages unfolded, and back.

use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions};
use serde_json::Value;

/// How fields are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `virtualHosts`: protobuf's JSON form.
    Camel,
    /// `virtual_hosts`: the names of the `.proto` files, as Envoy's `/config_dump` shows them.
    Proto,
}

/// Why a message has no JSON form, or a JSON value is no message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No type of that name is known.
    #[error("unknown message type {0}")]
    UnknownType(String),
    /// The bytes are not of the type that they claim to be.
    #[error("malformed {0}: {1}")]
    Malformed(String, prost::DecodeError),
    /// The value has a field that the type has not, or one of another type.
    #[error("{0}: {1}")]
    Value(String, serde_json::Error),
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let descriptors: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        // The bytes were made by this crate's own build: an empty pool can only mean a broken build.
        DescriptorPool::decode(descriptors).unwrap_or_default()
    })
}

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))
}

/// The JSON form of a message.
///
/// # Errors
/// If it holds a packed message of an unknown type.
pub fn to_value<M: Message + Name>(message: &M, names: Names) -> Result<Value, JsonError> {
    bytes_to_value(&M::full_name(), &message.encode_to_vec(), names)
}

/// The JSON form of a packed message, with its type as `@type`.
///
/// # Errors
/// If it, or a message packed in it, is of an unknown type.
pub fn any_to_value(any: &crate::Any, names: Names) -> Result<Value, JsonError> {
    let value = bytes_to_value(any.type_name(), &any.value, names)?;
    let mut object = serde_json::Map::from_iter([("@type".to_owned(), Value::String(any.type_url.clone()))]);
    match value {
        Value::Object(fields) => object.extend(fields),
        other => drop(object.insert("value".to_owned(), other)),
    }
    Ok(Value::Object(object))
}

fn bytes_to_value(name: &str, bytes: &[u8], names: Names) -> Result<Value, JsonError> {
    let message = DynamicMessage::decode(descriptor(name)?, bytes).map_err(|error| JsonError::Malformed(name.to_owned(), error))?;
    let options = SerializeOptions::new().use_proto_field_name(names == Names::Proto);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| JsonError::Value(name.to_owned(), error))
}

/// The message of a JSON value; fields may be named either way.
///
/// # Errors
/// If a field is unknown or of another type.
pub fn from_value<M: Message + Name + Default>(value: Value) -> Result<M, JsonError> {
    let name = M::full_name();
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor(&name)?, value, &options)
        .map_err(|error| JsonError::Value(name.clone(), error))?;
    M::decode(message.encode_to_vec().as_slice()).map_err(|error| JsonError::Malformed(name, error))
}

/// A field of a message that is set.
pub struct SetField<'m> {
    /// The full name of the message's type.
    pub message: &'m str,
    /// The field's name, as in the `.proto` file.
    pub name: &'m str,
    value: &'m prost_reflect::Value,
}

impl SetField<'_> {
    /// Whether it is a limit that stands for none: the greatest number that it can hold.
    pub fn is_no_limit(&self) -> bool {
        let number = match self.value {
            // A wrapped number is a message with one field.
            prost_reflect::Value::Message(wrapped) => wrapped.fields().next().and_then(|(_, value)| value.as_u32()),
            value => value.as_u32(),
        };
        number == Some(u32::MAX)
    }

    /// The texts of a list of texts.
    pub fn texts(&self) -> Vec<&str> {
        self.value.as_list().unwrap_or_default().iter().filter_map(prost_reflect::Value::as_str).collect()
    }
}

/// Visits all fields that are set in a packed message, in the messages within it, and in those packed in it.
///
/// # Errors
/// If one of the messages is of an unknown type, or malformed.
pub fn visit(any: &crate::Any, visitor: &mut impl FnMut(&SetField<'_>)) -> Result<(), JsonError> {
    let name = any.type_name();
    let message =
        DynamicMessage::decode(descriptor(name)?, any.value.clone()).map_err(|error| JsonError::Malformed(name.to_owned(), error))?;
    visit_message(&message, visitor)
}

fn visit_message(message: &DynamicMessage, visitor: &mut impl FnMut(&SetField<'_>)) -> Result<(), JsonError> {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Any" {
        let text = |number| message.get_field_by_number(number).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        let bytes = message.get_field_by_number(2).and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
        return visit(&crate::Any { type_url: text(1), value: bytes }, visitor);
    }
    for (field, value) in message.fields() {
        visitor(&SetField { message: descriptor.full_name(), name: field.name(), value });
        visit_value(value, visitor)?;
    }
    Ok(())
}

fn visit_value(value: &prost_reflect::Value, visitor: &mut impl FnMut(&SetField<'_>)) -> Result<(), JsonError> {
    match value {
        prost_reflect::Value::Message(message) => visit_message(message, visitor),
        prost_reflect::Value::List(values) => values.iter().try_for_each(|value| visit_value(value, visitor)),
        prost_reflect::Value::Map(entries) => entries.values().try_for_each(|value| visit_value(value, visitor)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hcm::HttpConnectionManager;
    use crate::listener::{Filter, filter};
    use crate::{Any, route};

    #[test]
    fn packed_messages_are_unfolded_and_folded_again() {
        let manager = HttpConnectionManager { stat_prefix: "x".into(), ..Default::default() };
        let filter = Filter { name: "http".into(), config_type: Some(filter::ConfigType::TypedConfig(Any::pack(&manager))) };
        let json = to_value(&filter, Names::Proto).expect("known types");
        assert_eq!(json["typed_config"]["stat_prefix"], "x");
        assert_eq!(from_value::<Filter>(json).expect("the same"), filter);
        let json = to_value(&filter, Names::Camel).expect("known types");
        assert_eq!(json["typedConfig"]["statPrefix"], "x");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = from_value::<route::Route>(serde_json::json!({"mtach": {}})).expect_err("misspelt");
        assert!(error.to_string().contains("mtach"), "{error}");
    }
}
