//! `httpCall()`: requests that scripts send themselves.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mlua::{Error, Lua, MultiValue, Table, Value};
use weir_config::head::Head;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers};

use super::headers::{Fields, status};
use super::stream::Stream;
use crate::http::local_reply::LocalReply;
use crate::http::side_call::{self, SideCallError, SideRequest};
use crate::upstream::clusters::Clusters;

/// How long the answer to one may be; it becomes a value of the script.
const LONGEST: usize = 16 << 20;
/// How large a table of headers may be.
const HEADERS: usize = 1 << 20;
/// What a request takes that is under way, besides its body.
const UNDER_WAY: usize = 16 << 10;
/// How long one may take at most: a script can ask for more time than a clock can tell.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one may take that nobody waits for: it must not be kept for ever.
const UNWATCHED: Duration = Duration::from_secs(60);

/// A request that a script sends.
pub(super) struct HttpCall {
    cluster: String,
    head: Head,
    body: Option<Bytes>,
    options: Options,
}

/// How it is sent.
#[derive(Default)]
struct Options {
    timeout: Option<Duration>,
    asynchronous: bool,
    /// Whether all values of a header are told, and not only the last.
    all_values: bool,
    hides_address: bool,
}

/// What it was answered.
pub(super) struct Answered {
    status: StatusCode,
    headers: Headers,
    body: Bytes,
    all_values: bool,
}

/// What stands in a table of headers: a name and a value, or several values.
fn of_table(lua: &Lua, stream: &Stream, table: &Table, mut found: impl FnMut(&[u8], &[u8]) -> mlua::Result<()>) -> mlua::Result<()> {
    let text = |value: Value, what: &str| match lua.coerce_string(value.clone())? {
        Some(text) => Ok(text),
        None => Err(Error::runtime(format!("the {what} must be a string, and not a {}", value.type_name()))),
    };
    let mut size = 0_usize;
    let mut found = |name: &[u8], value: &[u8]| {
        size += name.len() + value.len();
        if size > HEADERS {
            return Err(stream.refuse("the headers are too large"));
        }
        found(name, value)
    };
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = key else { return Err(Error::runtime("the header key must be a string")) };
        match value {
            Value::Table(values) => {
                for value in values.pairs::<Value, Value>() {
                    found(&key.as_bytes(), &text(value?.1, "header value")?.as_bytes())?;
                }
            }
            value => found(&key.as_bytes(), &text(value, "header value")?.as_bytes())?,
        }
    }
    Ok(())
}

/// An answer that a script gives: to a client, in place of an instance's.
pub(super) fn reply(lua: &Lua, stream: &Stream, table: &Table, body: Option<mlua::String>) -> mlua::Result<LocalReply> {
    let (mut told, mut headers) = (None, vec![]);
    of_table(lua, stream, table, |name, value| {
        if name == b":status" {
            told = Some(status(value)?);
            return Ok(());
        }
        headers.push(stream.refused_if(field(name, value))?);
        Ok(())
    })?;
    let told = told.ok_or_else(|| Error::runtime(":status must be between 200-599"))?;
    let body = body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body.as_bytes()));
    let mut reply = LocalReply::new(told, body);
    headers.retain(|(name, _)| *name != header::CONTENT_LENGTH);
    reply.headers.extend(headers);
    Ok(reply)
}

fn field(name: &[u8], value: &[u8]) -> mlua::Result<(HeaderName, HeaderValue)> {
    let named = HeaderName::from_bytes(name).ok().zip(HeaderValue::from_bytes(value).ok());
    named.ok_or_else(|| Error::runtime(format!("`{}: {}` is no valid header", super::printable(name), super::printable(value))))
}

impl HttpCall {
    /// Reads what a script asks for: cluster, headers, body, and then the timeout and whether it waits, or options.
    pub(super) fn read(lua: &Lua, stream: &Stream, arguments: Arguments) -> mlua::Result<Self> {
        let (cluster, table, body, how, asynchronous) = arguments;
        let options = match how {
            Value::Table(options) => Options::of_table(lua, &options)?,
            timeout => Options::of_flags(lua, timeout, asynchronous)?,
        };
        let cluster = cluster.to_string_lossy();
        if stream.http.clusters.get(&cluster).is_none() {
            return Err(Error::runtime("http call cluster invalid. Must be configured"));
        }
        let body = body.map(|body| Bytes::copy_from_slice(&body.as_bytes()));
        let head = Self::head(lua, stream, &table, body.as_ref().map(Bytes::len))?;
        Ok(Self { cluster, head, body, options })
    }

    fn head(lua: &Lua, stream: &Stream, table: &Table, length: Option<usize>) -> mlua::Result<Head> {
        let mut head = Head::default();
        let mut told = [(&b":method"[..], false), (b":path", false), (b":authority", false)];
        of_table(lua, stream, table, |name, value| {
            let known = told.iter_mut().find(|(known, _)| name.eq_ignore_ascii_case(known));
            let is_authority = known.as_ref().is_some_and(|(known, _)| *known == b":authority");
            if let Some((_, told)) = known {
                *told = true;
            }
            let fields = Fields::Request(&mut head);
            let set = match name.starts_with(b":") && !is_authority {
                true => fields.replace(name, value),
                // The authority and `host` are one, also where a script tells both.
                false => fields.add(name, value),
            };
            stream.refused_if(set)
        })?;
        if told.iter().any(|(_, told)| !told) {
            return Err(Error::runtime("http call headers must include ':path', ':method', and ':authority'"));
        }
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONTENT_LENGTH);
        if let Some(length) = length {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(head)
    }

