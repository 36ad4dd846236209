//! What a script may use of Lua: what computes, and of the system only the time and the environment. It cannot read or write
//! files, run programs, load code that is not text, look into others with `debug`, or stop the collection of garbage.

use std::rc::Rc;

use mlua::{ChunkMode, Function, Lua, MultiValue, Table, Value, Variadic};

use super::limits::{LINE, Limits, shown};
use super::pattern;
use super::{bits, natives};

const PRELUDE: &str = include_str!("prelude.lua");

/// What the standard library would do that a script may not.
const FORBIDDEN: &[&str] = &["dofile", "loadfile"];
/// What `os` keeps.
const OF_SYSTEM: &[&str] = &["clock", "date", "difftime", "getenv", "time"];

/// Makes a state what scripts may use; returns what runs their functions.
pub(super) fn furnish(lua: &Lua, limits: &Rc<Limits>) -> mlua::Result<Function> {
    let globals = lua.globals();
    for name in FORBIDDEN {
        globals.set(*name, Value::Nil)?;
    }
    let (system, kept) = (globals.get::<Table>("os")?, lua.create_table()?);
    for name in OF_SYSTEM {
        kept.set(*name, system.get::<Value>(*name)?)?;
    }
    globals.set("os", kept)?;
    globals.set("bit", bits::library(lua)?)?;
    let strings = globals.get::<Table>("string")?;
    strings.set("dump", Value::Nil)?;
    pattern::replace(lua, &strings, limits)?;
    globals.set("collectgarbage", lua.create_function(collect)?)?;
    let own = limits.clone();
    globals.set("print", lua.create_function(move |lua, values| own.charge(LINE).and_then(|()| print(lua, values)))?)?;
    let resolutions = lua.create_table_from([("MILLISECOND", 1), ("MICROSECOND", 2)])?;
    globals.set("EnvoyTimestampResolution", resolutions)?;
    let native = natives::table(lua, limits)?;
    native.set("load", lua.create_function(load)?)?;
    lua.load(PRELUDE).set_name("=prelude").set_mode(ChunkMode::Text).call(native)
}

/// How much is in use can be asked; when it is collected is not the script's to decide, which shares it with others.
fn collect(lua: &Lua, option: Option<mlua::String>) -> mlua::Result<f64> {
    let counts = option.is_some_and(|option| &*option.as_bytes() == b"count");
    Ok(if counts { lua.used_memory() as f64 / 1024.0 } else { 0.0 })
}

/// Prints to where the proxy tells what happens.
fn print(lua: &Lua, values: Variadic<Value>) -> mlua::Result<()> {
    let tostring = lua.globals().get::<Function>("tostring")?;
    let mut line = vec![];
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            line.push(b'\t');
        }
        line.extend_from_slice(shown(&tostring.call::<mlua::String>(value)?.as_bytes()));
        if shown(&line).len() < line.len() {
            break;
        }
    }
    tracing::info!(target: "lua", "script log: {}", super::printable(shown(&line)));
    Ok(())
}

/// A function of a text; nothing and the reason if that is not Lua.
fn load(lua: &Lua, (text, name, environment): (mlua::String, Option<mlua::String>, Option<Table>)) -> mlua::Result<MultiValue> {
    let name = name.map_or_else(|| "=load".to_owned(), |name| name.to_string_lossy());
    let text = text.as_bytes().to_vec();
    let chunk = lua.load(text).set_name(name).set_mode(ChunkMode::Text);
    let chunk = match environment {
        Some(environment) => chunk.set_environment(environment),
        None => chunk,
    };
    match chunk.into_function() {
        Ok(function) => Ok(MultiValue::from_iter([Value::Function(function)])),
        Err(error) => Ok(MultiValue::from_iter([Value::Nil, Value::String(lua.create_string(super::message_of(&error))?)])),
    }
}
