//! Messages that people write by hand, as values of EnvoyFilters: read field by field, so that what is wrong has its place.
//!
//! Fields may be named either way. A field that is unknown is told of and passed over, as Istio does it, for it may be one of
//! another version of Envoy.

use std::fmt;

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::{Map, Value as Json};

use crate::any::type_name;
use crate::json_error::JsonError;
use crate::{Any, pool};

/// The types that carry a message as JSON.
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// A step from a value into a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into a field, or the value of a key.
    Key(String),
    /// Into an item of a list.
    Index(usize),
}

/// What is to be said of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub path: Vec<Step>,
    /// What is wrong.
    pub message: String,
    /// Whether the value is no message because of it.
    pub is_error: bool,
}

/// A value as it was read.
#[derive(Debug)]
pub struct Written {
    /// The message, as far as the value is one.
    pub message: Any,
    /// What is wrong with the value.
    pub problems: Vec<Problem>,
    /// Where numbers and truth values stand that are zero or false though they are wrapped: a merge does not set them.
    pub zeros: Vec<Vec<Step>>,
}

impl Written {
    /// Whether the value is a message.
    pub fn is_message(&self) -> bool {
        !self.problems.iter().any(|problem| problem.is_error)
    }
}

/// Reads a value as a message of a type. A `TypedStruct` becomes the message that it stands for, where its type is known.
///
/// # Errors
/// If the type is unknown.
pub fn read(name: &str, value: &Json) -> Result<Written, JsonError> {
    let descriptor = pool::descriptor(name)?;
    let mut reader = Reader { path: vec![], problems: vec![], zeros: vec![] };
    let message = reader.message(&descriptor, value);
    let message = pack(name, &message);
    Ok(Written { message, problems: reader.problems, zeros: reader.zeros })
}

fn pack(name: &str, message: &DynamicMessage) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: prost::Message::encode_to_vec(message).into() }
}

struct Reader {
    path: Vec<Step>,
    problems: Vec<Problem>,
    zeros: Vec<Vec<Step>>,
}

impl Reader {
    fn wrong(&mut self, message: impl fmt::Display) {
        self.tell(message, true);
    }

    fn tell(&mut self, message: impl fmt::Display, is_error: bool) {
        self.problems.push(Problem { path: self.path.clone(), message: message.to_string(), is_error });
    }

