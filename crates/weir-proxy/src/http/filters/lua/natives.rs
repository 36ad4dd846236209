//! The methods of the handle that a script is given, and what the prelude asks of us.

use std::rc::Rc;

use mlua::{AnyUserData, Error, FromLuaMulti, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataFields, UserDataRef, Value};

use super::body::{self, Buffer};
use super::call::{self, Arguments, HttpCall};
use super::crypto;
use super::headers::{HeaderMap, Which};
use super::info::{Configured, Connection, ConnectionStreamInfo, DynamicMetadata, Level, StreamInfo};
use super::limits::{LINE, Limits, is_for_want_of_memory, shown};
use super::metadata::MetadataMap;
use super::stream::{Handle, Life, Side, Stream, Waiting};

/// The methods that the prelude makes.
const PRELUDE: &str = "weir.lua.handle";
/// Where Envoy looks for metadata that is not under the filter's own name.
const CANONICAL: &str = "envoy.filters.http.lua";

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>(PRELUDE));
    }
}

/// A method of the handle that does not wait.
fn method<A, R>(lua: &Lua, table: &Table, name: &str, does: impl Fn(&Lua, &Rc<Stream>, A) -> mlua::Result<R> + 'static) -> mlua::Result<()>
where
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    let function =
        lua.create_function(move |lua, (handle, arguments): (UserDataRef<Handle>, A)| does(lua, &handle.stream()?, arguments))?;
    table.set(name, function)
}

/// What the prelude is given.
pub(super) fn table(lua: &Lua, limits: &Rc<Limits>) -> mlua::Result<Table> {
    let (native, handle) = (lua.create_table()?, lua.create_table()?);
    lua.set_named_registry_value(PRELUDE, &handle)?;
    reads(lua, &handle)?;
    computes(lua, &handle)?;
    logs(lua, &handle, limits)?;
    waits(lua, &native)?;
    native.set("handle", handle)?;
    native.set("entries", lua.create_function(entries)?)?;
    native.set("finish", lua.create_function(finish)?)?;
    let limits = limits.clone();
    native.set("failure", lua.create_function(move |lua, error: Value| failure(lua, error, &limits))?)?;
    Ok(native)
}

/// What is known of the request or answer.
fn reads(lua: &Lua, handle: &Table) -> mlua::Result<()> {
    method(lua, handle, "headers", |_, stream, ()| Ok(HeaderMap { life: Life::new(stream), which: Which::Head }))?;
    method(lua, handle, "metadata", |_, stream, ()| {
        let of_route = |name: &str| stream.with_route(|found| Level::Route.fields(found, name)).flatten();
        let fields = of_route(&stream.filter).or_else(|| of_route(CANONICAL));
        Ok(MetadataMap { life: Life::new(stream), fields })
    })?;
    method(lua, handle, "filterContext", |_, stream, ()| Ok(MetadataMap { life: Life::new(stream), fields: stream.context.clone() }))?;
    method(lua, handle, "streamInfo", |_, stream, ()| Ok(StreamInfo(Life::new(stream))))?;
    method(lua, handle, "connection", |_, stream, ()| Ok(Connection(Life::new(stream))))?;
    method(lua, handle, "connectionStreamInfo", |_, stream, ()| Ok(ConnectionStreamInfo(Life::new(stream))))?;
    method(lua, handle, "route", |_, stream, ()| Ok(Configured { life: Life::new(stream), of: Level::Route }))?;
    method(lua, handle, "virtualHost", |_, stream, ()| Ok(Configured { life: Life::new(stream), of: Level::VirtualHost }))?;
    method(lua, handle, "clearRouteCache", |_, stream, ()| {
        stream.clear_route();
        Ok(())
    })
}

