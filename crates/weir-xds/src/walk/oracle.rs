//! A walk comes upon what the descriptors say, whatever the bytes.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value as Reflected};
use serde_json::json;

use super::{Below, Path, SetField, Unreadable, Visitor, visit};
use crate::json::from_value;
use crate::{Any, Name, pool};

/// Notes all that can be known of each field.
#[derive(Default)]
struct Notes(Vec<String>);

impl Visitor for Notes {
    fn field(&mut self, field: &SetField<'_>) -> Below {
        let said = (field.is_no_limit(), field.is_false(), field.is_zero(), field.texts(), field.lacks("interval"));
        self.0.push(format!("{} {} {} {said:?}", field.path, field.message, field.name));
        Below::Visit
    }

    fn packed(&mut self, message: &str, path: &Path<'_>) -> Below {
        self.0.push(format!("{path} {message}"));
        Below::Visit
    }

    fn unreadable(&mut self, packed: &Unreadable<'_>) {
        self.0.push(format!("{} {} cannot be read", packed.path, packed.message));
    }
}

/// What a walk notes, in no order; `None` if the message itself cannot be read.
fn walked(any: &Any) -> Option<Vec<String>> {
    let mut notes = Notes::default();
    visit(any, &mut notes).ok()?;
    notes.0.sort_unstable();
    Some(notes.0)
}

/// The same by reflection.
fn reflected(any: &Any) -> Option<Vec<String>> {
    let mut notes = vec![];
    reflect(&pool::decode(any.type_name(), any.value.clone()).ok()?, "", &mut notes);
    notes.sort_unstable();
    Some(notes)
}

fn is_value(message: &DynamicMessage) -> bool {
    message.descriptor().package_name() == "google.protobuf" && message.descriptor().full_name() != pool::ANY
}

fn reflect(message: &DynamicMessage, at: &str, notes: &mut Vec<String>) {
    if message.descriptor().full_name() == pool::ANY {
        let any = pool::packed(message);
        let name = any.type_name();
        return match pool::decode(name, any.value.clone()) {
            Ok(message) => {
                notes.push(format!("{at} {name}"));
                reflect(&message, at, notes);
            }
            Err(_) => notes.push(format!("{at} {name} cannot be read")),
        };
    }
    if is_value(message) {
        return;
    }
    for (field, value) in message.fields() {
        let path = if at.is_empty() { field.name().to_owned() } else { format!("{at}.{}", field.name()) };
        notes.push(format!("{path} {} {} {:?}", message.descriptor().full_name(), field.name(), said(value)));
        match value {
            Reflected::List(values) => {
                values.iter().enumerate().for_each(|(index, value)| below(value, &format!("{path}[{index}]"), notes))
            }
            Reflected::Map(entries) => entries.iter().for_each(|(key, value)| below(value, &format!("{path}[{}]", written(key)), notes)),
            value => below(value, &path, notes),
        }
    }
}

fn below(value: &Reflected, at: &str, notes: &mut Vec<String>) {
    if let Reflected::Message(message) = value {
        reflect(message, at, notes);
    }
}

fn written(key: &MapKey) -> String {
    match key {
        MapKey::String(key) => format!("{key:?}"),
        MapKey::U32(key) => key.to_string(),
        key => format!("{key:?}"),
    }
}

/// What [`SetField`] can say of a value, in the order of [`Notes`].
fn said(value: &Reflected) -> (bool, bool, bool, Vec<&str>, bool) {
    let first = |message: &DynamicMessage| message.fields().next().and_then(|(_, value)| value.as_u32());
    let (number, is_false, is_zero) = match value {
        Reflected::Message(value) => {
            let is_empty = value.fields().next().is_none();
            let is_false = value.descriptor().full_name() == "google.protobuf.BoolValue" && is_empty;
            (first(value), is_false, is_value(value) && is_empty)
        }
        value => {
            let is_false = value.as_bool() == Some(false);
            let is_zero = value.as_f64() == Some(0.0) || value.as_u32() == Some(0) || value.as_u64() == Some(0);
            (value.as_u32(), is_false, is_false || is_zero)
        }
    };
    let texts = value.as_list().unwrap_or_default().iter().filter_map(Reflected::as_str).collect();
    let lacks = value.as_message().is_some_and(|message| !message.has_field_by_name("interval"));
    (number == Some(u32::MAX), is_false, is_zero, texts, lacks)
}

