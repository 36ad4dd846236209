//! Access log lines: Envoy's text and JSON formats, compiled.

use std::collections::BTreeMap;

use weir_routing::CompileError;
use weir_routing::template::{Operator, PeerPart, Piece, Template, Values};
use weir_xds::core::substitution_format_string::Format as XdsFormat;
use weir_xds::core::{DataSource, SubstitutionFormatString, data_source};
use weir_xds::file_log::FileAccessLog;
use weir_xds::file_log::file_access_log::AccessLogFormat;
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};

/// Envoy's format where none is given.
const DEFAULT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" ",
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
);

/// How a line of an access log is written.
#[derive(Debug, Clone)]
pub enum Format {
    /// A template, which brings its own end of line.
    Text(Template),
    /// An object of templates, in the order of their names.
    Json(Json),
}

/// A JSON value of templates.
#[derive(Debug, Clone)]
pub enum Json {
    /// A text with operators; numbers, truth values and objects stay what they are where one operator is all there is.
    Template(Template),
    /// Written as it is.
    Literal(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

impl Format {
    /// Compiles the format of a file access log.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile(log: &FileAccessLog) -> Result<Self, CompileError> {
        #[allow(deprecated)] // Older control planes send the old forms.
        match &log.access_log_format {
            None => Self::text(DEFAULT),
            Some(AccessLogFormat::Format(text)) => Self::text(text),
            Some(AccessLogFormat::JsonFormat(fields) | AccessLogFormat::TypedJsonFormat(fields)) => Json::object(fields).map(Self::Json),
            Some(AccessLogFormat::LogFormat(format)) => Self::compile_format(format),
        }
    }

    /// Compiles a format.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn compile_format(format: &SubstitutionFormatString) -> Result<Self, CompileError> {
        #[allow(deprecated)]
        match &format.format {
            Some(XdsFormat::TextFormat(text)) => Self::text(text),
            Some(XdsFormat::TextFormatSource(DataSource { specifier: Some(data_source::Specifier::InlineString(text)), .. })) => {
                Self::text(text)
            }
            Some(XdsFormat::TextFormatSource(_)) => Err(CompileError::unsupported("log_format.text_format_source.filename")),
            Some(XdsFormat::JsonFormat(fields)) => Json::object(fields).map(Self::Json),
            None => Err(CompileError::missing("log_format.format")),
        }
    }

    fn text(text: &str) -> Result<Self, CompileError> {
        Template::compile(text).map(Self::Text).map_err(|error| error.within("log_format"))
    }

    /// Appends one line.
    pub fn write(&self, values: &impl Values, out: &mut Vec<u8>) {
        match self {
            Self::Text(template) => template.render(values, b"-", out),
            Self::Json(json) => {
                json.write(values, out);
                out.push(b'\n');
            }
        }
    }
}

impl Json {
    fn object(fields: &Struct) -> Result<Self, CompileError> {
        let field = |(name, value): (&String, &Value)| Ok((name.clone(), Self::compile(value).map_err(|error| error.within(name))?));
        fields.fields.iter().map(field).collect::<Result<_, _>>().map(Self::Object)
    }

    fn compile(value: &Value) -> Result<Self, CompileError> {
        Ok(match &value.kind {
            Some(Kind::StringValue(text)) => Self::Template(Template::compile(text)?),
            Some(Kind::StructValue(fields)) => Self::object(fields)?,
            Some(Kind::ListValue(list)) => Self::List(list.values.iter().map(Self::compile).collect::<Result<_, _>>()?),
            Some(Kind::NumberValue(number)) => Self::Literal(number.to_string()),
            Some(Kind::BoolValue(value)) => Self::Literal(value.to_string()),
            Some(Kind::NullValue(_)) | None => Self::Literal("null".to_owned()),
        })
    }

    fn write(&self, values: &impl Values, out: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Template(template) => write_template(template, values, out),
            Self::List(items) => write_all(b"[", items.iter(), b"]", out, |item, out| item.write(values, out)),
            Self::Object(fields) => write_all(b"{", fields.iter(), b"}", out, |(name, value), out| {
                write_string(name.as_bytes(), out);
                out.push(b':');
                value.write(values, out);
            }),
        }
    }
}

fn write_all<T>(open: &[u8], items: impl Iterator<Item = T>, close: &[u8], out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    out.extend_from_slice(open);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.extend_from_slice(close);
}

fn write_template(template: &Template, values: &impl Values, out: &mut Vec<u8>) {
    let mut text = vec![];
    if let [Piece::Operator(operator, None)] = template.pieces() {
        if !values.append(operator, &mut text) {
            out.extend_from_slice(b"null");
            return;
        }
        let is_number = is_number(operator) && !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if is_number || matches!(operator, Operator::Peer(_, PeerPart::Object)) {
            out.extend_from_slice(&text);
            return;
        }
    } else {
        template.render(values, b"-", &mut text);
    }
    write_string(&text, out);
}

fn is_number(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::BytesReceived
            | Operator::BytesSent
            | Operator::ResponseCode
            | Operator::Duration
            | Operator::RequestDuration
            | Operator::ResponseDuration
            | Operator::ResponseTxDuration
            | Operator::UpstreamRequestAttemptCount
    )
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &*text);
}

#[cfg(test)]
mod tests {
    use weir_xds::values::text;

    use super::*;

    struct Fixed;

    impl Values for Fixed {
        fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
            match operator {
                Operator::ResponseCode => out.extend_from_slice(b"200"),
                Operator::Peer(_, PeerPart::Object) => out.extend_from_slice(br#"{"workload":"web"}"#),
                Operator::RouteName => out.extend_from_slice(b"a \"b\""),
                _ => return false,
            }
            true
        }
    }

    #[test]
    fn json_keeps_numbers_and_objects_and_quotes_texts() {
        let fields = [
            ("code", "%RESPONSE_CODE%"),
            ("route", "%ROUTE_NAME%"),
            ("host", "%UPSTREAM_HOST%"),
            ("mixed", "x %RESPONSE_CODE%"),
            ("peer", "%FILTER_STATE(downstream_peer)%"),
            ("short", "%FILTER_STATE(downstream_peer):7%"),
        ];
        let fields = Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect() };
        #[allow(deprecated)]
        let log = FileAccessLog { access_log_format: Some(AccessLogFormat::JsonFormat(fields)), ..Default::default() };
        let mut out = vec![];
        Format::compile(&log).expect("valid").write(&Fixed, &mut out);
        let line = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            line,
            concat!(r#"{"code":200,"host":null,"mixed":"x 200","peer":{"workload":"web"},"route":"a \"b\"","short":"{\"workl"}"#, "\n")
        );
    }
}
