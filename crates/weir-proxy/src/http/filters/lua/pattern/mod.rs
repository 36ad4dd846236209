//! The functions of `string` that search for patterns, and the one that makes long strings of short ones.

mod matcher;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use memchr::memmem;
use mlua::{Error, Function, Lua, MultiValue, Table, Value};

use super::limits::Limits;
use matcher::{Capture, Matcher};

/// What `string.rep` and `string.gsub` may make.
const LONGEST: usize = 32 << 20;
/// What a script is told that makes a longer one.
const TOO_LONG: &str = "much memory for one string";

/// Puts them into the place of the library's own.
pub(super) fn replace(lua: &Lua, strings: &Table, limits: &Rc<Limits>) -> mlua::Result<()> {
    let own = limits.clone();
    strings.set("find", lua.create_function(move |lua, arguments: Search| find(lua, &arguments, true, &own))?)?;
    let own = limits.clone();
    strings.set("match", lua.create_function(move |lua, arguments: Search| find(lua, &arguments, false, &own))?)?;
    let own = limits.clone();
    let gmatch = lua.create_function(move |lua, (subject, pattern)| each(lua, subject, pattern, own.clone()))?;
    strings.set("gmatch", gmatch)?;
    strings.set("gfind", Value::Nil)?;
    let own = limits.clone();
    strings.set("gsub", lua.create_function(move |lua, arguments: Substitution| substitute(lua, &arguments, &own))?)?;
    let own = limits.clone();
    strings.set("rep", lua.create_function(move |lua, arguments: Repetition| repeat(lua, arguments, &own))?)
}

/// Subject, pattern, where to begin, whether the pattern is a plain text.
type Search = (mlua::String, mlua::String, Option<i64>, Option<bool>);
/// Subject, pattern, what to put in its place, how often at most.
type Substitution = (mlua::String, mlua::String, Value, Option<i64>);

/// A text, how often, what stands between.
type Repetition = (mlua::String, i64, Option<mlua::String>);

/// A position as Lua counts: from 1, or from the end; none behind that.
fn position(start: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let at = if start > 0 {
        start - 1
    } else if start == 0 {
        0
    } else {
        length.saturating_add(start).max(0)
    };
    usize::try_from(at).ok().filter(|_| at <= length)
}

fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// Where a pattern is found, and what it captures; or only that.
fn find(lua: &Lua, (subject, pattern, start, plain): &Search, positions: bool, limits: &Limits) -> mlua::Result<MultiValue> {
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let Some(start) = position(start.unwrap_or(1), subject.len()) else { return Ok(nothing()) };
    if positions && (*plain == Some(true) || is_plain(&pattern)) {
        limits.charge(subject.len() as u64 / 16)?;
        let found = memmem::find(subject.get(start..).unwrap_or_default(), &pattern).map(|at| start + at);
        return Ok(found.map_or_else(nothing, |at| bounds(at, at + pattern.len())));
    }
    let (mut matcher, found);
    match pattern.strip_prefix(b"^") {
        Some(rest) => {
            matcher = Matcher::new(&subject, rest, limits);
            found = matcher.at(start)?.map(|end| (start, end));
        }
        None => {
            matcher = Matcher::new(&subject, &pattern, limits);
            found = matcher.from(start)?;
        }
    }
    let Some((start, end)) = found else { return Ok(nothing()) };
    let mut values = if positions { bounds(start, end) } else { MultiValue::new() };
    if !positions || matcher.has_captures() {
        for capture in matcher.captures(start, end) {
            values.push_back(value(lua, &subject, capture)?);
        }
    }
    Ok(values)
}

fn nothing() -> MultiValue {
    MultiValue::from_iter([Value::Nil])
}

fn bounds(start: usize, end: usize) -> MultiValue {
    MultiValue::from_iter([Value::Number((start + 1) as f64), Value::Number(end as f64)])
}

fn value(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    Ok(match capture {
        Capture::Text(start, end) => Value::String(lua.create_string(subject.get(start..end).unwrap_or_default())?),
        Capture::Position(at) => Value::Number((at + 1) as f64),
        Capture::Open(_) => return Err(Error::runtime("unfinished capture")),
    })
}

/// An iterator over all matches.
fn each(lua: &Lua, subject: mlua::String, pattern: mlua::String, limits: Rc<Limits>) -> mlua::Result<Function> {
    let next = Cell::new(0);
    lua.create_function(move |lua, ()| {
        let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
        let mut matcher = Matcher::new(&subject, &pattern, &limits);
        let Some((start, end)) = matcher.from(next.get())? else {
            next.set(subject.len() + 1);
            return Ok(nothing());
        };
        next.set(if end == start { end + 1 } else { end });
        matcher.captures(start, end).into_iter().map(|capture| value(lua, &subject, capture)).collect()
    })
}

