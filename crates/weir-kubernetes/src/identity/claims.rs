//! What a token says of itself (RFC 7519), before anybody has looked whether that is true. So it is only taken for what speaks against it: who
//! comes with what cannot be a service account's token for a mesh costs the API server nothing.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::ACCOUNT;

/// For whom tokens must be: Istio's word for a mesh's authority. One that is for the API server, as those are that any program in a Pod has,
/// does not show that it was meant for a mesh.
pub(super) const AUDIENCE: &str = "istio-ca";
/// A bound token has 1.3 KiB; with long names and many audiences, a little more.
const LONGEST: usize = 8 << 10;

/// What a token says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// Until when it holds.
    pub ends: SystemTime,
}

impl Claims {
    /// Reads them.
    ///
    /// # Errors
    /// Why it cannot be a token that is accepted. Nothing of the token stands in that but who it says it is of.
    pub fn read(token: &str, now: SystemTime) -> Result<Self, String> {
        let nothing = || "the token is none of a service account".to_owned();
        if token.len() > LONGEST {
            return Err("the token is longer than any of a service account".to_owned());
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [_, payload, signature] = parts[..] else { return Err(nothing()) };
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| nothing())?;
        let claims: Value = serde_json::from_slice(&payload).map_err(|_| nothing())?;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| subject.starts_with(ACCOUNT)).ok_or_else(nothing)?;
        let whose = |reason: &str| format!("the token of {subject:?} {reason}");
        if signature.is_empty() {
            return Err(whose("has no signature"));
        }
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|audience| audience == AUDIENCE),
            Some(one) => one == AUDIENCE,
            None => false,
        };
        if !is_for_us {
            return Err(whose(&format!("is not for {AUDIENCE:?}")));
        }
        // Those that never end are in Secrets, for everybody who may read these.
        let ends = claims.get("exp").and_then(Value::as_u64).and_then(|end| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end)));
        match ends {
            None => Err(whose("says no end")),
            Some(ends) if ends <= now => Err(whose("has ended")),
            Some(ends) => Ok(Self { ends }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_a_token_for_a_mesh_is_told_without_asking_anybody() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let written = |change: Value| {
            let mut claims = json!({"iss": "x", "sub": "system:serviceaccount:shop:cart", "aud": [AUDIENCE, "vault"], "exp": 1001});
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        let good = written(json!({}));
        assert_eq!(Claims::read(&good, now), Ok(Claims { ends: now + Duration::from_secs(1) }));
        assert!(Claims::read(&written(json!({"aud": AUDIENCE})), now).is_ok());
        for (token, expected) in [
            (String::new(), "none of a service account"),
            ("a.b".to_owned(), "none of a service account"),
            ("a.b.c".to_owned(), "none of a service account"),
            (format!("{good}.x"), "none of a service account"),
            ("x".repeat(LONGEST + 1), "longer than any"),
            (good.trim_end_matches("c2ln").to_owned(), "has no signature"),
            (written(json!({"sub": "admin"})), "none of a service account"),
            (written(json!({"sub": 7})), "none of a service account"),
            (written(json!({"aud": ["https://kubernetes.default.svc"]})), "is not for"),
            (written(json!({"aud": null})), "is not for"),
            (written(json!({"exp": 1000})), "has ended"),
            (written(json!({"exp": null})), "says no end"),
            (written(json!({"exp": -1})), "says no end"),
            (written(json!({"exp": u64::MAX})), "says no end"),
        ] {
            let refused = Claims::read(&token, now).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
