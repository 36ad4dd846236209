//! One message merged into another by their descriptors, as Istio's `MERGE` does it: protobuf's own merge, but for durations
//! and packed messages, which are replaced.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::json_error::JsonError;
use crate::{Any, Message, pool};

/// What becomes of a list that both messages have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// It grows.
    Append,
    /// It is replaced.
    Replace,
}

/// A message with all that another says besides.
///
/// # Errors
/// If one of them holds bytes that are not of its type.
pub fn merge<M: Message>(into: &M, from: &M, lists: Lists) -> Result<M, JsonError> {
    let merged = merge_packed(&Any::pack(into), &Any::pack(from), lists)?;
    <M as Message>::decode(merged.value).map_err(|error| JsonError::Malformed(M::full_name(), error.into()))
}

/// The same of packed messages.
///
/// # Errors
/// If they are not of one type, or that is unknown, or their bytes are not of it.
pub fn merge_packed(into: &Any, from: &Any, lists: Lists) -> Result<Any, JsonError> {
    if into.type_name() != from.type_name() {
        return Err(JsonError::OtherType { expected: into.type_name().to_owned(), found: from.type_name().to_owned() });
    }
    // One descriptor for both: messages of two pools do not fit each other.
    let descriptor = pool::descriptor(into.type_name())?;
    let decode = |any: &Any| {
        DynamicMessage::decode(descriptor.clone(), any.value.clone())
            .map_err(|error| JsonError::Malformed(any.type_name().to_owned(), error.into()))
    };
    let mut merged = decode(into)?;
    merge_message(&mut merged, &decode(from)?, lists);
    Ok(Any { type_url: into.type_url.clone(), value: prost::Message::encode_to_vec(&merged).into() })
}

fn merge_message(into: &mut DynamicMessage, from: &DynamicMessage, lists: Lists) {
    for (field, value) in from.fields() {
        match (value, into.has_field(&field)) {
            (Value::List(more), true) if lists == Lists::Append => {
                if let Some(known) = into.get_field_mut(&field).as_list_mut() {
                    known.extend(more.iter().cloned());
                }
            }
            (Value::Map(more), true) => {
                if let Some(known) = into.get_field_mut(&field).as_map_mut() {
                    known.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
            }
            (Value::Message(more), true) if is_merged(more) => {
                if let Some(known) = into.get_field_mut(&field).as_message_mut() {
                    merge_message(known, more, lists);
                }
            }
            // Both are of one descriptor, so that what one holds fits the other.
            _ => drop(into.try_set_field(&field, value.clone())),
        }
    }
}

/// Whether a message is merged field by field: half of a duration is none, nor is a packed message its bytes and another's type.
fn is_merged(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    name != pool::ANY && name != "google.protobuf.Duration"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::cluster::Cluster;
    use crate::json::{Names, from_value, to_value};
    use crate::route::Route;

    /// Both, and what becomes of them.
    fn merged<M: Message>(into: Json, from: Json, lists: Lists) -> Json {
        let both = (from_value::<M>(into).expect("valid"), from_value::<M>(from).expect("valid"));
        to_value(&merge(&both.0, &both.1, lists).expect("of one type"), Names::Proto).expect("known types")
    }

    #[test]
    fn each_kind_of_field_is_merged_in_its_way() {
        let known = json!({"name": "a", "connect_timeout": "1.5s", "lb_subset_config": {"list_as_any": true}});
        let table = [
            ("a text", json!({"name": "b"}), "/name", json!("b")),
            ("a duration", json!({"connect_timeout": "3s"}), "/connect_timeout", json!("3s")),
            ("no duration", json!({"connect_timeout": "0s"}), "/connect_timeout", json!("0s")),
            ("a message", json!({"lb_subset_config": {"scale_locality_weight": true}}), "/lb_subset_config/list_as_any", json!(true)),
            ("another of a oneof", json!({"cluster_type": {"name": "x"}}), "/cluster_type/name", json!("x")),
        ];
        for (what, from, at, expected) in table {
            assert_eq!(merged::<Cluster>(known.clone(), from, Lists::Append).pointer(at), Some(&expected), "{what}");
        }
    }

    #[test]
    fn of_a_oneof_one_stays() {
        let made = merged::<Cluster>(json!({"type": "EDS"}), json!({"cluster_type": {"name": "x"}}), Lists::Append);
        assert_eq!(made, json!({"cluster_type": {"name": "x"}}));
        // The first of an enum is set too, where a oneof tells that it is.
        let made = merged::<Cluster>(json!({"cluster_type": {"name": "x"}}), json!({"type": "STATIC"}), Lists::Append);
        assert_eq!(made, json!({"type": "STATIC"}));
        let made = merged::<Route>(json!({"route": {"cluster": "a"}}), json!({"direct_response": {"status": 200}}), Lists::Append);
        assert_eq!(made, json!({"direct_response": {"status": 200}}));
    }

    #[test]
    fn lists_grow_or_are_replaced_and_maps_take_over_keys() {
        let header = |key: &str| json!({"header": {"key": key, "value": "1"}});
        let with = |keys: &[&str]| json!({"response_headers_to_add": keys.iter().map(|key| header(key)).collect::<Vec<_>>()});
        assert_eq!(merged::<Route>(with(&["a"]), with(&["b"]), Lists::Append), with(&["a", "b"]));
        assert_eq!(merged::<Route>(with(&["a"]), with(&["b"]), Lists::Replace), with(&["b"]));
        let filters = |name: &str, stat: &str| {
            let any = json!({"@type": "type.googleapis.com/envoy.config.route.v3.Route", "name": stat});
            json!({"typed_per_filter_config": {name: any}})
        };
        assert_eq!(merged::<Route>(filters("a", "x"), filters("a", "y"), Lists::Append), filters("a", "y"));
        let both = merged::<Route>(filters("a", "x"), filters("b", "y"), Lists::Replace);
        assert_eq!(both["typed_per_filter_config"].as_object().map(serde_json::Map::len), Some(2));
    }

    #[test]
    fn a_wrapped_zero_does_not_undo_what_is_set() {
        let known = json!({"circuit_breakers": {"thresholds": []}, "per_connection_buffer_limit_bytes": 5});
        let made = merged::<Cluster>(known, json!({"per_connection_buffer_limit_bytes": 0}), Lists::Append);
        assert_eq!(made["per_connection_buffer_limit_bytes"], 5);
    }

    #[test]
    fn messages_of_two_types_are_not_merged() {
        let error = merge_packed(&Any::pack(&Cluster::default()), &Any::pack(&Route::default()), Lists::Append);
        assert!(matches!(error, Err(JsonError::OtherType { .. })), "{error:?}");
        let unknown = Any { type_url: "type.googleapis.com/no.Such".into(), ..Default::default() };
        assert!(matches!(merge_packed(&unknown, &unknown, Lists::Append), Err(JsonError::UnknownType(_))));
    }
}
