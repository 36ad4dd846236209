//! The fields of an encoded message, as they stand in its bytes.

use std::collections::BTreeMap;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field};

use crate::table::{Field, Kind, Message, Shape};

/// How deep messages may lie in each other, in one encoding; the same as for messages whose types are compiled.
const DEPTH_LIMIT: usize = 100;

/// Why bytes are not the message that they claim to be.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// They are no message at all.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// They end too early.
    #[error("a value is cut off")]
    Truncated,
    /// What should be a text is none.
    #[error("a text is not UTF-8")]
    Text,
    /// Messages lie in each other without end.
    #[error("recursion limit reached")]
    Depth,
}

/// The fields of a message that are set, by their numbers.
#[derive(Debug, PartialEq)]
pub(crate) struct Fields<'m> {
    pub of: &'static Message,
    set: Vec<(&'static Field, Value<'m>)>,
}

/// What a field holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Value<'m> {
    Bool(bool),
    Signed(i64),
    Uint32(u32),
    Uint64(u64),
    Float(f32),
    Double(f64),
    Text(&'m str),
    Bytes(&'m [u8]),
    Message(Fields<'m>),
    List(Vec<Self>),
    Map(BTreeMap<Key<'m>, Self>),
}

/// The key of a map's entry.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'m> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Text(&'m str),
}

impl<'m> Fields<'m> {
    /// Those of an encoded message of this type.
    ///
    /// # Errors
    /// If the bytes are no such message.
    pub fn decode(of: &'static Message, bytes: &'m [u8]) -> Result<Self, Malformed> {
        Self::at_depth(of, bytes, 0)
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Field, &Value<'m>)> {
        self.set.iter().map(|(field, value)| (*field, value))
    }

    /// What the field of a number holds.
    pub fn get(&self, number: u32) -> Option<&Value<'m>> {
        self.place(number).ok().and_then(|place| self.set.get(place)).map(|(_, value)| value)
    }

    fn at_depth(of: &'static Message, bytes: &'m [u8], depth: usize) -> Result<Self, Malformed> {
        let mut fields = Self { of, set: vec![] };
        fields.merge(bytes, depth)?;
        Ok(fields)
    }

    /// Adds what further bytes say: a message that stands in them twice is both together.
    fn merge(&mut self, mut bytes: &'m [u8], depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_LIMIT {
            return Err(Malformed::Depth);
        }
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes)?;
            match self.of.field(number) {
                Some(field) => self.add(field, wire, &mut bytes, depth)?,
                None => skip_field(wire, number, &mut bytes, DecodeContext::default())?,
            }
        }
        Ok(())
    }

    fn add(&mut self, field: &'static Field, wire: WireType, bytes: &mut &'m [u8], depth: usize) -> Result<(), Malformed> {
        match field.shape {
            Shape::Map => {
                // The library that decodes messages takes an entry for what it is, whatever its key says.
                let entry = Value::read(field.kind, WireType::LengthDelimited, bytes, depth)?;
                self.push_entry(field, entry);
            }
            Shape::List if wire == WireType::LengthDelimited && wire_type(field.kind) != wire => {
                let mut packed = delimited(bytes)?;
                while !packed.is_empty() {
                    self.push(field, Value::read(field.kind, wire_type(field.kind), &mut packed, depth)?);
                }
            }
            Shape::List => self.push(field, Value::read(field.kind, wire, bytes, depth)?),
            Shape::Implicit | Shape::Single => match self.get_mut(field.number) {
                Some(Value::Message(known)) if wire == WireType::LengthDelimited => known.merge(delimited(bytes)?, depth + 1)?,
                _ => self.set(field, Value::read(field.kind, wire, bytes, depth)?),
            },
        }
        Ok(())
    }

    fn place(&self, number: u32) -> Result<usize, usize> {
        self.set.binary_search_by_key(&number, |(field, _)| field.number)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Value<'m>> {
        self.place(number).ok().and_then(|place| self.set.get_mut(place)).map(|(_, value)| value)
    }

    fn remove(&mut self, number: u32) -> Option<Value<'m>> {
        self.place(number).ok().map(|place| self.set.remove(place).1)
    }

    fn set(&mut self, field: &'static Field, value: Value<'m>) {
        if field.oneof.is_some() {
            self.set.retain(|(other, _)| other.oneof != field.oneof);
        }
        self.remove(field.number);
        if field.shape != Shape::Implicit || !value.is_nothing() {
            let (Ok(place) | Err(place)) = self.place(field.number);
            self.set.insert(place, (field, value));
        }
    }

    fn push(&mut self, field: &'static Field, value: Value<'m>) {
        match self.get_mut(field.number) {
            Some(Value::List(values)) => values.push(value),
            _ => self.set(field, Value::List(vec![value])),
        }
    }

    /// Adds what an entry says, or puts it in the place of what is there of the same key.
    fn push_entry(&mut self, field: &'static Field, entry: Value<'m>) {
        let Value::Message(mut entry) = entry else { return };
        let (Some(key), value) = (entry.take(1).into_key(), entry.take(2)) else { return };
        match self.get_mut(field.number) {
            Some(Value::Map(entries)) => drop(entries.insert(key, value)),
            _ => self.set(field, Value::Map(BTreeMap::from([(key, value)]))),
        }
    }

    /// Takes what a field holds; nothing where it is not set.
    fn take(&mut self, number: u32) -> Value<'m> {
        let declared = self.of.field(number);
        self.remove(number).unwrap_or_else(|| declared.map_or(Value::Bool(false), |field| Value::nothing(field.kind)))
    }
}

