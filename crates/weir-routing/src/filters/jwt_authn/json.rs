//! The JSON of tokens and of sets of keys, read strictly: what two readers could understand differently is refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{ListValue, Struct, Value};

/// Reads an object, all of it; none if it is no object, goes on behind it, or has a name twice. Depth is limited.
pub(super) fn object(text: &[u8]) -> Option<Struct> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Reading { depth: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match read {
        Kind::StructValue(fields) => Some(fields),
        _ => None,
    }
}

/// Deeper ones Envoy does not read either.
const DEEPEST: usize = 100;

/// A value within so many others.
#[derive(Clone, Copy)]
struct Reading {
    depth: usize,
}

impl Reading {
    fn within<E: Error>(self) -> Result<Self, E> {
        match self.depth + 1 {
            depth @ ..=DEEPEST => Ok(Self { depth }),
            _ => Err(E::custom("it is too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Kind, E> {
        Ok(Kind::BoolValue(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Kind, E> {
        Ok(Kind::NumberValue(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Kind, E> {
        Ok(Kind::NumberValue(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Kind, E> {
        Ok(Kind::NumberValue(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        Ok(Kind::StringValue(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::NullValue(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let (inner, mut values) = (self.within()?, vec![]);
        while let Some(kind) = items.next_element_seed(inner)? {
            values.push(Value { kind: Some(kind) });
        }
        Ok(Kind::ListValue(ListValue { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let (inner, mut fields) = (self.within()?, BTreeMap::new());
        while let Some(name) = entries.next_key::<String>()? {
            let value = Value { kind: Some(entries.next_value_seed(inner)?) };
            // Of two claims of one name one reader takes the first, and another the last.
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands there twice"));
            }
        }
        Ok(Kind::StructValue(Struct { fields }))
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::values::json;

    use super::*;

    #[test]
    fn an_object_is_read_whole_or_not_at_all() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        let cases: [(&str, Option<&str>); 12] = [
            ("{}", Some("{}")),
            (r#" {"b": [1, "x", null, true, {"c": 1.5}], "a": "\u00fc"} "#, Some(r#"{"a":"ü","b":[1,"x",null,true,{"c":1.5}]}"#)),
            (r#"{"a": 1, "a": 1}"#, None),
            (r#"{"a": {"b": 1, "b": 2}}"#, None),
            (r#"{"sub": "a", "su\u0062": "b"}"#, None),
            ("{} {}", None),
            ("[]", None),
            ("\"a\"", None),
            ("", None),
            (r#"{"a": NaN}"#, None),
            (r#"{"a": 1e999}"#, None),
            (&deep, None),
        ];
        for (text, expected) in cases {
            let read = object(text.as_bytes()).map(|fields| json(&Kind::StructValue(fields)).to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        assert!(object(b"{\"a\": \"\xff\"}").is_none());
        assert!(object(format!("{{\"a\":{}1{}}}", "[".repeat(99), "]".repeat(99)).as_bytes()).is_some());
    }
}
