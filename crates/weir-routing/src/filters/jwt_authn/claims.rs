//! Claims of a good token as headers, and its payload as metadata.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_http1::HeaderName;
use weir_xds::jwt_authn::JwtClaimToHeader;
use weir_xds::jwt_authn::jwt_claim_to_header::PathSegment;
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{ListValue, Struct};
use weir_xds::values::{json, text};

use super::own_header::own_header;
use crate::error::CompileError;

/// A header that a claim is written to.
#[derive(Debug)]
pub(super) struct ClaimHeader {
    pub header: HeaderName,
    /// The way to the claim.
    path: Box<[String]>,
}

impl ClaimHeader {
    pub fn compile(message: &JwtClaimToHeader) -> Result<Self, CompileError> {
        let JwtClaimToHeader { header_name, claim_name, claim_path } = message;
        let header = own_header("header_name", header_name)?;
        let path = match (claim_name.as_str(), claim_path.as_slice()) {
            ("", []) => return Err(CompileError::missing("claim_name")),
            (name, []) => name.split('.').map(str::to_owned).collect(),
            ("", path) => path.iter().map(|PathSegment { key }| key.clone()).collect(),
            _ => return Err(CompileError::new("claim_path", "is given beside `claim_name`")),
        };
        Ok(Self { header, path })
    }

    /// What the header says of a payload; none if the claim is not there, or says nothing.
    pub fn value<'p>(&self, payload: &'p Struct) -> Option<Cow<'p, str>> {
        let (last, outer) = self.path.split_last()?;
        let mut fields = payload;
        for key in outer {
            match fields.fields.get(key)?.kind.as_ref()? {
                Kind::StructValue(inner) => fields = inner,
                _ => return None,
            }
        }
        let kind = fields.fields.get(last)?.kind.as_ref()?;
        let written: Cow<'_, str> = match kind {
            Kind::StringValue(text) => text.into(),
            Kind::NumberValue(number) => number_text(*number).into(),
            Kind::BoolValue(flag) => flag.to_string().into(),
            Kind::StructValue(_) | Kind::ListValue(_) => STANDARD.encode(json(kind).to_string()).into(),
            Kind::NullValue(_) => return None,
        };
        (!written.is_empty()).then_some(written)
    }
}

/// Whole numbers that are not negative are written as such, others with six places.
fn number_text(number: f64) -> String {
    if (0.0..u64::MAX as f64).contains(&number) && number.fract() == 0.0 { (number as u64).to_string() } else { format!("{number:.6}") }
}

/// A payload in which some claims, lists that are written as one text with spaces, are lists.
pub(super) fn with_lists(payload: &Struct, lists: &[String]) -> Struct {
    let mut payload = payload.clone();
    for claim in lists {
        let Some(value) = payload.fields.get_mut(claim) else { continue };
        if let Some(Kind::StringValue(written)) = &value.kind {
            let parts: Vec<_> = written.split(' ').filter(|part| !part.is_empty()).map(text).collect();
            // As in Envoy: where there is nothing in it, it stays what it was.
            if !parts.is_empty() {
                value.kind = Some(Kind::ListValue(ListValue { values: parts }));
            }
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::super::json::object;
    use super::*;

    fn header(name: &str, path: &[&str]) -> Result<ClaimHeader, CompileError> {
        let claim_path = path.iter().map(|key| PathSegment { key: (*key).into() }).collect();
        ClaimHeader::compile(&JwtClaimToHeader { header_name: "x-c".into(), claim_name: name.into(), claim_path })
    }

    #[test]
    fn claims_are_written_as_envoy_writes_them() {
        let payload = r#"{"s": "a", "e": "", "n": 7, "h": 7.5, "m": -1, "b": true, "z": null, "l": [1, "x"], "o": {"k": "v", "d.d": "w"}}"#;
        let payload = object(payload.as_bytes()).expect("an object");
        let cases = [
            ("s", Some("a")),
            ("e", None),
            ("n", Some("7")),
            ("h", Some("7.500000")),
            ("m", Some("-1.000000")),
            ("b", Some("true")),
            ("z", None),
            ("l", Some("WzEsIngiXQ==")),
            ("o", Some("eyJkLmQiOiJ3IiwiayI6InYifQ==")),
            ("o.k", Some("v")),
            ("o.d.d", None),
            ("s.k", None),
            ("none", None),
        ];
        for (name, expected) in cases {
            assert_eq!(header(name, &[]).expect("valid").value(&payload).as_deref(), expected, "{name}");
        }
        assert_eq!(header("", &["o", "d.d"]).expect("valid").value(&payload).as_deref(), Some("w"));
        assert!(header("", &[]).is_err() && header("s", &["s"]).is_err());
    }

    #[test]
    fn no_claim_says_how_a_message_is_framed_or_where_it_goes() {
        for name in ["Host", "content-length", "Transfer-Encoding", "connection", "TE", "upgrade", "trailer", "keep-alive"] {
            let claim = JwtClaimToHeader { header_name: name.into(), claim_name: "sub".into(), claim_path: vec![] };
            let told = ClaimHeader::compile(&claim).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains("belongs to the message"), "{name}: {told}");
        }
    }

    #[test]
    fn lists_may_be_written_as_one_text() {
        let payload = object(br#"{"scope": "a  b", "other": "a b", "roles": ["c"], "none": " "}"#).expect("an object");
        let lists = ["scope", "roles", "none", "missing"].map(str::to_owned);
        let found = json(&Kind::StructValue(with_lists(&payload, &lists))).to_string();
        assert_eq!(found, r#"{"none":" ","other":"a b","roles":["c"],"scope":["a","b"]}"#);
    }
}
