//! Values that filters and logs are to know of a request, taken from its headers and those of its answer: Envoy's
//! header-to-metadata filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_to_metadata_filter>).

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::header_to_metadata::Config;
use weir_xds::header_to_metadata::config::{KeyValuePair, Rule as XdsRule, ValueEncode, ValueType};
use weir_xds::prost_types::Value;
use weir_xds::prost_types::value::Kind;

use super::Policy;
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::request::{RequestHead, cookie};
use crate::substitution::Substitution;
use crate::template::Field;

/// Where values are written that name no namespace.
const OWN_NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

/// Longer values are passed over, as in Envoy.
const LONGEST: usize = 8 * 1024 - 1;

/// Clients may leave out what pads.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What is taken from requests and from answers.
#[derive(Debug, Clone)]
pub struct TakingPolicy {
    of_requests: Box<[Rule]>,
    of_answers: Box<[Rule]>,
}

/// What a route says, which takes the place of what the filter says; it must say something.
#[derive(Debug, Clone)]
pub struct RoutePolicy(TakingPolicy);

/// What is written about one header or cookie.
#[derive(Debug, Clone)]
struct Rule {
    source: Source,
    /// Whether nobody else is to see the header.
    is_removed: bool,
    if_present: Option<Write>,
    if_missing: Option<Write>,
}

#[derive(Debug, Clone)]
enum Source {
    Field(Field),
    Cookie(Box<str>),
}

/// A value that is written.
#[derive(Debug, Clone)]
struct Write {
    namespace: Box<str>,
    key: Box<str>,
    content: Content,
    is_number: bool,
    is_base64: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Fixed(Box<str>),
    Taken,
    Rewritten(Substitution),
}

/// What a rule looks at.
#[derive(Clone, Copy)]
enum Head<'h> {
    Request(&'h RequestHead<'h>),
    Answer(u16, &'h Headers),
}

impl Policy for TakingPolicy {
    type Message = Config;

    fn compile(message: &Config) -> Result<Self, CompileError> {
        // Nothing is counted by a prefix.
        let Config { request_rules, response_rules, stat_prefix: _ } = message;
        let all = |field: &str, rules: &[XdsRule]| {
            let one = |(i, rule)| Rule::compile(rule).map_err(|error: CompileError| error.within(&format!("{field}[{i}]")));
            rules.iter().enumerate().map(one).collect::<Result<_, _>>()
        };
        Ok(Self { of_requests: all("request_rules", request_rules)?, of_answers: all("response_rules", response_rules)? })
    }
}

impl Policy for RoutePolicy {
    type Message = Config;

    fn compile(message: &Config) -> Result<Self, CompileError> {
        if message.request_rules.is_empty() && message.response_rules.is_empty() {
            return Err(CompileError::missing("request_rules"));
        }
        TakingPolicy::compile(message).map(Self)
    }
}

impl RoutePolicy {
    /// What is taken.
    pub fn policy(&self) -> &TakingPolicy {
        &self.0
    }
}

impl Rule {
    fn compile(message: &XdsRule) -> Result<Self, CompileError> {
        let XdsRule { header, cookie, on_header_present, on_header_missing, remove } = message;
        let source = match (header.as_str(), cookie.as_str()) {
            ("", "") => return Err(CompileError::missing("header")),
            ("", cookie) => Source::Cookie(cookie.into()),
            (header, "") => {
                let field = Field::named(header);
                Source::Field(field.ok_or_else(|| CompileError::new("header", format!("`{header}` is no name of a header")))?)
            }
            _ => return Err(CompileError::new("cookie", "stands beside a header")),
        };
        // Envoy fails requests that have lost their path on the way.
        if *remove && !matches!(source, Source::Field(Field::Header(_))) {
            return Err(CompileError::new("remove", "is for headers, and not for cookies and what begins with a colon"));
        }
        if on_header_present.is_none() && on_header_missing.is_none() {
            return Err(CompileError::missing("on_header_present"));
        }
        let write = |field: &str, message: &Option<KeyValuePair>| {
            message.as_ref().map(Write::compile).transpose().map_err(|error: CompileError| error.within(field))
        };
        if on_header_missing.as_ref().is_some_and(|missing| missing.value.is_empty()) {
            return Err(CompileError::missing("on_header_missing.value"));
        }
        if on_header_present.as_ref().is_some_and(|present| !present.value.is_empty() && present.regex_value_rewrite.is_some()) {
            return Err(CompileError::new("on_header_present.regex_value_rewrite", "stands beside a value"));
        }
        Ok(Self {
            source,
            is_removed: *remove,
            if_present: write("on_header_present", on_header_present)?,
            if_missing: write("on_header_missing", on_header_missing)?,
        })
    }
}

