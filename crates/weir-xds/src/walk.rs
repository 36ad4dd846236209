//! A walk over the fields of a message that are set, in the messages within it, and in those packed in it.

use std::fmt;

use crate::Any;
use crate::any::type_name;
use crate::fields::{Fields, Key, Value};
use crate::json_error::JsonError;
use crate::pool::{ANY, PACKING_LIMIT};
use crate::table::Message;

/// Where a field stands, as in `filter_chains[0].filters[0].typed_config.route_config`. It lies on the stack of the walk and costs
/// nothing until it is written.
#[derive(Debug, Clone, Copy)]
pub struct Path<'p> {
    above: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
    Key(&'p Key<'p>),
}

impl<'p> Path<'p> {
    pub(crate) const ROOT: Self = Path { above: None, step: Step::Root };

    pub(crate) fn then(&'p self, step: Step<'p>) -> Self {
        Path { above: Some(self), step }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if self.above.is_some_and(|above| !matches!(above.step, Step::Root)) => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(Key::Text(key)) => write!(f, "[{key:?}]"),
            Step::Key(Key::Bool(key)) => write!(f, "[{key}]"),
            Step::Key(Key::Signed(key)) => write!(f, "[{key}]"),
            Step::Key(Key::Unsigned(key)) => write!(f, "[{key}]"),
        }
    }
}

/// A field of a message that is set.
#[derive(Debug, Clone, Copy)]
pub struct SetField<'m> {
    /// The full name of the message's type.
    pub message: &'m str,
    /// The field's name, as in the `.proto` file.
    pub name: &'m str,
    /// Where it stands in the message that the walk began with.
    pub path: &'m Path<'m>,
    value: &'m Value<'m>,
}

impl SetField<'_> {
    /// Whether it is a limit that stands for none: the greatest number that it can hold.
    pub fn is_no_limit(&self) -> bool {
        let number = match self.value {
            // A wrapped number is a message with one field.
            Value::Message(wrapped) => wrapped.iter().next().map(|(_, value)| value),
            value => Some(value),
        };
        matches!(number, Some(Value::Uint32(u32::MAX)))
    }

    /// Whether it says no: a truth value that is false, wrapped or not.
    pub fn is_false(&self) -> bool {
        match self.value {
            Value::Message(wrapped) => wrapped.of.name() == "google.protobuf.BoolValue" && wrapped.iter().next().is_none(),
            value => matches!(value, Value::Bool(false)),
        }
    }

    /// Whether it is nothing: a number or a duration of zero, wrapped or not, or [`Self::is_false`].
    pub fn is_zero(&self) -> bool {
        match self.value {
            Value::Message(value) => is_value(value.of) && value.iter().next().is_none(),
            Value::Uint32(0) | Value::Uint64(0) => true,
            Value::Double(value) => *value == 0.0,
            _ => self.is_false(),
        }
    }

    /// The texts of a list of texts.
    pub fn texts(&self) -> Vec<&str> {
        let Value::List(values) = self.value else { return vec![] };
        values.iter().filter_map(Value::as_text).collect()
    }

    /// Whether it holds a message in which this field is not set.
    pub fn lacks(&self, name: &str) -> bool {
        matches!(self.value, Value::Message(message) if !message.iter().any(|(field, _)| field.name() == name))
    }

    /// The texts that the messages of a list hold at this path of fields, where they have it.
    pub fn texts_at(&self, path: &[&str]) -> impl Iterator<Item = &str> {
        let values = if let Value::List(values) = self.value { values.as_slice() } else { &[] };
        let at = |value| path.iter().try_fold(value, |value, name| field_of(value, name));
        values.iter().filter_map(move |value| at(value)?.as_text())
    }

    /// The text that it holds at this path of fields; of a list its first message counts.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(self.value, |value, name| first(field_of(value, name)?))?.as_text()
    }

    /// The number that a field has, where it holds a message in which that field is set.
    pub fn number(&self, name: &str) -> Option<u32> {
        match field_of(self.value, name)? {
            Value::Uint32(number) => Some(*number),
            _ => None,
        }
    }
}

/// The first value of a list, or the only one.
fn first<'v, 'm>(value: &'v Value<'m>) -> Option<&'v Value<'m>> {
    match value {
        Value::List(values) => values.first(),
        value => Some(value),
    }
}

/// What a field of a message holds, where it is set.
fn field_of<'v, 'm>(value: &'v Value<'m>, name: &str) -> Option<&'v Value<'m>> {
    let Value::Message(message) = value else { return None };
    message.iter().find_map(|(field, value)| (field.name() == name).then_some(value))
}

/// A packed message that cannot be looked into.
#[derive(Debug)]
pub struct Unreadable<'m> {
    /// The full name of the type that it claims to be.
    pub message: &'m str,
    /// Where it is packed.
    pub path: &'m Path<'m>,
    /// What is wrong with it: most often its type is unknown.
    pub error: JsonError,
}

/// Whether a walk goes into what a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// It does.
    Visit,
    /// It goes on beside it: the field is dealt with as a whole.
    Skip,
}