/// Puts something else in the place of matches; the result, and how many there were.
fn substitute(lua: &Lua, (subject, pattern, replacement, most): &Substitution, limits: &Limits) -> mlua::Result<(mlua::String, usize)> {
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let replacement = Replacement::of(lua, replacement)?;
    let anchored = pattern.strip_prefix(b"^");
    let mut matcher = Matcher::new(&subject, anchored.unwrap_or(&pattern), limits);
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or_default());
    let mut out = Output { bytes: Vec::with_capacity(subject.len()), limits };
    let (mut at, mut count) = (0, 0);
    while count < most {
        let found = matcher.at(at)?;
        if let Some(end) = found {
            count += 1;
            replacement.append(lua, &subject, (at, end), &matcher, &mut out)?;
        }
        match found {
            Some(end) if end > at => at = end,
            _ => match subject.get(at) {
                Some(byte) => {
                    out.bytes.push(*byte);
                    at += 1;
                }
                None => break,
            },
        }
        if anchored.is_some() {
            break;
        }
    }
    out.append(subject.get(at..).unwrap_or_default())?;
    Ok((lua.create_string(out.bytes)?, count))
}

/// What is put in the place of matches.
enum Replacement {
    Text(Vec<u8>),
    Table(Table),
    Function(Function),
}

impl Replacement {
    fn of(lua: &Lua, value: &Value) -> mlua::Result<Self> {
        match value {
            Value::Table(table) => Ok(Self::Table(table.clone())),
            Value::Function(function) => Ok(Self::Function(function.clone())),
            other => match lua.coerce_string(other.clone())? {
                Some(text) => Ok(Self::Text(text.as_bytes().to_vec())),
                None => {
                    let what = format!("bad argument #3 to 'gsub' (string/function/table expected, got {})", other.type_name());
                    Err(Error::runtime(what))
                }
            },
        }
    }

    fn append(
        &self,
        lua: &Lua,
        subject: &[u8],
        (start, end): (usize, usize),
        matcher: &Matcher<'_>,
        out: &mut Output<'_>,
    ) -> mlua::Result<()> {
        let captures = matcher.captures(start, end);
        let made = match self {
            Self::Text(text) => return append_text(text, subject, (start, end), &captures, out),
            Self::Table(table) => {
                let key = captures.first().map_or(Ok(Value::Nil), |capture| value(lua, subject, *capture))?;
                table.get::<Value>(key)?
            }
            Self::Function(function) => {
                let captured = captures.iter().map(|capture| value(lua, subject, *capture)).collect::<mlua::Result<MultiValue>>()?;
                function.call::<Value>(captured)?
            }
        };
        match made {
            Value::Nil | Value::Boolean(false) => out.append(subject.get(start..end).unwrap_or_default()),
            made => match lua.coerce_string(made.clone())? {
                Some(text) => out.append(&text.as_bytes()),
                None => Err(Error::runtime(format!("invalid replacement value (a {})", made.type_name()))),
            },
        }
    }
}

/// What is made of a text. It stands outside of Lua, whose limits do not see it.
struct Output<'l> {
    bytes: Vec<u8>,
    limits: &'l Limits,
}

impl Output<'_> {
    /// Adds to it.
    ///
    /// # Errors
    /// If it grows too long, or takes too many steps.
    fn append(&mut self, more: &[u8]) -> mlua::Result<()> {
        self.limits.charge(more.len() as u64 / 16)?;
        if self.bytes.len() + more.len() > LONGEST {
            return self.limits.exceed(TOO_LONG);
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

/// A text in which `%1` is what was captured first, and `%0` all that was found.
fn append_text(text: &[u8], subject: &[u8], (start, end): (usize, usize), captures: &[Capture], out: &mut Output<'_>) -> mlua::Result<()> {
    // Captures may be empty, so that going over the text is all the work.
    out.limits.charge(1 + text.len() as u64 / 16)?;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.append(&[*byte])?;
            continue;
        }
        match bytes.next() {
            Some(b'0') => out.append(subject.get(start..end).unwrap_or_default())?,
            Some(digit @ b'1'..=b'9') => match captures.get(usize::from(digit - b'1')) {
                Some(Capture::Text(start, end)) => out.append(subject.get(*start..*end).unwrap_or_default())?,
                Some(Capture::Position(at)) => out.append((at + 1).to_string().as_bytes())?,
                Some(Capture::Open(_)) => return Err(Error::runtime("unfinished capture")),
                None => return Err(Error::runtime("invalid capture index")),
            },
            Some(other) => out.append(&[*other])?,
            None => {}
        }
    }
    Ok(())
}

/// A string several times, with another between.
fn repeat(lua: &Lua, (text, count, between): Repetition, limits: &Limits) -> mlua::Result<mlua::String> {
    let (text, count) = (text.as_bytes(), usize::try_from(count).unwrap_or_default());
    let between = between.map(|between| between.as_bytes().to_vec()).unwrap_or_default();
    match (text.len() + between.len()).checked_mul(count).filter(|length| *length <= LONGEST) {
        Some(length) => limits.charge(length as u64 / 16)?,
        None => limits.exceed(TOO_LONG)?,
    }
    if text.is_empty() && between.is_empty() {
        return lua.create_string("");
    }
    let mut out = [&text[..], &between].concat().repeat(count);
    out.truncate(out.len().saturating_sub(between.len()));
    lua.create_string(out)
}