impl Write {
    fn compile(message: &KeyValuePair) -> Result<Self, CompileError> {
        let KeyValuePair { metadata_namespace, key, value, regex_value_rewrite, r#type, encode } = message;
        if key.is_empty() {
            return Err(CompileError::missing("key"));
        }
        let rewrite = regex_value_rewrite.as_ref().map(Substitution::compile).transpose();
        let content = match (value.as_str(), rewrite.map_err(|error| error.within("regex_value_rewrite"))?) {
            ("", None) => Content::Taken,
            ("", Some(rewrite)) => Content::Rewritten(rewrite),
            (fixed, _) => Content::Fixed(fixed.into()),
        };
        let is_number = match ValueType::try_from(*r#type) {
            Ok(ValueType::String) => false,
            Ok(ValueType::Number) => true,
            Ok(ValueType::ProtobufValue) => return Err(CompileError::unsupported("type")),
            Err(_) => return Err(CompileError::new("type", "is not known")),
        };
        let namespace = if metadata_namespace.is_empty() { OWN_NAMESPACE } else { metadata_namespace };
        let is_base64 = *encode == ValueEncode::Base64 as i32;
        Ok(Self { namespace: namespace.into(), key: key.as_str().into(), content, is_number, is_base64 })
    }

    /// The value, if what there is comes to one.
    fn value(&self, taken: &str) -> Option<Value> {
        let text = match &self.content {
            Content::Fixed(text) => Cow::Borrowed(&**text),
            Content::Taken => Cow::Borrowed(taken),
            Content::Rewritten(rewrite) => Cow::Owned(rewrite.apply(taken)),
        };
        if text.len() > LONGEST {
            return None;
        }
        let text = match self.is_base64 {
            true => String::from_utf8_lossy(&BASE64.decode(&*text).ok()?).into_owned(),
            false => text.into_owned(),
        };
        if text.is_empty() {
            return None;
        }
        let kind = if self.is_number { Kind::NumberValue(text.trim().parse().ok()?) } else { Kind::StringValue(text) };
        Some(Value { kind: Some(kind) })
    }
}

impl TakingPolicy {
    /// Writes what is taken from a request. Gives the headers that are to be removed from it.
    pub fn on_request(&self, head: &RequestHead<'_>, all: &mut DynamicMetadata) -> Vec<HeaderName> {
        take(&self.of_requests, Head::Request(head), all)
    }

    /// Writes what is taken from an answer. Gives the headers that are to be removed from it.
    pub fn on_answer(&self, status: u16, headers: &Headers, all: &mut DynamicMetadata) -> Vec<HeaderName> {
        take(&self.of_answers, Head::Answer(status, headers), all)
    }
}

/// A header that one rule removes is missing for those after it.
fn take(rules: &[Rule], head: Head<'_>, all: &mut DynamicMetadata) -> Vec<HeaderName> {
    let mut removed = vec![];
    for rule in rules {
        let value = match &rule.source {
            Source::Field(Field::Header(name)) if removed.contains(name) => None,
            source => head.value(source),
        };
        let write = if value.is_some() { &rule.if_present } else { &rule.if_missing };
        if let Some(write) = write
            && let Some(value) = write.value(value.as_deref().unwrap_or_default())
        {
            all.entry(write.namespace.to_string()).or_default().fields.insert(write.key.to_string(), value);
        }
        if let (Source::Field(Field::Header(name)), true, true) = (&rule.source, rule.is_removed, value.is_some()) {
            removed.push(name.clone());
        }
    }
    removed
}

impl<'h> Head<'h> {
    fn value(self, source: &Source) -> Option<Cow<'h, str>> {
        match (source, self) {
            (Source::Cookie(name), _) => {
                let value = cookie(self.headers(), name).filter(|value| !value.is_empty());
                value.map(String::from_utf8_lossy)
            }
            (Source::Field(Field::Header(name)), _) => joined(self.headers(), name),
            (Source::Field(Field::Method), Self::Request(head)) => Some(head.method.into()),
            (Source::Field(Field::Path), Self::Request(head)) => Some(head.path.into()),
            (Source::Field(Field::Authority), Self::Request(head)) => Some(head.authority.into()),
            (Source::Field(Field::Scheme), Self::Request(head)) => Some(head.scheme.into()),
            (Source::Field(Field::Status), Self::Answer(status, _)) => Some(status.to_string().into()),
            (Source::Field(_), _) => None,
        }
    }

    fn headers(self) -> &'h Headers {
        match self {
            Self::Request(head) => head.headers,
            Self::Answer(_, headers) => headers,
        }
    }
}

fn joined<'h>(headers: &'h Headers, name: &HeaderName) -> Option<Cow<'h, str>> {
    let mut values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
    let first = values.next()?;
    Some(values.fold(first, |all, value| Cow::Owned(format!("{all},{value}"))))
}

#[cfg(test)]
mod tests;
