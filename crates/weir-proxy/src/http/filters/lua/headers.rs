//! The headers of a request or an answer, and trailers, as scripts see them: `:method` and its like are among them.

use std::borrow::Cow;

use http::{Method, StatusCode};
use mlua::{Error, UserData, UserDataMethods};
use weir_config::head::{Head, is_path};
use weir_http1::header::{self, HeaderName, HeaderValue, Headers, NameSet};
use weir_routing::inline_headers::{REQUEST, RESPONSE, append};

use super::stream::{Life, Side, Stream};
use crate::io::response::Parts;

/// Which of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// What stands in its head.
    Head,
    /// What follows its body.
    Trailers,
}

/// Headers, for a script.
pub(super) struct HeaderMap {
    pub(super) life: Life,
    pub(super) which: Which,
}

/// Where they are.
pub(super) enum Fields<'f> {
    Request(&'f mut Head),
    Response(&'f mut Parts),
    Trailers(&'f mut Headers),
}

/// What a message of HTTP/1.1 says in its first line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Method,
    Path,
    Scheme,
    Status,
}

/// What a name stands for.
enum Named {
    Line(Line),
    Header(HeaderName),
    /// No header can have it.
    Nothing,
}

fn invalid(what: &str, text: &[u8]) -> Error {
    Error::runtime(format!("`{}` is no valid {what}", super::printable(text)))
}

impl Stream {
    /// Does something with headers.
    pub(super) fn with_fields<T>(&self, which: Which, look: impl FnOnce(Fields<'_>) -> T) -> T {
        match (which, self.side) {
            (Which::Trailers, _) => look(Fields::Trailers(self.trailers.borrow_mut().get_or_insert_default())),
            (Which::Head, Side::Request) => look(Fields::Request(&mut self.exchange.request.borrow_mut())),
            (Which::Head, Side::Response) => look(Fields::Response(&mut self.head.borrow_mut())),
        }
    }

    /// Tells the length of a body that a script has set.
    pub(super) fn set_length(&self, length: usize) {
        self.with_fields(Which::Head, |fields| drop(fields.headers().insert(header::CONTENT_LENGTH, HeaderValue::from(length))));
    }
}

impl<'f> Fields<'f> {
    fn headers(self) -> &'f mut Headers {
        match self {
            Self::Request(head) => &mut head.headers,
            Self::Response(head) => &mut head.headers,
            Self::Trailers(headers) => headers,
        }
    }

    /// A name is one of the first line, or of a header. The authority is the header `host`, which Envoy knows by both names.
    fn resolve(&self, name: &[u8]) -> Named {
        let own: &[(&[u8], Line)] = match self {
            Self::Request(_) => &[(b":method", Line::Method), (b":path", Line::Path), (b":scheme", Line::Scheme)],
            Self::Response(_) => &[(b":status", Line::Status)],
            Self::Trailers(_) => &[],
        };
        let lower = name.to_ascii_lowercase();
        match own.iter().find(|(known, _)| *known == lower) {
            Some((_, line)) => Named::Line(*line),
            None if lower == b":authority" && matches!(self, Self::Request(_)) => Named::Header(header::HOST),
            None => HeaderName::from_bytes(name).map_or(Named::Nothing, Named::Header),
        }
    }

    fn line(&self, line: Line) -> Vec<u8> {
        match (self, line) {
            (Self::Request(head), Line::Method) => head.method.as_str().into(),
            (Self::Request(head), Line::Path) => head.path.as_bytes().to_vec(),
            (Self::Request(head), Line::Scheme) => head.scheme.as_bytes().to_vec(),
            (Self::Response(head), Line::Status) => head.status.as_str().into(),
            _ => vec![],
        }
    }

    fn values(&self) -> &Headers {
        match self {
            Self::Request(head) => &head.headers,
            Self::Response(head) => &head.headers,
            Self::Trailers(headers) => headers,
        }
    }

    /// The values of a name, in their order.
    pub(super) fn get(&self, name: &[u8]) -> Vec<Vec<u8>> {
        match self.resolve(name) {
            Named::Line(line) => vec![self.line(line)],
            Named::Header(name) => self.values().get_all(&name).iter().map(|value| value.as_bytes().to_vec()).collect(),
            Named::Nothing => vec![],
        }
    }

    /// All names and values, in Envoy's order.
    pub(super) fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = vec![];
        let mut line = |name: &str, line: Line| all.push((name.as_bytes().to_vec(), self.line(line)));
        match self {
            Self::Request(head) => {
                let authority = head.headers.get(header::HOST).map(|value| value.as_bytes().to_vec());
                line(":path", Line::Path);
                line(":method", Line::Method);
                line(":scheme", Line::Scheme);
                if let Some(authority) = authority {
                    all.insert(0, (b":authority".to_vec(), authority));
                }
            }
            Self::Response(_) => line(":status", Line::Status),
            Self::Trailers(_) => {}
        }
        let hides_host = matches!(self, Self::Request(_));
        let others = self.values().iter().filter(|(name, _)| !(hides_host && **name == header::HOST));
        all.extend(others.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())));
        all
    }

    /// Adds a value to those of a name.
    pub(super) fn add(self, name: &[u8], value: &[u8]) -> mlua::Result<()> {
        match self.resolve(name) {
            Named::Line(line) => {
                let joined = [&self.line(line), value].join(&b',');
                self.set_line(line, &joined)
            }
            Named::Header(name) => {
                let value = HeaderValue::from_bytes(value).map_err(|_| invalid("value of a header", value))?;
                let inline = self.inline();
                let headers = self.headers();
                if name == header::HOST
                    && let Some(host) = headers.get(header::HOST)
                {
                    let joined = [host.as_bytes(), value.as_bytes()].join(&b',');
                    let joined = HeaderValue::from_bytes(&joined).map_err(|_| invalid("value of a header", &joined))?;
                    headers.insert(header::HOST, joined);
                } else {
                    append(headers, &name, value, &inline);
                }
                Ok(())
            }
            Named::Nothing => Err(invalid("name of a header", name)),
        }
    }

    /// Puts a value in the place of all that a name has.
    pub(super) fn replace(self, name: &[u8], value: &[u8]) -> mlua::Result<()> {
        match self.resolve(name) {
            Named::Line(line) => self.set_line(line, value),
            Named::Header(name) => {
                let value = HeaderValue::from_bytes(value).map_err(|_| invalid("value of a header", value))?;
                self.headers().insert(&name, value);
                Ok(())
            }
            Named::Nothing => Err(invalid("name of a header", name)),
        }
    }

    /// Takes all values of a name away. Without its first line there is no message: Envoy breaks it off then.
    pub(super) fn remove(self, name: &[u8]) -> mlua::Result<()> {
        match self.resolve(name) {
            Named::Line(_) => Err(Error::runtime(format!("`{}` cannot be removed", super::printable(name)))),
            Named::Header(name) => {
                self.headers().remove(&name);
                Ok(())
            }
            Named::Nothing => Ok(()),
        }
    }

    fn set_line(self, line: Line, value: &[u8]) -> mlua::Result<()> {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match (self, line) {
            (Self::Request(head), Line::Method) => head.method = Method::from_bytes(value).map_err(|_| invalid("method", value))?,
            (Self::Request(head), Line::Path) if is_path(text) => head.path = text.to_owned(),
            (Self::Request(_), Line::Path) => return Err(invalid("path", value)),
            (Self::Request(head), Line::Scheme) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !text.is_empty() => {
                head.scheme = Cow::Owned(text.to_owned());
            }
            (Self::Request(_), _) => return Err(invalid("scheme", value)),
            (Self::Response(head), _) => head.status = status(value)?,
            (Self::Trailers(_), _) => {}
        }
        Ok(())
    }

    /// Which of them are there once.
    fn inline(&self) -> NameSet {
        match self {
            Self::Request(_) => REQUEST,
            Self::Response(_) => RESPONSE,
            Self::Trailers(_) => NameSet::of(&[]),
        }
    }
}

