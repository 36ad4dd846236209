//! Secrets made unreadable, wherever in a message they stand, as Envoy's `/config_dump` does it.

use std::borrow::Cow;

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, Kind, ReflectMessage, SerializeOptions, Value};

use crate::json_error::JsonError;
use crate::pool;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Keys by which tokens are verified: public, mostly, so that Envoy's API does not call them sensitive.
const KEYS_OF_TOKENS: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.local_jwks";

/// The types that carry a configuration as JSON, under either of their names.
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// Redacts what the descriptors call sensitive, in a message and in those packed in it: texts and bytes become `[redacted]`,
/// anything else is taken away.
///
/// # Errors
/// If a packed message is of an unknown type or malformed: nobody could tell what is secret in it.
pub(crate) fn redact(message: &mut DynamicMessage) -> Result<(), JsonError> {
    redact_message(message, Scope { sensitive: false, packed: 0 })
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Scope {
    /// Whether a field above is sensitive.
    sensitive: bool,
    /// How many packed messages are around.
    packed: usize,
}

fn redact_message(message: &mut DynamicMessage, scope: Scope) -> Result<(), JsonError> {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        pool::ANY => return redact_packed(message, scope),
        "google.protobuf.Value" if scope.sensitive => return redact_json(message, scope),
        name if TYPED_STRUCTS.contains(&name) => return redact_typed_struct(message, scope),
        _ => {}
    }
    let set: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in set {
        let has_secrets = field.full_name() == KEYS_OF_TOKENS && message.get_field(&field).as_message().is_some_and(has_secret_keys);
        let scope = Scope { sensitive: scope.sensitive || has_secrets || pool::is_sensitive(&field), ..scope };
        let kind = if field.is_map() { map_value_kind(&field.kind()) } else { field.kind() };
        match kind {
            Kind::Message(_) | Kind::String | Kind::Bytes => redact_value(message.get_field_mut(&field), scope)?,
            _ if scope.sensitive => message.clear_field(&field),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a source of keys has one that is known to whoever signs and whoever verifies, and so is a secret, or cannot be read.
fn has_secret_keys(source: &DynamicMessage) -> bool {
    let text = |name: &str| {
        source.get_field_by_name(name).and_then(|value| match &*value {
            Value::String(text) => Some(text.clone().into_bytes()),
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        })
    };
    let is_public = |key: &serde_json::Value| key.get("kty").is_some_and(|kind| kind != "oct") && key.get("k").is_none();
    let are_public = |text: Vec<u8>| match serde_json::from_slice::<serde_json::Value>(&text) {
        Ok(set) => set.get("keys").and_then(|keys| keys.as_array()).is_none_or(|keys| keys.iter().all(is_public)),
        Err(_) => false,
    };
    ["inline_string", "inline_bytes"].into_iter().filter_map(text).filter(|text| !text.is_empty()).any(|text| !are_public(text))
}

fn map_value_kind(entry: &Kind) -> Kind {
    entry.as_message().map_or_else(|| entry.clone(), |entry| entry.map_entry_value_field().kind())
}

fn redact_value(value: &mut Value, scope: Scope) -> Result<(), JsonError> {
    match value {
        Value::Message(message) => redact_message(message, scope),
        Value::List(values) => values.iter_mut().try_for_each(|value| redact_value(value, scope)),
        // The keys stay: all of them would become the same.
        Value::Map(entries) => entries.values_mut().try_for_each(|value| redact_value(value, scope)),
        Value::String(text) if scope.sensitive => {
            REDACTED.clone_into(text);
            Ok(())
        }
        Value::Bytes(bytes) if scope.sensitive => {
            *bytes = REDACTED.into();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn redact_packed(message: &mut DynamicMessage, scope: Scope) -> Result<(), JsonError> {
    let any = pool::packed(message);
    if any.type_url.is_empty() {
        return Ok(());
    }
    if scope.packed == pool::PACKING_LIMIT {
        return Err(JsonError::TooDeep(any.type_name().to_owned()));
    }
    let mut inner = pool::decode(any.type_name(), any.value.clone())?;
    redact_message(&mut inner, Scope { packed: scope.packed + 1, ..scope })?;
    message.set_field_by_number(2, Value::Bytes(inner.encode_to_vec().into()));
    Ok(())
}

/// A sensitive `google.protobuf.Value`: one without a kind would have no JSON form.
fn redact_json(value: &mut DynamicMessage, scope: Scope) -> Result<(), JsonError> {
    let below = value.fields().map(|(field, _)| field).find(|field| matches!(field.kind(), Kind::Message(_)));
    match below {
        Some(field) => redact_value(value.get_field_mut(&field), scope),
        None => {
            value.set_field_by_name("string_value", Value::String(REDACTED.to_owned()));
            Ok(())
        }
    }
}

/// Only the type that it names tells what is sensitive in it. Of a type that nobody knows nothing is known to be; what does not fit
/// its type is redacted as a whole.
fn redact_typed_struct(message: &mut DynamicMessage, scope: Scope) -> Result<(), JsonError> {
    let url = message.get_field_by_name("type_url").unwrap_or(Cow::Owned(Value::String(String::new()))).into_owned();
    let name = url.as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    let Some(fields) = message.get_field_by_name_mut("value") else { return Ok(()) };
    if pool::descriptor(name).is_err() && !scope.sensitive {
        return Ok(());
    }
    let Some(redacted) = fields.as_message().and_then(|fields| redact_as(name, fields, scope)) else {
        return redact_value(fields, Scope { sensitive: true, ..scope });
    };
    *fields = Value::Message(redacted);
    Ok(())
}

/// The fields of a `google.protobuf.Struct`, redacted as those of a message of the type `name`.
fn redact_as(name: &str, fields: &DynamicMessage, scope: Scope) -> Option<DynamicMessage> {
    if scope.packed == pool::PACKING_LIMIT {
        return None;
    }
    let json = fields.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()?;
    let strict = DeserializeOptions::new().deny_unknown_fields(true);
    let mut message = DynamicMessage::deserialize_with_options(pool::descriptor(name).ok()?, json, &strict).ok()?;
    redact_message(&mut message, Scope { packed: scope.packed + 1, ..scope }).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = message.serialize_with_options(serde_json::value::Serializer, &options).ok()?;
    DynamicMessage::deserialize(fields.descriptor(), json).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::json::{Names, any_to_value, from_value, to_value};
    use crate::listener::Listener;
    use crate::tls::{DownstreamTlsContext, Secret};
    use crate::{Any, tls};

    /// `[redacted]` in base64.
    const REDACTED_BYTES: &str = "W3JlZGFjdGVkXQ==";
    const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

    fn certificate(key: Value) -> Value {
        json!({ "certificate_chain": { "inline_string": "PUBLIC" }, "private_key": key, "password": { "inline_string": "PASSWORD" } })
    }

    fn assert_redacted(certificate: &Value) {
        assert_eq!(certificate["certificate_chain"]["inline_string"], "PUBLIC");
        assert_eq!(certificate["private_key"]["inline_string"], "[redacted]");
        assert_eq!(certificate["password"]["inline_string"], "[redacted]");
    }

    #[test]
    fn a_secret_shows_no_key() {
        let text = from_value::<Secret>(json!({ "name": "a", "tls_certificate": certificate(json!({ "inline_string": "KEY" })) }));
        let json = to_value(&text.expect("a secret"), Names::Proto).expect("known types");
        assert_redacted(&json["tls_certificate"]);
        assert_eq!(json["name"], "a");

        let bytes = from_value::<Secret>(json!({ "tls_certificate": certificate(json!({ "inline_bytes": "S0VZ" })) }));
        let json = to_value(&bytes.expect("a secret"), Names::Camel).expect("known types");
        assert_eq!(json["tlsCertificate"]["privateKey"]["inlineBytes"], REDACTED_BYTES);

        let generic = from_value::<Secret>(json!({ "generic_secret": { "secret": { "inline_string": "TOKEN" } } })).expect("a secret");
        let json = any_to_value(&Any::pack(&generic), Names::Proto).expect("known types");
        assert_eq!(json["generic_secret"]["secret"]["inline_string"], "[redacted]");
    }

    #[test]
    fn a_listener_shows_no_key_that_is_packed_in_it() {
        let context = json!({
            "@type": format!("{TLS}.DownstreamTlsContext"),
            "session_ticket_keys": { "keys": [{ "inline_string": "TICKET" }, { "filename": "/tickets" }] },
            "common_tls_context": { "tls_certificates": [certificate(json!({ "inline_string": "KEY" }))] },
        });
        let listener = json!({ "filter_chains": [{ "transport_socket": { "name": "tls", "typed_config": context } }] });
        let listener = from_value::<Listener>(listener).expect("a listener");
        let json = any_to_value(&Any::pack(&listener), Names::Proto).expect("known types");
        let context = &json["filter_chains"][0]["transport_socket"]["typed_config"];
        assert_redacted(&context["common_tls_context"]["tls_certificates"][0]);
        assert_eq!(context["session_ticket_keys"]["keys"], json!([{ "inline_string": "[redacted]" }, { "filename": "[redacted]" }]));
    }

    #[test]
    fn a_secret_by_which_tokens_are_signed_is_not_shown() {
        let shown = |keys: &str| {
            let filter = json!({"providers": {"p": {"issuer": "a", "local_jwks": {"inline_string": keys}}}});
            let filter = from_value::<crate::jwt_authn::JwtAuthentication>(filter).expect("a filter");
            to_value(&filter, Names::Proto).expect("known types")["providers"]["p"]["local_jwks"]["inline_string"].clone()
        };
        let public = r#"{"keys": [{"kty": "EC", "x": "AQAB", "y": "AQAB"}]}"#;
        let certificates = r#"{"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}"#;
        for keys in [public, certificates] {
            assert_eq!(shown(keys), keys);
        }
        for secret in [
            r#"{"keys": [{"kty": "EC", "x": "AQAB", "y": "AQAB"}, {"kty": "oct", "k": "SECRET"}]}"#,
            r#"{"keys": [{"kty": "\u006fct", "k": "SECRET"}]}"#,
            r#"{"keys": [{"k": "SECRET"}]}"#,
            r#"{"keys": [{"kty": "oct", "k": "SECRET"}"#,
        ] {
            assert_eq!(shown(secret), "[redacted]", "{secret}");
        }
    }

    /// A listener whose TLS context is JSON in JSON.
    fn in_typed_struct(package: &str, type_url: &str, fields: Value) -> Value {
        let context = json!({ "@type": format!("type.googleapis.com/{package}.TypedStruct"), "type_url": type_url, "value": fields });
        let listener = json!({ "filter_chains": [{ "transport_socket": { "name": "tls", "typed_config": context } }] });
        let listener = from_value::<Listener>(listener).expect("a listener");
        let json = to_value(&listener, Names::Proto).expect("known types");
        json["filter_chains"][0]["transport_socket"]["typed_config"]["value"].clone()
    }

    #[test]
    fn a_typed_struct_is_redacted_by_the_type_that_it_names() {
        let key = || certificate(json!({ "inline_string": "KEY" }));
        for package in ["xds.type.v3", "udpa.type.v1"] {
            let context = json!({ "common_tls_context": { "tls_certificates": [key()] }, "max_session_keys": 3 });
            let context = in_typed_struct(package, &format!("{TLS}.UpstreamTlsContext"), context);
            assert_redacted(&context["common_tls_context"]["tls_certificates"][0]);
            assert_eq!(context["max_session_keys"].as_f64(), Some(3.0));
        }
        let misspelt = json!({ "private_kye": { "inline_string": "KEY" }, "number": 1 });
        let misspelt = in_typed_struct("xds.type.v3", &format!("{TLS}.TlsCertificate"), misspelt);
        assert_eq!(misspelt, json!({ "private_kye": { "inline_string": "[redacted]" }, "number": "[redacted]" }));
        let unknown = in_typed_struct("xds.type.v3", "type.googleapis.com/no.Such", json!({ "private_key": "seen" }));
        assert_eq!(unknown, json!({ "private_key": "seen" }));
    }

    #[test]
    fn what_is_sent_keeps_its_keys() {
        let data = |text: &str| crate::core::DataSource {
            specifier: Some(crate::core::data_source::Specifier::InlineString(text.to_owned())),
            ..Default::default()
        };
        let certificate = tls::TlsCertificate { private_key: Some(data("KEY")), ..Default::default() };
        let common = tls::CommonTlsContext { tls_certificates: vec![certificate], ..Default::default() };
        let context = DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
        let any = Any::pack(&context);
        any_to_value(&any, Names::Proto).expect("known types");
        assert_eq!(any.unpack::<DownstreamTlsContext>().expect("the same"), context);
    }

    #[test]
    fn messages_packed_too_deep_are_refused() {
        let mut any = Any::pack(&Secret::default());
        for _ in 0..2_000 {
            any = Any { type_url: "type.googleapis.com/google.protobuf.Any".into(), value: prost::Message::encode_to_vec(&any).into() };
        }
        let error = any_to_value(&any, Names::Proto).expect_err("too deep");
        assert!(error.to_string().contains("too deep"), "{error}");
    }
}