impl<'m> Value<'m> {
    /// The text that it is.
    pub fn as_text(&self) -> Option<&'m str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As the key of a map; nothing else can be one.
    fn into_key(self) -> Option<Key<'m>> {
        match self {
            Self::Bool(key) => Some(Key::Bool(key)),
            Self::Signed(key) => Some(Key::Signed(key)),
            Self::Uint32(key) => Some(Key::Unsigned(key.into())),
            Self::Uint64(key) => Some(Key::Unsigned(key)),
            Self::Text(key) => Some(Key::Text(key)),
            _ => None,
        }
    }

    fn read(kind: Kind, wire: WireType, bytes: &mut &'m [u8], depth: usize) -> Result<Self, Malformed> {
        check_wire_type(wire_type(kind), wire)?;
        Ok(match kind {
            Kind::Bool => Self::Bool(decode_varint(bytes)? != 0),
            // More bits than it can hold are cut off, as every decoder does.
            Kind::Int32 => Self::Signed(i64::from(decode_varint(bytes)? as i32)),
            Kind::Int64 => Self::Signed(decode_varint(bytes)? as i64),
            Kind::Uint32 => Self::Uint32(decode_varint(bytes)? as u32),
            Kind::Uint64 => Self::Uint64(decode_varint(bytes)?),
            Kind::Float => Self::Float(f32::from_le_bytes(fixed(bytes)?)),
            Kind::Double => Self::Double(f64::from_le_bytes(fixed(bytes)?)),
            Kind::Text => Self::Text(std::str::from_utf8(delimited(bytes)?).map_err(|_| Malformed::Text)?),
            Kind::Bytes => Self::Bytes(delimited(bytes)?),
            Kind::Message(_) => {
                let bytes = delimited(bytes)?;
                match kind.message() {
                    Some(of) => Self::Message(Fields::at_depth(of, bytes, depth + 1)?),
                    None => Self::Bytes(bytes),
                }
            }
        })
    }

    /// What a field of this kind holds that is not written.
    pub fn nothing(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(false),
            Kind::Int32 | Kind::Int64 => Self::Signed(0),
            Kind::Uint32 => Self::Uint32(0),
            Kind::Uint64 => Self::Uint64(0),
            Kind::Float => Self::Float(0.0),
            Kind::Double => Self::Double(0.0),
            Kind::Text => Self::Text(""),
            Kind::Bytes => Self::Bytes(&[]),
            Kind::Message(_) => kind.message().map_or(Self::Bytes(&[]), |of| Self::Message(Fields { of, set: vec![] })),
        }
    }

    /// Whether it is the value that a field has which is not written.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Signed(value) => *value == 0,
            Self::Uint32(value) => *value == 0,
            Self::Uint64(value) => *value == 0,
            Self::Float(value) => *value == 0.0,
            Self::Double(value) => *value == 0.0,
            Self::Text(value) => value.is_empty(),
            Self::Bytes(value) => value.is_empty(),
            Self::Message(fields) => fields.set.is_empty(),
            Self::List(values) => values.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }
}

impl<'m> Key<'m> {
    /// As a value like others.
    pub fn to_value(&self) -> Value<'m> {
        match *self {
            Self::Bool(key) => Value::Bool(key),
            Self::Signed(key) => Value::Signed(key),
            Self::Unsigned(key) => Value::Uint64(key),
            Self::Text(key) => Value::Text(key),
        }
    }
}

/// How one value of a kind is written.
fn wire_type(kind: Kind) -> WireType {
    match kind {
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => WireType::Varint,
        Kind::Float => WireType::ThirtyTwoBit,
        Kind::Double => WireType::SixtyFourBit,
        Kind::Text | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
    }
}

/// Takes bytes with their length in front.
fn delimited<'m>(bytes: &mut &'m [u8]) -> Result<&'m [u8], Malformed> {
    let length = usize::try_from(decode_varint(bytes)?).map_err(|_| Malformed::Truncated)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
    *bytes = rest;
    Ok(*taken)
}
