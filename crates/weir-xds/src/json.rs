//! Messages as protobuf's JSON, with packed messages unfolded, and back.

use bytes::Bytes;
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value;

pub use crate::json_error::JsonError;
use crate::{Message, pool, redact};

pub use crate::walk::{SetField, visit};

/// How fields are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `virtualHosts`: protobuf's JSON form.
    Camel,
    /// `virtual_hosts`: the names of the `.proto` files, as Envoy's `/config_dump` shows them.
    Proto,
}

/// The JSON form of a message, for people: secrets are shown as `[redacted]`.
///
/// # Errors
/// If it holds a packed message of an unknown type.
pub fn to_value<M: Message>(message: &M, names: Names) -> Result<Value, JsonError> {
    bytes_to_value(&M::full_name(), Message::encode_to_vec(message).into(), names)
}

/// The JSON form of a packed message, for people, with its type as `@type`: secrets are shown as `[redacted]`.
///
/// # Errors
/// If it, or a message packed in it, is of an unknown type.
pub fn any_to_value(any: &crate::Any, names: Names) -> Result<Value, JsonError> {
    let value = bytes_to_value(any.type_name(), any.value.clone(), names)?;
    let mut object = serde_json::Map::from_iter([("@type".to_owned(), Value::String(any.type_url.clone()))]);
    match value {
        Value::Object(fields) => object.extend(fields),
        other => drop(object.insert("value".to_owned(), other)),
    }
    Ok(Value::Object(object))
}

/// Gives back the megabytes that this module keeps to be quick. It is for a process that writes JSON seldom, when it has done so;
/// the next call takes some milliseconds longer.
pub fn give_back_memory() {
    pool::forget();
}

fn bytes_to_value(name: &str, bytes: Bytes, names: Names) -> Result<Value, JsonError> {
    let mut message = pool::decode(name, bytes)?;
    redact::redact(&mut message)?;
    let options = SerializeOptions::new().use_proto_field_name(names == Names::Proto);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| JsonError::Value(name.to_owned(), error))
}

/// The message of a JSON value; fields may be named either way.
///
/// # Errors
/// If a field is unknown or of another type.
pub fn from_value<M: Message>(value: Value) -> Result<M, JsonError> {
    let name = M::full_name();
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(pool::descriptor(&name)?, value, &options)
        .map_err(|error| JsonError::Value(name.clone(), error))?;
    <M as Message>::decode(prost::Message::encode_to_vec(&message).into()).map_err(|error| JsonError::Malformed(name, error.into()))
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
    fn the_forms_are_the_same_after_memory_was_given_back() {
        let manager = HttpConnectionManager { stat_prefix: "x".into(), ..Default::default() };
        let before = to_value(&manager, Names::Proto).expect("known types");
        give_back_memory();
        assert_eq!(to_value(&manager, Names::Proto).expect("known types"), before);
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = from_value::<route::Route>(serde_json::json!({"mtach": {}})).expect_err("misspelt");
        assert!(error.to_string().contains("mtach"), "{error}");
    }
}
