//! What is fetched: a set of keys, wherever it is, of which only public ones are passed on.

use std::time::Duration;

use serde_json::Value;
use weir_model::KeyAddress;
use weir_routing::filters::jwt_authn::{KeySet, MOST_KEYS};

use super::get::Web;
use super::reach::Named;

/// A set of keys, if that is what is there.
///
/// # Errors
/// Says why there is none.
pub(super) async fn fetch(web: &Web, address: &KeyAddress, limit: Duration) -> Result<String, String> {
    let (keys, named) = match address {
        KeyAddress::Keys(address) => (address.clone(), Named::ByPolicy),
        KeyAddress::Issuer(issuer) => {
            let found = web.get(&address.address(), Named::ByPolicy, limit).await?;
            (keys_of(&found.text, issuer)?, found.names)
        }
    };
    let found = web.get(&keys, named, limit).await?;
    public(found.text).map_err(|wrong| format!("{keys}: {wrong}"))
}

/// Where an OpenID configuration says that the keys of an issuer are.
fn keys_of(configuration: &str, issuer: &str) -> Result<String, String> {
    let configuration: Value = serde_json::from_str(configuration).map_err(|error| format!("its configuration is no JSON: {error}"))?;
    let text = |name: &str| configuration.get(name).and_then(Value::as_str);
    // Whoever answers for another issuer must not give this one its keys (OpenID Connect Discovery 1.0, 4.3).
    match text("issuer") {
        Some(own) if own.trim_end_matches('/') == issuer.trim_end_matches('/') => {}
        Some(own) => return Err(format!("its configuration is that of another issuer, {own}")),
        None => return Err("its configuration names no `issuer`".to_owned()),
    }
    text("jwks_uri").map(str::to_owned).ok_or_else(|| "its configuration names no `jwks_uri`".to_owned())
}

/// A set of keys without its secret ones: whoever can fetch those too can sign by them. It is read as strictly as proxies read it:
/// for one that is none Envoy would refuse its whole configuration.
fn public(text: String) -> Result<String, String> {
    let read = |text: &str| KeySet::parse(text.as_bytes()).map(drop).map_err(|status| status.text().to_owned());
    read(&text)?;
    let mut set: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) else { return Ok(text) };
    let all = keys.len();
    if all > MOST_KEYS {
        tracing::warn!("of {all} keys of one issuer {MOST_KEYS} are used");
    }
    keys.retain(|key| key.get("kty").and_then(Value::as_str) != Some("oct"));
    if keys.len() == all {
        return Ok(text);
    }
    let text = set.to_string();
    read(&text).map_err(|_| "its keys are secret ones (`oct`): whoever can fetch them can sign by them".to_owned())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn a_configuration_is_that_of_the_issuer_that_was_asked() {
        let said = |text: &str| keys_of(text, "https://a.test").unwrap_or_else(|error| error);
        for (text, expected) in [
            (r#"{"issuer": "https://a.test", "jwks_uri": "https://a.test/keys"}"#, "https://a.test/keys"),
            (r#"{"issuer": "https://a.test/", "jwks_uri": "https://a.test/keys"}"#, "https://a.test/keys"),
            (r#"{"issuer": "https://b.test", "jwks_uri": "k"}"#, "its configuration is that of another issuer, https://b.test"),
            (r#"{"jwks_uri": "k"}"#, "its configuration names no `issuer`"),
            (r#"{"issuer": "https://a.test"}"#, "its configuration names no `jwks_uri`"),
            ("<", "its configuration is no JSON: expected value at line 1 column 1"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn what_proxies_would_not_read_is_not_passed_on() {
        for text in [
            "<html>".to_owned(),
            "{}".to_owned(),
            r#"{"keys": []}"#.to_owned(),
            format!(r#"{{"keys": [{PUBLIC}], "keys": [{PUBLIC}]}}"#),
            r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}"#.to_owned(),
            r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQ"}]}"#.to_owned(),
            r#"{"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}"#.to_owned(),
        ] {
            assert!(public(text.clone()).is_err(), "{text}");
        }
        let good = format!(r#"{{ "keys": [{PUBLIC}] }}"#);
        assert_eq!(public(good.clone()), Ok(good));
    }

    #[test]
    fn a_secret_that_anybody_can_fetch_is_no_key() {
        let secret = r#"{"kty":"oct","k":"AQAB"}"#;
        let public_one: Value = serde_json::from_str(PUBLIC).expect("a key");
        let both = public(format!(r#"{{"keys": [{secret}, {PUBLIC}]}}"#)).expect("one is left");
        assert_eq!(serde_json::from_str::<Value>(&both).expect("JSON"), serde_json::json!({"keys": [public_one]}));
        let alone = public(format!(r#"{{"keys": [{secret}]}}"#)).expect_err("none is left");
        assert!(alone.contains("secret ones"), "{alone}");
    }
}