    /// What it takes as long as it is under way.
    pub(super) fn size(&self) -> usize {
        UNDER_WAY + self.body.as_ref().map_or(0, Bytes::len)
    }

    /// Whether the script goes on at once.
    pub(super) fn is_asynchronous(&self) -> bool {
        self.options.asynchronous
    }

    /// Sends it. Whatever becomes of it is an answer, as with Envoy's client.
    pub(super) async fn send(self, clusters: Rc<Clusters>) -> Answered {
        let Self { cluster, head, body, options } = self;
        let timeout = options.timeout.or(options.asynchronous.then_some(UNWATCHED));
        let mut request = SideRequest { head, body: body.unwrap_or_default(), timeout, most: LONGEST };
        request.sign();
        if !options.hides_address {
            request.sign_with_address();
        }
        let all_values = options.all_values;
        match side_call::call(&clusters, &cluster, request).await {
            Ok(answer) => Answered { status: answer.head.status, headers: answer.head.headers, body: answer.body, all_values },
            Err(SideCallError::NoAnswer(failure)) => {
                let told = failure.told(false);
                let headers = Headers::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
                Answered { status: told.status, headers, body: told.body, all_values }
            }
            Err(SideCallError::NoCluster | SideCallError::BrokenOff | SideCallError::TooLarge) => {
                let body = Bytes::from_static(b"upstream failure");
                Answered { status: StatusCode::SERVICE_UNAVAILABLE, headers: Headers::new(), body, all_values }
            }
        }
    }

    /// Sends it, and lets nobody wait for it.
    pub(super) fn send_unwatched(self, stream: &Stream) {
        let clusters = stream.http.clusters.clone();
        let open = clusters.shared.connections.enter();
        tokio::task::spawn_local(async move {
            let _open = open;
            drop(self.send(clusters).await);
        });
    }
}

/// What `httpCall()` is given.
pub(super) type Arguments = (mlua::String, Table, Option<mlua::String>, Value, Value);

fn milliseconds(lua: &Lua, value: Value) -> mlua::Result<Option<Duration>> {
    let number = lua.coerce_number(value)?.ok_or_else(|| Error::runtime("http call timeout must be a number"))?;
    if number.is_nan() || number < 0.0 {
        return Err(Error::runtime("http call timeout must be >= 0"));
    }
    let timeout = Duration::try_from_secs_f64(number.trunc() / 1000.0).map_or(LONGEST_TIME, |timeout| timeout.min(LONGEST_TIME));
    // Zero means that there is no limit.
    Ok(Some(timeout).filter(|timeout| !timeout.is_zero()))
}

fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Boolean(false))
}

impl Options {
    fn of_flags(lua: &Lua, timeout: Value, asynchronous: Value) -> mlua::Result<Self> {
        let asynchronous = match asynchronous {
            Value::Nil => false,
            Value::Boolean(flag) => flag,
            _ => return Err(Error::runtime("http call asynchronous flag must be 'true', 'false', or empty")),
        };
        Ok(Self { timeout: milliseconds(lua, timeout)?, asynchronous, ..Self::default() })
    }

    fn of_table(lua: &Lua, table: &Table) -> mlua::Result<Self> {
        let mut options = Self::default();
        for pair in table.pairs::<mlua::String, Value>() {
            let (key, value) = pair?;
            match &*key.as_bytes() {
                b"asynchronous" => options.asynchronous = is_true(&value),
                b"timeout_ms" => options.timeout = milliseconds(lua, value)?,
                // Nothing is traced.
                b"trace_sampled" => {}
                b"return_duplicate_headers" => options.all_values = is_true(&value),
                b"send_xff" => options.hides_address = !is_true(&value),
                other => {
                    let what = format!("\"{}\" is not valid key for httpCall() options", super::printable(other));
                    return Err(Error::runtime(what));
                }
            }
        }
        Ok(options)
    }
}

impl Answered {
    /// For the script: a table of headers, and the body if there is one.
    pub(super) fn into_values(self, lua: &Lua) -> mlua::Result<MultiValue> {
        let Self { status, headers, body, all_values } = self;
        let table = lua.create_table()?;
        table.raw_set(":status", status.as_str())?;
        let mut values: BTreeMap<&str, Vec<&HeaderValue>> = BTreeMap::new();
        for (name, value) in &headers {
            values.entry(name.as_str()).or_default().push(value);
        }
        for (name, values) in values {
            let text = |value: &&HeaderValue| lua.create_string(value.as_bytes());
            match values.as_slice() {
                [_, _, ..] if all_values => table.raw_set(name, values.iter().map(text).collect::<mlua::Result<Vec<_>>>()?)?,
                [.., last] => table.raw_set(name, text(last)?)?,
                [] => {}
            }
        }
        let body = if body.is_empty() { Value::Nil } else { Value::String(lua.create_string(&body)?) };
        Ok(MultiValue::from_iter([Value::Table(table), body]))
    }
}