/// What is done on a walk. A closure over [`SetField`] is a visitor that goes everywhere and passes over what is unreadable.
pub trait Visitor {
    /// Comes upon a field.
    fn field(&mut self, field: &SetField<'_>) -> Below;

    /// Comes upon a packed message of a known type, of this full name.
    fn packed(&mut self, _message: &str, _path: &Path<'_>) -> Below {
        Below::Visit
    }

    /// Comes upon a packed message that cannot be looked into. The walk goes on beside it.
    fn unreadable(&mut self, packed: &Unreadable<'_>);
}

impl<F: FnMut(&SetField<'_>)> Visitor for F {
    fn field(&mut self, field: &SetField<'_>) -> Below {
        self(field);
        Below::Visit
    }

    fn unreadable(&mut self, _packed: &Unreadable<'_>) {}
}

/// Visits all fields that are set in a packed message, in the messages within it, and in those packed in it. What durations,
/// wrapped numbers and other types of `google.protobuf` are made of is not visited.
///
/// # Errors
/// If the message itself is of an unknown type, or malformed.
pub fn visit(any: &Any, visitor: &mut impl Visitor) -> Result<(), JsonError> {
    let message = decode(any.type_name(), &any.value)?;
    visit_message(&message, &Path::ROOT, 0, visitor);
    Ok(())
}

/// The fields of a message of a type that is known by name only.
pub(crate) fn decode<'m>(name: &str, bytes: &'m [u8]) -> Result<Fields<'m>, JsonError> {
    let of = Message::named(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    Fields::decode(of, bytes).map_err(|error| JsonError::Malformed(name.to_owned(), error))
}

/// Whether a message is a mere value (a duration, a wrapped number, a struct) in a message of its own.
pub(crate) fn is_value(message: &Message) -> bool {
    message.name().starts_with("google.protobuf.") && message.name() != ANY
}

fn visit_message(message: &Fields<'_>, at: &Path<'_>, packed: usize, visitor: &mut impl Visitor) {
    if message.of.name() == ANY {
        return visit_packed(message, at, packed, visitor);
    }
    if is_value(message.of) {
        return;
    }
    for (field, value) in message.iter() {
        let path = at.then(Step::Field(field.name()));
        let set = SetField { message: message.of.name(), name: field.name(), path: &path, value };
        if visitor.field(&set) == Below::Visit {
            visit_value(value, &path, packed, visitor);
        }
    }
}

fn visit_value(value: &Value<'_>, at: &Path<'_>, packed: usize, visitor: &mut impl Visitor) {
    match value {
        Value::Message(message) => visit_message(message, at, packed, visitor),
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                visit_value(value, &at.then(Step::Index(index)), packed, visitor);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                visit_value(value, &at.then(Step::Key(key)), packed, visitor);
            }
        }
        _ => {}
    }
}

/// What a message of the type [`ANY`] packs: the name of its type, and its bytes.
pub(crate) fn packed<'m>(any: &Fields<'m>) -> (&'m str, &'m [u8]) {
    let bytes = if let Some(Value::Bytes(bytes)) = any.get(2) { bytes } else { &[][..] };
    (type_name(any.get(1).and_then(Value::as_text).unwrap_or_default()), bytes)
}

