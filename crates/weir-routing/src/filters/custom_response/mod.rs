//! Answers that take the place of others: Envoy's custom response filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/custom_response_filter>).

use http::StatusCode;
use weir_xds::Any;
use weir_xds::core::substitution_format_string::Format;
use weir_xds::core::{DataSource, SubstitutionFormatString, data_source};
use weir_xds::custom_response::CustomResponse;
use weir_xds::envoy::extensions::http::custom_response::local_response_policy::v3::LocalResponsePolicy;
use weir_xds::envoy::extensions::http::custom_response::local_response_policy::v3::local_response_policy::ResponseCodeDetailsAction;

use super::{Levels, Policy};
use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::source::text_of;
use crate::template::Template;

mod matcher;

pub use matcher::Answer;
use matcher::Matcher;

/// Which answers are replaced, and by what. A route's are asked before the filter's.
#[derive(Debug, Clone)]
pub struct CustomResponsePolicy(Option<Matcher<Replacement>>);

/// What takes the place of an answer.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The status, where it is another.
    pub status: Option<StatusCode>,
    /// The body; there is none where none is said.
    pub body: Box<[u8]>,
    /// What the body is made into.
    pub format: Option<Template>,
    /// What is written into its head.
    pub headers: HeaderChanges,
    /// What the log is told.
    pub details: Details,
}

/// What the log is told of why an answer is as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Details {
    /// What it would have been told of the answer that is replaced.
    Kept,
    /// This.
    Told(Box<str>),
}

impl Policy for CustomResponsePolicy {
    type Message = CustomResponse;

    fn compile(message: &CustomResponse) -> Result<Self, CompileError> {
        let CustomResponse { custom_response_matcher } = message;
        let compile = |matcher| Matcher::compile(matcher, &Replacement::compile);
        let matcher = custom_response_matcher.as_ref().map(compile).transpose();
        matcher.map(Self).map_err(|error| error.within("custom_response_matcher"))
    }
}

impl CustomResponsePolicy {
    /// What takes the place of an answer, if anything does. `name` is the filter's.
    pub fn find<'p>(&'p self, levels: &Levels<'p>, name: &str, answer: &Answer<'_>) -> Option<&'p Replacement> {
        let policies = levels.all::<Self>(name).rev().chain([self]);
        policies.filter_map(|Self(matcher)| matcher.as_ref()).find_map(|matcher| matcher.find(answer))
    }
}

impl Replacement {
    fn compile(action: &Any) -> Result<Self, CompileError> {
        if !action.is::<LocalResponsePolicy>() {
            return Err(CompileError::new("", format!("the policy `{}` is not supported", action.type_name())));
        }
        let LocalResponsePolicy { body, body_format, status_code, response_headers_to_add, response_code_details_action } =
            action.unpack().map_err(|error| CompileError::new("", error.to_string()))?;
        let status = status_code.map(|code| {
            let code = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            let status = code.and_then(|code| StatusCode::from_u16(code).ok());
            status.ok_or_else(|| CompileError::new("status_code", "is no status of an answer"))
        });
        let body = body.as_ref().map(text_of).transpose().map_err(|error| error.within("body"))?;
        let details = match response_code_details_action {
            None => Details::Told(Box::default()),
            Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(true)) => Details::Kept,
            Some(ResponseCodeDetailsAction::PreserveResponseCodeDetails(false)) => {
                return Err(CompileError::new("preserve_response_code_details", "must be true"));
            }
            Some(ResponseCodeDetailsAction::ResponseCodeDetails(details)) if details.is_empty() => {
                return Err(CompileError::missing("response_code_details"));
            }
            Some(ResponseCodeDetailsAction::ResponseCodeDetails(details)) => Details::Told(details.into()),
        };
        Ok(Self {
            status: status.transpose()?,
            body: body.unwrap_or_default(),
            format: body_format.as_ref().map(template).transpose().map_err(|error| error.within("body_format"))?,
            headers: HeaderChanges::compile(&response_headers_to_add, &[]).map_err(|error| error.within("response_headers_to_add"))?,
            details,
        })
    }
}

/// What a text is made into. The type of its content is not looked at, as in Envoy.
#[allow(deprecated)] // The older form is what people publish.
fn template(format: &SubstitutionFormatString) -> Result<Template, CompileError> {
    let SubstitutionFormatString { omit_empty_values: _, content_type: _, formatters: _, json_format_options: _, format } = format;
    match format {
        Some(Format::TextFormat(text)) => Template::compile(text).map_err(|error| error.within("text_format")),
        Some(Format::TextFormatSource(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text)),
            watched_directory: _,
        })) => Template::compile(text).map_err(|error| error.within("text_format_source")),
        Some(Format::TextFormatSource(_)) => Err(CompileError::new("text_format_source", "is not inline, which is not supported")),
        Some(Format::JsonFormat(_)) => Err(CompileError::unsupported("json_format")),
        None => Err(CompileError::missing("format")),
    }
}

#[cfg(test)]
mod tests;
