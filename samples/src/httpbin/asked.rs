//! The request, and the JSON that httpbin tells about it. Keys are in alphabetical order, as httpbin.org prints them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::header::{HOST, HeaderMap, USER_AGENT};
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::upload::Upload;
use crate::http::{cookies, pairs};

/// A request that has arrived whole.
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) upload: Upload,
    pub(super) peer: SocketAddr,
}

impl Asked {
    /// What `/get` and each line of `/stream` tell.
    pub(super) fn get(&self) -> Value {
        json!({ "args": self.args(), "headers": self.headers(), "origin": self.origin(), "url": self.url() })
    }

    /// What the endpoints that take a body tell; `/anything` also tells the method.
    pub(super) fn with_upload(&self, method: bool) -> Value {
        let (data, form, parsed) = self.upload.told(&self.head.headers);
        let mut told = Map::new();
        told.insert("args".into(), self.args());
        told.insert("data".into(), data);
        told.insert("files".into(), json!({}));
        told.insert("form".into(), form);
        told.insert("headers".into(), self.headers());
        told.insert("json".into(), parsed);
        if method {
            told.insert("method".into(), self.head.method.as_str().into());
        }
        told.insert("origin".into(), self.origin().into());
        told.insert("url".into(), self.url().into());
        Value::Object(told)
    }

    /// One fact alone.
    pub(super) fn only(&self, name: &str, fact: Value) -> Value {
        json!({ name: fact })
    }

    /// The headers, with names as people write them (`X-Request-Id`).
    pub(super) fn headers(&self) -> Value {
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            told.entry(title_case(name.as_str())).and_modify(|values| *values = format!("{values},{value}")).or_insert(value.into_owned());
        }
        told.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>().into()
    }

    /// The first value of a name in the query.
    pub(super) fn arg(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The query's pairs.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        pairs(self.head.uri.query().unwrap_or_default())
    }

    fn args(&self) -> Value {
        grouped(self.query())
    }

    /// Who asks: as the proxies in front tell it, else the peer.
    pub(super) fn origin(&self) -> String {
        header(&self.head.headers, "x-forwarded-for").unwrap_or_else(|| self.peer.ip().to_string())
    }

    /// The request's user agent, if it has one.
    pub(super) fn user_agent(&self) -> Value {
        header(&self.head.headers, USER_AGENT.as_str()).into()
    }

    /// The request's cookies.
    pub(super) fn cookies(&self) -> Value {
        grouped(cookies(&self.head.headers))
    }

    fn url(&self) -> String {
        let scheme = header(&self.head.headers, "x-forwarded-proto").unwrap_or_else(|| "http".to_owned());
        let authority = header(&self.head.headers, HOST.as_str()).unwrap_or_default();
        let target = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
        format!("{scheme}://{authority}{target}")
    }
}

/// Pairs as an object in alphabetical order; a name that occurs more than once has the list of its values.
pub(super) fn grouped(pairs: Vec<(String, String)>) -> Value {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        groups.entry(name).or_default().push(value);
    }
    let single = |mut values: Vec<String>| match values.len() {
        1 => Value::from(values.swap_remove(0)),
        _ => Value::from(values),
    };
    groups.into_iter().map(|(name, values)| (name, single(values))).collect::<Map<_, _>>().into()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn title_case(name: &str) -> String {
    let mut start = true;
    let letter = |c: char| {
        let cased = if start { c.to_ascii_uppercase() } else { c };
        start = c == '-';
        cased
    };
    name.chars().map(letter).collect()
}