/// The status of an answer that is no interim one.
pub(super) fn status(value: &[u8]) -> mlua::Result<StatusCode> {
    let status = StatusCode::from_bytes(value).ok().filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| Error::runtime(":status must be between 200-599"))
}

impl HeaderMap {
    fn read<T>(&self, look: impl FnOnce(Fields<'_>) -> T) -> mlua::Result<T> {
        Ok(self.life.stream()?.with_fields(self.which, look))
    }

    /// Sets one of them.
    fn set(&self, name: &[u8], value: &[u8], set: fn(Fields<'_>, &[u8], &[u8]) -> mlua::Result<()>) -> mlua::Result<()> {
        // What a header takes besides its text.
        const FIELD: usize = 64;
        self.life.stream()?.spend(FIELD + name.len() + value.len())?;
        self.change(|fields| set(fields, name, value))
    }

    /// Changes them, where they have not gone on.
    fn change(&self, change: impl FnOnce(Fields<'_>) -> mlua::Result<()>) -> mlua::Result<()> {
        let stream = self.life.stream()?;
        if stream.iterating.get() {
            return Err(Error::runtime("header map cannot be modified while iterating"));
        }
        if self.which == Which::Head {
            if stream.continued.get() {
                return Err(Error::runtime("header map can no longer be modified"));
            }
            if stream.clear_route_cache {
                stream.clear_route();
            }
        }
        stream.refused_if(stream.with_fields(self.which, change))
    }
}

impl UserData for HeaderMap {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("add", |_, this, (name, value): (mlua::String, mlua::String)| {
            this.set(&name.as_bytes(), &value.as_bytes(), |fields, name, value| fields.add(name, value))
        });
        methods.add_method("replace", |_, this, (name, value): (mlua::String, mlua::String)| {
            this.set(&name.as_bytes(), &value.as_bytes(), |fields, name, value| fields.replace(name, value))
        });
        methods.add_method("remove", |_, this, name: mlua::String| this.change(|fields| fields.remove(&name.as_bytes())));
        methods.add_method("get", |lua, this, name: mlua::String| {
            let values = this.read(|fields| fields.get(&name.as_bytes()))?;
            let joined = (!values.is_empty()).then(|| lua.create_string(values.join(&b','))).transpose()?;
            super::or_nothing(lua, joined)
        });
        methods.add_method("getAtIndex", |lua, this, (name, index): (mlua::String, i64)| {
            let values = this.read(|fields| fields.get(&name.as_bytes()))?;
            let value = usize::try_from(index).ok().and_then(|index| values.get(index));
            super::or_nothing(lua, value.map(|value| lua.create_string(value)).transpose()?)
        });
        methods.add_method("getNumValues", |_, this, name: mlua::String| this.read(|fields| fields.get(&name.as_bytes()).len()));
        methods.add_method("setHttp1ReasonPhrase", |_, this, phrase: mlua::String| {
            let phrase = HeaderValue::from_bytes(&phrase.as_bytes()).map_err(|_| invalid("reason phrase", &phrase.as_bytes()))?;
            this.change(|fields| {
                if let Fields::Response(head) = fields {
                    head.reason = Some(phrase);
                }
                Ok(())
            })
        });
    }
}
