//! Sets of keys by which tokens are verified: whether a text is one that a proxy can read.

use serde_json::Value;

/// What each kind of keys needs.
const KINDS: &[(&str, &[&str])] = &[("RSA", &["n", "e"]), ("EC", &["x", "y"]), ("OKP", &["crv", "x"]), ("oct", &["k"])];

/// The names of curves that keys may be on; where there may be none, P-256 is meant.
const CURVES: &[(&str, &[&str])] = &[("EC", &["", "P-256", "P-384", "P-521"]), ("OKP", &["Ed25519"])];
/// The exponents of keys of RSA, in base64.
const EXPONENTS: [&str; 3] = ["AQAB", "Aw", "Aw=="];
/// So many bytes a secret key should have at least (RFC 7518, 3.2).
pub(crate) const SECRET: usize = 32;

/// Checks that a text is a JSON Web Key Set with a key that proxies know, or certificates by the ids of their keys. Envoy would
/// refuse all of the configuration that anything else stands in. What numbers are within a key only proxies tell.
///
/// # Errors
/// Says what it is not.
pub fn check_key_set(text: &str) -> Result<(), String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    match set.get("keys").and_then(Value::as_array) {
        None if are_certificates(&set) => Ok(()),
        None => Err("it has no list of `keys`".to_owned()),
        Some(keys) if !keys.iter().any(is_key) => Err("it has no key of a known kind with all that belongs to it".to_owned()),
        Some(_) => Ok(()),
    }
}

fn is_key(key: &Value) -> bool {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_base64 = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte));
    let kind = text("kty");
    let is_whole = KINDS.iter().any(|(own, parts)| kind == *own && parts.iter().all(|part| is_base64(text(part))));
    let is_on_curve = CURVES.iter().all(|(own, curves)| kind != *own || curves.contains(&text("crv")));
    is_whole && is_on_curve && (kind != "RSA" || EXPONENTS.contains(&text("e"))) && matches!(text("use"), "" | "sig")
}

/// How many bytes the shortest secret key of a set has; none if it has none. Whoever can read such a key can sign by it.
pub(crate) fn shortest_secret(text: &str) -> Option<usize> {
    let set: Value = serde_json::from_str(text).ok()?;
    let secret = |key: &Value| (key.get("kty")?.as_str()? == "oct").then(|| key.get("k").and_then(Value::as_str).unwrap_or_default().len());
    set.get("keys")?.as_array()?.iter().filter_map(secret).min().map(|length| length * 3 / 4)
}

/// As Google serves them.
fn are_certificates(set: &Value) -> bool {
    let is_one = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with("\n-----END CERTIFICATE-----\n"))
    };
    set.as_object().is_some_and(|set| !set.is_empty() && set.values().all(is_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_a_key_that_is_whole() {
        let cases = [
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#, ""),
            (r#"{"keys": [{"kty": "what"}, {"kty": "oct", "k": "AQAB"}]}"#, ""),
            (r#"{"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}"#, ""),
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB"}]}"#, "it has no key of a known kind with all that belongs to it"),
            (r#"{"keys": [{"kty": "EC", "x": "+", "y": "AQAB"}]}"#, "it has no key of a known kind with all that belongs to it"),
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQ"}]}"#, "it has no key of a known kind with all that belongs to it"),
            (
                r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc"}]}"#,
                "it has no key of a known kind with all that belongs to it",
            ),
            (r#"{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AQAB"}]}"#, "it has no key of a known kind with all that belongs to it"),
            (
                r#"{"keys": [{"kty": "EC", "crv": "secp256k1", "x": "AQAB", "y": "AQAB"}]}"#,
                "it has no key of a known kind with all that belongs to it",
            ),
            (r#"{"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"}"#, "it has no list of `keys`"),
            (r#"{"keys": []}"#, "it has no key of a known kind with all that belongs to it"),
            (r#"{"keys": {}}"#, "it has no list of `keys`"),
            ("[]", "it has no list of `keys`"),
            ("{}", "it has no list of `keys`"),
            ("<html>", "it is no JSON: expected value at line 1 column 1"),
        ];
        for (text, expected) in cases {
            assert_eq!(check_key_set(text).err().unwrap_or_default(), expected, "{text}");
        }
    }
}
