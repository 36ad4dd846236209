//! Values of protobuf's `Struct` between metadata and scripts.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlua::{Error, Lua, Table, UserData, UserDataMethods, Value};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{ListValue, Struct, Value as XdsValue};

use super::stream::Life;

/// So deep a table may be.
const DEPTH: usize = 32;

/// Metadata that a script can only read.
pub(super) struct MetadataMap {
    pub(super) life: Life,
    /// What is there, if anything is.
    pub(super) fields: Option<Arc<Struct>>,
}

impl MetadataMap {
    /// All that is there.
    pub(super) fn entries(&self, lua: &Lua) -> mlua::Result<Vec<(mlua::String, Value)>> {
        self.life.stream()?;
        let fields = self.fields.iter().flat_map(|fields| &fields.fields);
        fields.map(|(key, value)| Ok((lua.create_string(key)?, of_value(lua, value)?))).collect()
    }
}

impl UserData for MetadataMap {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, this, key: mlua::String| {
            this.life.stream()?;
            let value = this.fields.as_ref().and_then(|fields| fields.fields.get(&*key.to_string_lossy()));
            super::or_nothing(lua, value.map(|value| of_value(lua, value)).transpose()?)
        });
    }
}

/// A value for a script.
pub(super) fn of_value(lua: &Lua, value: &XdsValue) -> mlua::Result<Value> {
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Nil,
        Some(Kind::NumberValue(number)) => Value::Number(*number),
        Some(Kind::StringValue(text)) => Value::String(lua.create_string(text)?),
        Some(Kind::BoolValue(flag)) => Value::Boolean(*flag),
        Some(Kind::StructValue(fields)) => Value::Table(of_struct(lua, fields)?),
        Some(Kind::ListValue(list)) => {
            let values = list.values.iter().map(|value| of_value(lua, value)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(values)?)
        }
    })
}

/// A table of fields.
pub(super) fn of_struct(lua: &Lua, fields: &Struct) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (key, value) in &fields.fields {
        table.raw_set(key.as_str(), of_value(lua, value)?)?;
    }
    Ok(table)
}

/// A value that a script has made; what it takes goes from `left`, of which nothing is left where it is too large.
pub(super) fn to_value(value: &Value, left: &mut usize) -> mlua::Result<XdsValue> {
    to_value_within(value, DEPTH, left)
}

/// What a value takes besides its text.
const VALUE: usize = 64;

fn to_value_within(value: &Value, depth: usize, left: &mut usize) -> mlua::Result<XdsValue> {
    // The same value may stand in many places, and is another one in each.
    let size = VALUE + if let Value::String(text) = value { text.as_bytes().len() } else { 0 };
    let Some(rest) = left.checked_sub(size) else {
        *left = 0;
        return Err(Error::runtime("the value is too large for dynamicMetadata"));
    };
    *left = rest;
    let kind = match value {
        Value::Nil => Kind::NullValue(0),
        Value::Boolean(flag) => Kind::BoolValue(*flag),
        Value::Integer(number) => Kind::NumberValue(*number as f64),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::String(text) => Kind::StringValue(text.to_string_lossy()),
        Value::Table(_) if depth == 0 => {
            *left = 0;
            return Err(Error::runtime("the table is too deep for dynamicMetadata"));
        }
        Value::Table(table) => of_table(table, depth - 1, left)?,
        other => return Err(Error::runtime(format!("unexpected type '{}' in dynamicMetadata", other.type_name()))),
    };
    Ok(XdsValue { kind: Some(kind) })
}

/// A list, if all its keys are positions, and else an object.
fn of_table(table: &Table, depth: usize, left: &mut usize) -> mlua::Result<Kind> {
    let (mut fields, mut list, mut keys) = (BTreeMap::new(), vec![], 0);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        keys += 1;
        match key {
            Value::String(key) => drop(fields.insert(key.to_string_lossy(), to_value_within(&value, depth, left)?)),
            Value::Integer(at) if at >= 1 => list.push((at, to_value_within(&value, depth, left)?)),
            other => {
                let what = format!("unexpected type {} in table key (only string keys are supported)", other.type_name());
                return Err(Error::runtime(what));
            }
        }
    }
    match (fields.is_empty(), list.is_empty()) {
        (_, true) => Ok(Kind::StructValue(Struct { fields })),
        (true, false) => {
            list.sort_by_key(|(at, _)| *at);
            // Positions that are left out are not made up.
            let whole = list.last().is_some_and(|(last, _)| usize::try_from(*last).is_ok_and(|last| last == keys));
            match whole {
                true => Ok(Kind::ListValue(ListValue { values: list.into_iter().map(|(_, value)| value).collect() })),
                false => Err(Error::runtime("a list in dynamicMetadata must have no gaps")),
            }
        }
        (false, false) => Err(Error::runtime("unexpected type number in table key (only string keys are supported)")),
    }
}