    /// Reads a part of the value.
    fn within<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let made = read(self);
        self.path.pop();
        made
    }

    fn message(&mut self, descriptor: &MessageDescriptor, value: &Json) -> DynamicMessage {
        let Json::Object(fields) = value else {
            self.wrong(format_args!("a {} is written as a map of its fields", descriptor.name()));
            return DynamicMessage::new(descriptor.clone());
        };
        self.fields(descriptor, fields)
    }

    fn fields(&mut self, descriptor: &MessageDescriptor, fields: &Map<String, Json>) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (key, value) in fields.iter().filter(|(key, value)| *key != "@type" && !value.is_null()) {
            self.within(Step::Key(key.clone()), |reader| {
                let by_json_name = || descriptor.get_field_by_json_name(key);
                match descriptor.get_field_by_name(key).or_else(by_json_name) {
                    Some(field) => reader.field(&mut message, &field, value),
                    None => reader.tell(format_args!("a {} has no field `{key}`: it is passed over", descriptor.name()), false),
                }
            });
        }
        message
    }

    fn field(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, value: &Json) {
        if let Some(oneof) = field.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| other != field && message.has_field(other))
        {
            return self.wrong(format_args!("it excludes `{}`", other.name()));
        }
        let Some(value) = self.value(field, value) else { return };
        // It was made for this field.
        if message.try_set_field(field, value).is_err() {
            self.wrong("it does not fit the field");
        }
    }

    fn value(&mut self, field: &FieldDescriptor, value: &Json) -> Option<Value> {
        let Kind::Message(descriptor) = field.kind() else { return self.leaf(field, value) };
        if field.is_map() {
            let held = descriptor.map_entry_value_field();
            return match (descriptor.map_entry_key_field().kind(), held.kind(), value) {
                (Kind::String, Kind::Message(held), Json::Object(entries)) => Some(self.entries(&held, entries)),
                _ => self.leaf(field, value),
            };
        }
        if !field.is_list() {
            return self.held(field, &descriptor, value);
        }
        let Json::Array(items) = value else {
            self.wrong("it is a list");
            return None;
        };
        let mut read = |(index, item)| self.within(Step::Index(index), |reader| reader.single(&descriptor, item));
        Some(Value::List(items.iter().enumerate().filter_map(&mut read).collect()))
    }

    fn entries(&mut self, held: &MessageDescriptor, entries: &Map<String, Json>) -> Value {
        let mut read = |(key, value): (&String, &Json)| {
            let value = self.within(Step::Key(key.clone()), |reader| reader.single(held, value))?;
            Some((MapKey::String(key.clone()), value))
        };
        Value::Map(entries.iter().filter_map(&mut read).collect())
    }

    /// A field that holds one message.
    fn held(&mut self, field: &FieldDescriptor, descriptor: &MessageDescriptor, value: &Json) -> Option<Value> {
        if !is_value(descriptor) {
            return self.single(descriptor, value);
        }
        let is_zero = matches!(value, Json::Bool(false)) || value.as_f64() == Some(0.0);
        if is_zero && descriptor.name().ends_with("Value") && descriptor.name() != "Value" {
            self.zeros.push(self.path.clone());
        }
        self.leaf(field, value)
    }

    /// One message, alone or in a list.
    fn single(&mut self, descriptor: &MessageDescriptor, value: &Json) -> Option<Value> {
        if descriptor.full_name() == pool::ANY {
            return self.packed(descriptor, value);
        }
        if is_value(descriptor) {
            let read = DynamicMessage::deserialize(descriptor.clone(), value);
            return read.map(Value::Message).map_err(|error| self.wrong(error)).ok();
        }
        Some(Value::Message(self.message(descriptor, value)))
    }

    /// What holds no message with fields of its own.
    fn leaf(&mut self, field: &FieldDescriptor, value: &Json) -> Option<Value> {
        let alone = Json::Object(Map::from_iter([(field.name().to_owned(), value.clone())]));
        let options = DeserializeOptions::new();
        match DynamicMessage::deserialize_with_options(field.parent_message().clone(), alone, &options) {
            // What says nothing is not set, unless it is one of a oneof.
            Ok(mut message) => message.take_field(field),
            Err(error) => {
                self.wrong(error);
                None
            }
        }
    }

    /// A packed message, which says its type itself.
    fn packed(&mut self, any: &MessageDescriptor, value: &Json) -> Option<Value> {
        let Some(url) = value.get("@type").and_then(Json::as_str) else {
            self.wrong("its type is missing: add `@type`");
            return None;
        };
        let name = type_name(url);
        let Some(descriptor) = any.parent_pool().get_message_by_name(name) else {
            self.within(Step::Key("@type".to_owned()), |reader| reader.wrong(format_args!("no type of Envoy's is called `{name}`")));
            return None;
        };
        let unfolded = TYPED_STRUCTS.contains(&name).then(|| self.unfolded(any, value)).flatten();
        let packed = match unfolded {
            Some(packed) => packed,
            None if is_value(&descriptor) => {
                let held = value.get("value").cloned().unwrap_or(Json::Object(Map::new()));
                pack(name, &DynamicMessage::deserialize(descriptor, held).map_err(|error| self.wrong(error)).ok()?)
            }
            None => pack(name, &self.message(&descriptor, value)),
        };
        let mut message = DynamicMessage::new(any.clone());
        message.try_set_field_by_number(1, Value::String(packed.type_url)).ok()?;
        message.try_set_field_by_number(2, Value::Bytes(packed.value)).ok()?;
        Some(Value::Message(message))
    }

    /// The message that a `TypedStruct` stands for. One of a type that is unknown here travels as it is.
    fn unfolded(&mut self, any: &MessageDescriptor, value: &Json) -> Option<Any> {
        let by_either = value.get("type_url").or_else(|| value.get("typeUrl"));
        let name = type_name(by_either.and_then(Json::as_str)?);
        let descriptor = any.parent_pool().get_message_by_name(name).filter(|descriptor| !is_value(descriptor))?;
        let nothing = Json::Object(Map::new());
        let held = value.get("value").unwrap_or(&nothing);
        let message = self.within(Step::Key("value".to_owned()), |reader| reader.message(&descriptor, held));
        Some(pack(name, &message))
    }
}