/// What is computed.
fn computes(lua: &Lua, handle: &Table) -> mlua::Result<()> {
    method(lua, handle, "importPublicKey", |_, stream, key| crypto::import(stream, Life::new(stream), key))?;
    method(lua, handle, "verifySignature", |_, stream, signed| crypto::verify(stream, signed))?;
    method(lua, handle, "base64Escape", |_, _, text: mlua::String| Ok(crypto::encode(&text)))?;
    method(lua, handle, "base64Decode", |lua, _, text: mlua::String| {
        crypto::decode(&text).map(|bytes| lua.create_string(bytes)).transpose()
    })?;
    method(lua, handle, "timestamp", |_, _, resolution: Option<i64>| match resolution {
        None | Some(1) => Ok(crypto::now().as_millis() as f64),
        Some(_) => Err(Error::runtime("timestamp format must be MILLISECOND.")),
    })?;
    method(lua, handle, "timestampString", |_, _, resolution: Option<i64>| match resolution {
        None | Some(1) => Ok(crypto::now().as_millis().to_string()),
        Some(2) => Ok(crypto::now().as_micros().to_string()),
        Some(_) => Err(Error::runtime("timestamp format must be MILLISECOND or MICROSECOND.")),
    })
}

/// What a script says to those who read the proxy's own log. A line takes as long as many instructions.
fn logs(lua: &Lua, handle: &Table, limits: &Rc<Limits>) -> mlua::Result<()> {
    let log = |name: &str, write: fn(&str)| {
        let limits = limits.clone();
        method(lua, handle, name, move |_, _, text: mlua::String| {
            limits.charge(LINE)?;
            write(&super::printable(shown(&text.as_bytes())));
            Ok(())
        })
    };
    log("logTrace", |text| tracing::trace!(target: "lua", "script log: {text}"))?;
    log("logDebug", |text| tracing::debug!(target: "lua", "script log: {text}"))?;
    log("logInfo", |text| tracing::info!(target: "lua", "script log: {text}"))?;
    log("logWarn", |text| tracing::warn!(target: "lua", "script log: {text}"))?;
    log("logErr", |text| tracing::error!(target: "lua", "script log: {text}"))?;
    log("logCritical", |text| tracing::error!(target: "lua", "script log: {text}"))
}

/// What a script may wait for. Each `begin_` says whether it must wait; the prelude does, and then asks what came of it.
fn waits(lua: &Lua, native: &Table) -> mlua::Result<()> {
    method(lua, native, "begin_body", |_, stream, always: Value| {
        if !matches!(always, Value::Nil | Value::Boolean(_)) {
            return Err(Error::runtime("bad argument #1 to 'body' (boolean expected)"));
        }
        match (stream.body.borrow().is_some(), stream.ended.get(), stream.streamed.get()) {
            (true, ..) => Ok(false),
            (false, true, true) => Err(Error::runtime("cannot call body() after body has been streamed")),
            (false, true, false) => Ok(false),
            (false, false, _) if stream.streamed.get() || stream.continued.get() => {
                Err(Error::runtime("cannot call body() after body streaming has started"))
            }
            (false, false, _) => Ok(wait_for(stream, Waiting::Body)),
        }
    })?;
    method(lua, native, "body", |lua, stream, always: Option<bool>| {
        if always == Some(true) {
            stream.body.borrow_mut().get_or_insert_default();
        }
        let is_there = stream.body.borrow().is_some();
        super::or_nothing(lua, is_there.then(|| Buffer { life: Life::new(stream), which: body::Which::Whole }))
    })?;
    method(lua, native, "begin_chunks", |_, stream, ()| match stream.streamed.get() || stream.body.borrow().is_some() {
        true => Err(Error::runtime("cannot call bodyChunks after body processing has begun")),
        false => Ok(()),
    })?;
    method(lua, native, "begin_chunk", |_, stream, ()| Ok(!stream.ended.get() && wait_for(stream, Waiting::Chunk)))?;
    method(lua, native, "chunk", |lua, stream, ()| {
        let is_new = stream.chunk_is_new.take();
        super::or_nothing(lua, is_new.then(|| Buffer { life: Life::new(stream), which: body::Which::Chunk }))
    })?;
    method(lua, native, "begin_trailers", |_, stream, ()| Ok(!stream.ended.get() && wait_for(stream, Waiting::Trailers)))?;
    method(lua, native, "trailers", |lua, stream, ()| {
        let is_there = stream.trailers.borrow().is_some();
        super::or_nothing(lua, is_there.then(|| HeaderMap { life: Life::new(stream), which: Which::Trailers }))
    })?;
    method(lua, native, "begin_call", |lua, stream, arguments: Arguments| {
        let call = HttpCall::read(lua, stream, arguments)?;
        if call.is_asynchronous() {
            stream.spend(call.size())?;
            call.send_unwatched(stream);
            return Ok(false);
        }
        if stream.continued.get() {
            return Err(stream.refuse("httpCall() can only wait before the headers have gone on"));
        }
        Ok(wait_for(stream, Waiting::Call(Box::new(call))))
    })?;
    method(lua, native, "answer", |lua, stream, ()| match stream.answer.take() {
        Some(answer) => answer.into_values(lua),
        None => Ok(MultiValue::new()),
    })?;
    method(lua, native, "respond", |lua, stream, (headers, body): (Table, Option<mlua::String>)| {
        if stream.side == Side::Response {
            return Err(Error::runtime("respond not currently supported in the response path"));
        }
        if stream.continued.get() {
            return Err(Error::runtime("respond() cannot be called if headers have been continued"));
        }
        stream.reply.replace(Some(call::reply(lua, stream, &headers, body)?));
        Ok(())
    })?;
    method(lua, native, "forget", |_, stream, ()| {
        stream.waiting.take();
        stream.reply.take();
        // It may have been about to answer.
        stream.refused.set(true);
        Ok(())
    })
}

