//! Which bodies are compressed that go one way.

use weir_http1::Headers;
use weir_http1::header::CONTENT_TYPE;
use weir_xds::compressor::compressor::CommonDirectionConfig;

use super::super::coding::switch;
use crate::error::CompileError;
use crate::text_match::TextMatch;

/// Which bodies are compressed.
#[derive(Debug, Clone)]
pub(super) struct Direction {
    /// Whether any are.
    pub(super) enabled: bool,
    /// Those that are not known to be smaller.
    least: u64,
    /// Those whose content is of such a type.
    types: Types,
}

#[derive(Debug, Clone)]
enum Types {
    Listed(Box<[Box<str>]>),
    Matching(Box<[TextMatch]>),
}

/// The least, where none is said or it is zero.
const LEAST: u64 = 30;

/// The types, where none are said.
const TYPES: &[&str] = &[
    "application/ecmascript",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/javascript",
    "application/json",
    "application/x-javascript",
    "application/x-json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/ecmascript",
    "text/html",
    "text/javascript",
    "text/js",
    "text/jscript",
    "text/plain",
    "text/x-javascript",
    "text/x-js",
    "text/xml",
];

impl Direction {
    #[allow(deprecated)] // The older form is what people publish.
    pub(super) fn compile(message: Option<&CommonDirectionConfig>) -> Result<Self, CompileError> {
        let nothing = CommonDirectionConfig::default();
        let CommonDirectionConfig { enabled, min_content_length, content_type, content_type_matcher } = message.unwrap_or(&nothing);
        let types = if content_type_matcher.is_empty() {
            Types::Listed(match content_type.as_slice() {
                [] => TYPES.iter().map(|kind| Box::from(*kind)).collect(),
                listed => listed.iter().map(|kind| Box::from(kind.as_str())).collect(),
            })
        } else {
            let compile = |(i, matcher)| {
                TextMatch::compile(matcher).map_err(|error: CompileError| error.within(&format!("content_type_matcher[{i}]")))
            };
            Types::Matching(content_type_matcher.iter().enumerate().map(compile).collect::<Result<_, _>>()?)
        };
        Ok(Self {
            enabled: switch(enabled.as_ref(), "enabled")?,
            least: min_content_length.filter(|least| *least > 0).map_or(LEAST, u64::from),
            types,
        })
    }

    /// Whether a body is compressed that is so long, as far as that is known.
    pub(super) fn takes_length(&self, length: Option<u64>) -> bool {
        length.is_none_or(|length| length >= self.least)
    }

    /// Whether content of the type that a head names is compressed. Content of no type is.
    pub(super) fn takes_type(&self, headers: &Headers) -> bool {
        let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        match &self.types {
            Types::Listed(listed) => listed.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(kind)),
            Types::Matching(matchers) => matchers.iter().any(|matcher| matcher.matches(kind)),
        }
    }
}
