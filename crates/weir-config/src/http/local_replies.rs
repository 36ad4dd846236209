//! How the proxy's own answers look (`local_reply_config`): other statuses, bodies and headers than usual.

use bytes::Bytes;
use http::StatusCode;
use weir_http1::HeaderValue;
use weir_routing::CompileError;
use weir_routing::header_changes::HeaderChanges;
use weir_xds::core::data_source::Specifier;
use weir_xds::core::substitution_format_string::Format as XdsFormat;
use weir_xds::core::{DataSource, SubstitutionFormatString};
use weir_xds::hcm::{LocalReplyConfig, ResponseMapper};

use crate::log_filter::LogFilter;
use crate::log_format::Format;

/// How the proxy's own answers look.
#[derive(Debug, Clone)]
pub struct LocalReplies {
    /// The first that takes an answer changes it.
    pub mappers: Vec<Mapper>,
    /// How a body is written where no mapper says.
    pub body: Option<BodyFormat>,
}

/// A change of some answers.
#[derive(Debug, Clone)]
pub struct Mapper {
    /// Which answers it takes.
    pub filter: LogFilter,
    /// Their status.
    pub status: Option<StatusCode>,
    /// Their text.
    pub text: Option<Bytes>,
    /// How their body is written.
    pub body: Option<BodyFormat>,
    /// What their headers get.
    pub headers: HeaderChanges,
}

/// How a body is written.
#[derive(Debug, Clone)]
pub struct BodyFormat {
    /// Its form, in which the usual text has a place.
    pub format: Format,
    /// What it is.
    pub content_type: HeaderValue,
}

impl LocalReplies {
    pub(super) fn compile(config: &LocalReplyConfig) -> Result<Self, CompileError> {
        let LocalReplyConfig { mappers, body_format } = config;
        let mappers = mappers.iter().enumerate();
        let mappers = mappers.map(|(i, mapper)| Mapper::compile(mapper).map_err(|error| error.within(&format!("mappers[{i}]"))));
        let body = body_format.as_ref().map(|format| BodyFormat::compile(format).map_err(|error| error.within("body_format")));
        Ok(Self { mappers: mappers.collect::<Result<_, _>>()?, body: body.transpose()? })
    }
}

impl Mapper {
    fn compile(mapper: &ResponseMapper) -> Result<Self, CompileError> {
        let ResponseMapper { filter, status_code, body, body_format_override, headers_to_add } = mapper;
        let filter = filter.as_ref().ok_or_else(|| CompileError::missing("filter"))?;
        let status = status_code.map(|code| {
            let code = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            let status = code.and_then(|code| StatusCode::from_u16(code).ok());
            status.ok_or_else(|| CompileError::new("status_code", "is no status of an answer"))
        });
        let body_format = body_format_override.as_ref().map(BodyFormat::compile).transpose();
        Ok(Self {
            filter: LogFilter::compile(Some(filter))?,
            status: status.transpose()?,
            text: body.as_ref().map(inline).transpose().map_err(|error| error.within("body"))?,
            body: body_format.map_err(|error| error.within("body_format_override"))?,
            headers: HeaderChanges::compile(headers_to_add, &[])?,
        })
    }
}

fn inline(source: &DataSource) -> Result<Bytes, CompileError> {
    match &source.specifier {
        Some(Specifier::InlineString(text)) => Ok(Bytes::from(text.clone())),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        _ => Err(CompileError::new("", "is not inline, which is not supported")),
    }
}

impl BodyFormat {
    fn compile(format: &SubstitutionFormatString) -> Result<Self, CompileError> {
        let is_json = matches!(format.format, Some(XdsFormat::JsonFormat(_)));
        let content_type = match format.content_type.as_str() {
            "" if is_json => HeaderValue::from_static("application/json"),
            "" => HeaderValue::from_static("text/plain"),
            own => HeaderValue::from_str(own).map_err(|_| CompileError::new("content_type", "is no valid value of a header"))?,
        };
        Ok(Self { format: Format::compile_format(format)?, content_type })
    }
}