fn wait_for(stream: &Stream, waiting: Waiting) -> bool {
    stream.waiting.replace(Some(waiting));
    true
}

/// Names and values, one after the other, of what can be gone over.
fn entries(lua: &Lua, object: AnyUserData) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    let add = |key: Value, value: Value| {
        // What is null is not there, for Lua.
        if value.is_nil() {
            return Ok(());
        }
        list.raw_push(key)?;
        list.raw_push(value)
    };
    if let Ok(map) = object.borrow::<HeaderMap>() {
        let stream = map.life.stream()?;
        if stream.iterating.replace(true) {
            return Err(Error::runtime("cannot create a second iterator before completing the first"));
        }
        for (name, value) in stream.with_fields(map.which, |fields| fields.all()) {
            add(Value::String(lua.create_string(name)?), Value::String(lua.create_string(value)?))?;
        }
    } else if let Ok(map) = object.borrow::<MetadataMap>() {
        for (key, value) in map.entries(lua)? {
            add(Value::String(key), value)?;
        }
    } else if let Ok(map) = object.borrow::<DynamicMetadata>() {
        for (key, value) in map.entries(lua)? {
            add(Value::String(key), value)?;
        }
    } else {
        return Err(Error::runtime("bad argument #1 to 'pairs' (table expected, got userdata)"));
    }
    Ok(list)
}

/// All have been gone over.
fn finish(_: &Lua, object: AnyUserData) -> mlua::Result<()> {
    if let Ok(map) = object.borrow::<HeaderMap>()
        && let Ok(stream) = map.life.stream()
    {
        stream.iterating.set(false);
    }
    Ok(())
}

/// What a script catches is a text, as with Envoy. That it has taken too much it cannot catch.
fn failure(lua: &Lua, error: Value, limits: &Limits) -> mlua::Result<Value> {
    let wants_memory = match &error {
        Value::Error(error) => is_for_want_of_memory(error),
        // So Lua itself says it.
        Value::String(text) => *text.as_bytes() == *b"not enough memory",
        _ => false,
    };
    if wants_memory {
        limits.exceed("much memory")?;
    }
    if let Some(exceeded) = limits.exceeded() {
        return Err(exceeded);
    }
    match error {
        Value::Error(error) => Ok(Value::String(lua.create_string(super::message_of(&error))?)),
        other => Ok(other),
    }
}