/// Between them messages with fields of every kind and shape.
static SAMPLES: LazyLock<Vec<Any>> = LazyLock::new(|| {
    let typed = |name: &str, mut fields: serde_json::Value| {
        fields["@type"] = format!("type.googleapis.com/{name}").into();
        fields
    };
    let router = typed("envoy.extensions.filters.http.router.v3.Router", json!({"dynamic_stats": false}));
    let routes = json!({
        "name": "routes",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*", "a.test"],
            "routes": [{
                "match": {"prefix": "/", "headers": [{"name": "x", "range_match": {"start": -5, "end": 7}}]},
                "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 3}, {"name": "b", "weight": 0}]}, "timeout": "0s"},
                "metadata": {"filter_metadata": {"weir": {"a": 1.5, "b": [true, null, "x"]}}},
            }],
            "retry_policy": {"num_retries": 4_294_967_295_u32, "retriable_status_codes": [503, 504]},
        }],
    });
    let manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({"stat_prefix": "x", "codec_type": "HTTP2", "route_config": routes, "http_filters": [{"name": "r", "typed_config": router}]}),
    );
    let listener = from_value::<crate::listener::Listener>(json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}], "filter_chain_match": {"source_ports": [1, 300]}}],
        "per_connection_buffer_limit_bytes": 0,
        "transparent": false,
    }))
    .expect("valid");
    let cluster = from_value::<crate::cluster::Cluster>(json!({
        "name": "c",
        "type": "EDS",
        "circuit_breakers": {"thresholds": [{"max_connections": u32::MAX, "retry_budget": {"budget_percent": {"value": 0}}}]},
        "outlier_detection": {"enforcing_success_rate": 0, "interval": "1.5s"},
        "ring_hash_lb_config": {"minimum_ring_size": 1024},
        "typed_extension_protocol_options": {"a": typed("envoy.config.core.v3.Node", json!({"id": "n"}))},
    }))
    .expect("valid");
    let routes = from_value::<crate::route::RouteConfiguration>(routes).expect("valid");
    let malformed = Any { type_url: Any::pack(&routes).type_url, value: vec![0xff].into() };
    vec![Any::pack(&listener), Any::pack(&cluster), Any::pack(&routes), malformed]
});

#[test]
fn a_walk_comes_upon_what_the_descriptors_say() {
    for any in &*SAMPLES {
        assert_eq!(walked(any), reflected(any), "{}", any.type_url);
    }
    assert!(SAMPLES.iter().take(3).all(|any| walked(any).is_some_and(|notes| notes.len() > 12)));
}

/// Every byte, changed to everything that it can be.
#[test]
fn one_changed_byte_is_read_alike() {
    for sample in SAMPLES.iter().take(3) {
        for place in 0..sample.value.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = sample.value.to_vec();
                bytes[place] = byte;
                let any = Any { type_url: sample.type_url.clone(), value: bytes.into() };
                assert_eq!(walked(&any), reflected(&any), "{place} {byte}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Bytes are changed, cut off and repeated; half of the messages can still be read.
    #[test]
    fn bytes_that_nobody_would_write_are_read_alike(
        which in 0..3_usize,
        changed in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        repeated in proptest::option::of((any::<prop::sample::Index>(), 0..40_usize)),
        end in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
        twice in any::<bool>(),
    ) {
        let mut any = SAMPLES[which].clone();
        let mut bytes = any.value.to_vec();
        for (place, byte) in changed {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some((place, length)) = repeated {
            let from = place.index(bytes.len());
            let part = bytes[from..bytes.len().min(from + length)].to_vec();
            bytes.splice(from..from, part);
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        if twice {
            bytes.extend_from_within(..);
        }
        any.value = bytes.into();
        prop_assert_eq!(walked(&any), reflected(&any));
    }

    /// The same for any message and any bytes.
    #[test]
    fn any_bytes_are_read_alike(bytes in proptest::collection::vec(prop_oneof![0..64_u8, any::<u8>()], 0..24)) {
        for name in [crate::cluster::Cluster::full_name(), crate::route::HeaderMatcher::full_name(), "google.protobuf.Any".to_owned()] {
            let any = Any { type_url: name, value: bytes.clone().into() };
            prop_assert_eq!(walked(&any), reflected(&any));
        }
    }
}