fn visit_packed(any: &Fields<'_>, at: &Path<'_>, packed: usize, visitor: &mut impl Visitor) {
    let (name, bytes) = self::packed(any);
    let message = if packed == PACKING_LIMIT { Err(JsonError::TooDeep(name.to_owned())) } else { decode(name, bytes) };
    match message {
        Ok(message) => match visitor.packed(name, at) {
            Below::Visit => visit_message(&message, at, packed + 1, visitor),
            Below::Skip => {}
        },
        Err(error) => visitor.unreadable(&Unreadable { message: name, path: at, error }),
    }
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::from_value;
    use crate::listener::{Filter, Listener, filter};
    use crate::route::{Route, RouteConfiguration, VirtualHost};

    /// Notes everything, and stays out of the fields named `skipped`.
    #[derive(Default)]
    struct Notes {
        skipped: &'static str,
        fields: Vec<String>,
        unreadable: Vec<String>,
    }

    impl Visitor for Notes {
        fn field(&mut self, field: &SetField<'_>) -> Below {
            self.fields.push(format!("{} {}", field.path, field.message.rsplit('.').next().unwrap_or_default()));
            if field.name == self.skipped { Below::Skip } else { Below::Visit }
        }

        fn unreadable(&mut self, packed: &Unreadable<'_>) {
            self.unreadable.push(format!("{}: {}", packed.path, packed.error));
        }
    }

    fn listener() -> Any {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "route_config": { "name": "routes" },
            "drain_timeout": "3s",
        });
        let mut listener = from_value::<Listener>(json!({
            "filter_chains": [{ "filters": [{ "name": "first" }, { "name": "http", "typed_config": manager }] }],
            "stat_prefix": "after",
        }))
        .expect("a listener");
        let unknown = Any { type_url: "type.googleapis.com/no.Such".into(), ..Default::default() };
        let malformed = Any { type_url: Any::pack(&Route::default()).type_url, value: vec![0xff].into() };
        let filter = |any| Filter { name: String::new(), config_type: Some(filter::ConfigType::TypedConfig(any)) };
        listener.filter_chains[0].filters.splice(0..1, [filter(unknown), filter(malformed)]);
        Any::pack(&listener)
    }

    /// Notes which fields say nothing.
    #[derive(Default)]
    struct Nothings(Vec<String>);

    impl Visitor for Nothings {
        fn field(&mut self, field: &SetField<'_>) -> Below {
            let kinds = [field.is_no_limit(), field.is_false(), field.is_zero(), field.lacks("interval")];
            self.0.push(format!("{} {}", field.name, kinds.map(|holds| if holds { "x" } else { "-" }).concat()));
            Below::Visit
        }

        fn packed(&mut self, message: &str, path: &Path<'_>) -> Below {
            self.0.push(format!("{path} {message}"));
            Below::Skip
        }

        fn unreadable(&mut self, _packed: &Unreadable<'_>) {}
    }

    #[test]
    fn values_that_say_nothing_are_told_apart() {
        let cluster = from_value::<crate::cluster::Cluster>(json!({
            "circuitBreakers": {"thresholds": [{"maxConnections": u32::MAX, "maxRetries": 0, "maxRequests": 1}]},
            "connectTimeout": "0s",
            "outlierDetection": {"alwaysEjectOneHost": false, "enforcingSuccessRate": 0},
            "healthChecks": [{"interval": "1s", "reuseConnection": true}],
            "typedExtensionProtocolOptions": {"a": {"@type": Any::pack(&Route::default()).type_url}},
        }))
        .expect("valid");
        let mut nothings = Nothings::default();
        visit(&Any::pack(&cluster), &mut nothings).expect("a known type");
        for expected in [
            "max_connections x--x",
            "max_retries --xx",
            "max_requests ---x",
            "connect_timeout --xx",
            "always_eject_one_host -xxx",
            "enforcing_success_rate --xx",
            "outlier_detection ---x",
            "health_checks ----",
            "reuse_connection ---x",
            "typed_extension_protocol_options[\"a\"] envoy.config.route.v3.Route",
        ] {
            assert!(nothings.0.iter().any(|noted| noted == expected), "{expected}: {:?}", nothings.0);
        }
    }

    fn walked(any: &Any, skipped: &'static str) -> Notes {
        let mut notes = Notes { skipped, ..Default::default() };
        visit(any, &mut notes).expect("a known type");
        notes
    }

    #[test]
    fn an_unknown_packed_type_does_not_end_the_walk() {
        let notes = walked(&listener(), "");
        let at = "filter_chains[0].filters";
        assert!(notes.fields.contains(&format!("{at}[2].typed_config.route_config.name RouteConfiguration")), "{:?}", notes.fields);
        assert!(notes.fields.contains(&"stat_prefix Listener".to_owned()), "{:?}", notes.fields);
        assert_eq!(notes.unreadable.len(), 2);
        assert_eq!(notes.unreadable[0], format!("{at}[0].typed_config: unknown message type no.Such"));
        assert!(notes.unreadable[1].starts_with(&format!("{at}[1].typed_config: malformed ")), "{:?}", notes.unreadable);
        let error = visit(&Any { type_url: "no.Such".into(), ..Default::default() }, &mut Notes::default());
        assert!(matches!(error, Err(JsonError::UnknownType(_))));
    }

    #[test]
    fn a_visitor_stays_out_of_what_it_has_dealt_with() {
        let notes = walked(&listener(), "route_config");
        assert_eq!(
            notes.fields.iter().filter(|field| field.contains("typed_config.")).collect::<Vec<_>>(),
            [
                "filter_chains[0].filters[2].typed_config.route_config HttpConnectionManager",
                "filter_chains[0].filters[2].typed_config.drain_timeout HttpConnectionManager"
            ]
            .iter()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn entries_of_maps_are_named_by_their_keys() {
        let cors = Any { type_url: "type.googleapis.com/no.Such".into(), ..Default::default() };
        let host = VirtualHost { typed_per_filter_config: [("envoy.cors".to_owned(), cors)].into(), ..Default::default() };
        let routes = RouteConfiguration { virtual_hosts: vec![host], ..Default::default() };
        let notes = walked(&Any::pack(&routes), "");
        let path = "virtual_hosts[0].typed_per_filter_config[\"envoy.cors\"]";
        assert_eq!(notes.unreadable, [format!("{path}: unknown message type no.Such")]);
    }

    #[test]
    fn messages_packed_too_deep_are_not_followed() {
        let mut any = Any::pack(&RouteConfiguration { name: "deep".into(), ..Default::default() });
        for _ in 0..2_000 {
            any = Any { type_url: "type.googleapis.com/google.protobuf.Any".into(), value: prost::Message::encode_to_vec(&any).into() };
        }
        let notes = walked(&any, "");
        assert!(notes.fields.is_empty());
        assert!(notes.unreadable[0].contains("too deep"), "{:?}", notes.unreadable);
    }
}