/// Whether a message has a JSON form of its own, as durations and wrapped numbers do.
fn is_value(descriptor: &MessageDescriptor) -> bool {
    descriptor.package_name() == "google.protobuf" && descriptor.full_name() != pool::ANY
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::{Names, any_to_value};

    const FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
    const LIMIT: &str = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

    fn problems(name: &str, value: &Json) -> Vec<String> {
        let written = read(name, value).expect("a known type");
        let at = |path: &[Step]| {
            path.iter().fold(String::new(), |text, step| match step {
                Step::Key(key) => format!("{text}.{key}"),
                Step::Index(index) => format!("{text}[{index}]"),
            })
        };
        let of = |problem: &Problem| format!("{}{}: {}", if problem.is_error { "" } else { "? " }, at(&problem.path), problem.message);
        let zeros = written.zeros.iter().map(|path| format!("0 {}", at(path)));
        written.problems.iter().map(of).chain(zeros).collect()
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let route = "envoy.config.route.v3.Route";
        let table = [
            (json!({"match": {"prefix": "/"}, "directResponse": {"status": 200}}), vec![]),
            (json!({"mtach": {}}), vec!["? .mtach: a Route has no field `mtach`: it is passed over"]),
            (json!([]), vec![": a Route is written as a map of its fields"]),
            (json!({"response_headers_to_add": {}}), vec![".response_headers_to_add: it is a list"]),
            (json!({"direct_response": {"status": 200}, "route": {"cluster": "a"}}), vec![".route: it excludes `direct_response`"]),
            (json!({"typed_per_filter_config": {"a": {"b": 1}}}), vec![".typed_per_filter_config.a: its type is missing: add `@type`"]),
            (
                json!({"typed_per_filter_config": {"a": {"@type": "x/no.Such"}}}),
                vec![".typed_per_filter_config.a.@type: no type of Envoy's is called `no.Such`"],
            ),
            (json!({"route": {"retry_policy": {"num_retries": 0}}}), vec!["0 .route.retry_policy.num_retries"]),
        ];
        for (value, expected) in table {
            assert_eq!(problems(route, &value), expected, "{value}");
        }
        for value in
            [json!({"route": {"timeout": "soon"}}), json!({"direct_response": {"status": "x"}}), json!({"decorator": {"propagate": 3}})]
        {
            assert_eq!(problems(route, &value).len(), 1, "{value}");
        }
        assert!(read("no.Such", &json!({})).is_err());
    }

    #[test]
    fn a_typed_struct_is_the_message_that_it_stands_for() {
        let limit = json!({"stat_prefix": "x", "token_bucket": {"max_tokens": 4, "fill_interval": "600s"}});
        let mut plain = limit.clone();
        plain["@type"] = LIMIT.into();
        for of in TYPED_STRUCTS {
            let folded = json!({"@type": format!("type.googleapis.com/{of}"), "type_url": LIMIT, "value": limit});
            let value = json!({"name": "limit", "typed_config": folded});
            let written = read(FILTER, &value).expect("a known type");
            assert!(written.is_message(), "{:?}", written.problems);
            assert_eq!(any_to_value(&written.message, Names::Proto).expect("known types")["typed_config"], plain);
        }
        let folded = json!({"@type": "a/xds.type.v3.TypedStruct", "type_url": LIMIT, "value": {"stat_prefix": 1}});
        let found = problems(FILTER, &json!({"typed_config": folded}));
        assert!(found.len() == 1 && found[0].starts_with(".typed_config.value.stat_prefix"), "{found:?}");
        let unknown = json!({"@type": "a/xds.type.v3.TypedStruct", "type_url": "a/no.Such", "value": {"b": 1}});
        assert_eq!(problems(FILTER, &json!({"typed_config": unknown})), Vec::<String>::new());
    }

    #[test]
    fn all_of_envoys_types_are_known() {
        for name in ["lua.v3.Lua", "ext_authz.v3.ExtAuthz", "wasm.v3.Wasm", "jwt_authn.v3.JwtAuthentication", "compressor.v3.Compressor"] {
            assert!(pool::descriptor(&format!("envoy.extensions.filters.http.{name}")).is_ok(), "{name}");
        }
    }
}
