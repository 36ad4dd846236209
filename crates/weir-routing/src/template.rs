//! Envoy's command operators (`%REQ(X-ID)%`), compiled: the language of access logs and of header values.
//!
//! See <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators>.
//! What an operator's value is, only the proxy knows: it gives [`Values`].

use http::HeaderName;

use crate::error::CompileError;

/// A text with operators in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Stands for itself.
    Literal(Box<[u8]>),
    /// Stands for a value, cut to so many bytes.
    Operator(Operator, Option<usize>),
}

/// Which message of an exchange a header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request as it arrived, after the changes of the route.
    Request,
    /// The response.
    Response,
    /// The trailers behind the response.
    Trailers,
}

/// The name of a header in an operator, or of a part of the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority` or `host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// `:status`.
    Status,
    /// Any other header.
    Header(HeaderName),
}

/// Which part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPart {
    /// `ip:port`.
    Whole,
    /// `ip`.
    WithoutPort,
    /// `port`.
    Port,
}

/// One of Envoy's command operators.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each is Envoy's operator of that name.
pub enum Operator {
    /// A header, or else another.
    Header(Message, Field, Option<Field>),
    /// `strftime` format; none is ISO 8601 with milliseconds.
    StartTime(Option<String>),
    BytesReceived,
    BytesSent,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ConnectionTerminationDetails,
    ResponseFlags,
    ResponseFlagsLong,
    Duration,
    RequestDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamClusterRaw,
    UpstreamLocalAddress(AddressPart),
    UpstreamTransportFailureReason,
    UpstreamRequestAttemptCount,
    LocalReplyBody,
    DownstreamLocalAddress(AddressPart),
    DownstreamRemoteAddress(AddressPart),
    DownstreamDirectRemoteAddress(AddressPart),
    RequestedServerName,
    RouteName,
    VirtualHostName,
    Hostname,
    StreamId,
    ConnectionId,
    DownstreamPeerUriSan,
    DownstreamPeerSubject,
    DownstreamTlsVersion,
    /// `%METADATA(ROUTE:namespace:key)%`.
    RouteMetadata(String, String),
    /// `%METADATA(CLUSTER:namespace:key)%`.
    ClusterMetadata(String, String),
    /// Something that no request of ours ever has: a filter's state, dynamic metadata.
    Never,
}

/// What operators stand for.
pub trait Values {
    /// Appends an operator's value; false if there is none, and then nothing is appended.
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool;
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// If an operator is not known or not closed.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let mut pieces = vec![];
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('%') {
            literal.push_str(&rest[..start]);
            rest = &rest[start + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (operator, length) =
                operator_end(rest).ok_or_else(|| CompileError::new("", format!("an operator in `{text}` is not closed by `%`")))?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into_bytes().into()));
            }
            pieces.push(parse_operator(operator)?);
            rest = &rest[length..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into_bytes().into()));
        }
        Ok(Self { pieces })
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, where it has no operator: then it need not be rendered for each request.
    pub fn literal(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(b""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text with its values; `absent` stands for each value that there is not.
    pub fn render(&self, values: &impl Values, absent: &[u8], out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Operator(operator, limit) => {
                    let start = out.len();
                    if !values.append(operator, out) {
                        out.extend_from_slice(absent);
                    } else if let Some(limit) = limit {
                        out.truncate((start + limit).min(out.len()));
                    }
                }
            }
        }
    }
}

/// The operator at the start of `text` (behind its `%`), and where the text goes on behind it. A `%` in the
/// parentheses belongs to the argument: `%START_TIME(%Y)%`.
fn operator_end(text: &str) -> Option<(&str, usize)> {
    let mut depth = 0;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'%' if depth == 0 => return Some((&text[..i], i + 1)),
            _ => {}
        }
    }
    None
}

fn parse_operator(text: &str) -> Result<Piece, CompileError> {
    let wrong = |what: &str| CompileError::new("", format!("`%{text}%` {what}"));
    let (call, limit) = match text.rsplit_once(':') {
        Some((call, length)) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) && !call.is_empty() && balanced(call) => {
            (call, Some(length.parse::<usize>().map_err(|_| wrong("has no valid length"))?))
        }
        _ => (text, None),
    };
    let (name, argument) = match call.split_once('(') {
        Some((name, argument)) => (name, Some(argument.strip_suffix(')').ok_or_else(|| wrong("is not closed"))?)),
        None => (call, None),
    };
    let operator = match argument {
        Some(argument) => with_argument(name, argument),
        None => without_argument(name),
    };
    operator.map(|operator| Piece::Operator(operator, limit)).ok_or_else(|| wrong("is not an operator that Weir knows"))
}

fn balanced(text: &str) -> bool {
    text.matches('(').count() == text.matches(')').count()
}

fn with_argument(name: &str, argument: &str) -> Option<Operator> {
    let headers = |message| {
        let (first, second) = argument.split_once('?').map_or((argument, None), |(first, second)| (first, Some(second)));
        Some(Operator::Header(message, field(first)?, second.map(field).transpose_none()?))
    };
    match name {
        "REQ" => headers(Message::Request),
        "RESP" => headers(Message::Response),
        "TRAILER" => headers(Message::Trailers),
        "START_TIME" => Some(Operator::StartTime(Some(argument.to_owned()))),
        "METADATA" => {
            let mut parts = argument.splitn(3, ':');
            match (parts.next()?, parts.next()?, parts.next()?) {
                ("ROUTE", namespace, key) => Some(Operator::RouteMetadata(namespace.to_owned(), key.to_owned())),
                ("CLUSTER", namespace, key) => Some(Operator::ClusterMetadata(namespace.to_owned(), key.to_owned())),
                _ => Some(Operator::Never),
            }
        }
        "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA" | "FILTER_STATE" | "UPSTREAM_FILTER_STATE" | "ENVIRONMENT" => {
            Some(Operator::Never)
        }
        _ => None,
    }
}

/// `Option<Option<T>>` turned about, where an inner absence is an error.
trait TransposeNone<T> {
    fn transpose_none(self) -> Option<Option<T>>;
}

impl<T> TransposeNone<T> for Option<Option<T>> {
    fn transpose_none(self) -> Option<Option<T>> {
        match self {
            Some(None) => None,
            Some(Some(value)) => Some(Some(value)),
            None => Some(None),
        }
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name.to_ascii_lowercase().as_str() {
        ":method" => Field::Method,
        ":path" => Field::Path,
        ":authority" | "host" => Field::Authority,
        ":scheme" => Field::Scheme,
        ":status" => Field::Status,
        header => Field::Header(HeaderName::try_from(header).ok()?),
    })
}

fn without_argument(name: &str) -> Option<Operator> {
    use AddressPart::{Port, Whole, WithoutPort};
    Some(match name {
        "START_TIME" => Operator::StartTime(None),
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "LOCAL_REPLY_BODY" => Operator::LocalReplyBody,
        "BYTES_SENT" => Operator::BytesSent,
        "PROTOCOL" => Operator::Protocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Operator::ResponseCodeDetails,
        "CONNECTION_TERMINATION_DETAILS" => Operator::ConnectionTerminationDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags,
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlagsLong,
        "DURATION" => Operator::Duration,
        "REQUEST_DURATION" => Operator::RequestDuration,
        "RESPONSE_DURATION" => Operator::ResponseDuration,
        "RESPONSE_TX_DURATION" => Operator::ResponseTxDuration,
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Operator::UpstreamHost,
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster,
        "UPSTREAM_CLUSTER_RAW" => Operator::UpstreamClusterRaw,
        "UPSTREAM_LOCAL_ADDRESS" => Operator::UpstreamLocalAddress(Whole),
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::UpstreamLocalAddress(WithoutPort),
        "UPSTREAM_LOCAL_PORT" => Operator::UpstreamLocalAddress(Port),
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::UpstreamTransportFailureReason,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::UpstreamRequestAttemptCount,
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::DownstreamLocalAddress(Whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::DownstreamLocalAddress(WithoutPort),
        "DOWNSTREAM_LOCAL_PORT" => Operator::DownstreamLocalAddress(Port),
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::DownstreamRemoteAddress(Whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::DownstreamRemoteAddress(WithoutPort),
        "DOWNSTREAM_REMOTE_PORT" => Operator::DownstreamRemoteAddress(Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Operator::DownstreamDirectRemoteAddress(Whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::DownstreamDirectRemoteAddress(WithoutPort),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Operator::DownstreamDirectRemoteAddress(Port),
        "REQUESTED_SERVER_NAME" => Operator::RequestedServerName,
        "ROUTE_NAME" => Operator::RouteName,
        "VIRTUAL_HOST_NAME" => Operator::VirtualHostName,
        "HOSTNAME" => Operator::Hostname,
        "STREAM_ID" => Operator::StreamId,
        "CONNECTION_ID" => Operator::ConnectionId,
        "DOWNSTREAM_PEER_URI_SAN" => Operator::DownstreamPeerUriSan,
        "DOWNSTREAM_PEER_SUBJECT" => Operator::DownstreamPeerSubject,
        "DOWNSTREAM_TLS_VERSION" => Operator::DownstreamTlsVersion,
        "VIRTUAL_CLUSTER_NAME"
        | "GRPC_STATUS"
        | "GRPC_STATUS_NUMBER"
        | "TRACE_ID"
        | "DOWNSTREAM_LOCAL_URI_SAN"
        | "DOWNSTREAM_LOCAL_SUBJECT"
        | "DOWNSTREAM_TLS_CIPHER"
        | "DOWNSTREAM_TLS_SESSION_ID"
        | "DOWNSTREAM_PEER_ISSUER"
        | "DOWNSTREAM_PEER_CERT"
        | "DOWNSTREAM_PEER_SERIAL"
        | "DOWNSTREAM_PEER_FINGERPRINT_256" => Operator::Never,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Values for Fixed {
        fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
            match operator {
                Operator::ResponseCode => out.extend_from_slice(b"200"),
                Operator::StartTime(Some(format)) => out.extend_from_slice(format.as_bytes()),
                _ => return false,
            }
            true
        }
    }

    fn render(text: &str) -> String {
        let mut out = vec![];
        Template::compile(text).expect("valid").render(&Fixed, b"-", &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn operators_are_replaced() {
        assert_eq!(render("a %RESPONSE_CODE% b"), "a 200 b");
        assert_eq!(render("%RESPONSE_CODE:1%%%[%REQ(X-A?:PATH)%]"), "2%[-]");
        assert_eq!(render("%START_TIME(%Y/%m)%"), "%Y/%m");
        assert_eq!(render("%METADATA(ROUTE:weir:source)%"), "-");
        assert_eq!(Template::compile("plain").expect("valid").literal(), Some(&b"plain"[..]));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for text in ["%NOPE%", "%REQ(", "%", "100%", "%REQ(a b)%"] {
            let error = Template::compile(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn istios_default_format_is_understood() {
        let format = concat!(
            "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
            "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% ",
            "%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
            "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ",
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
        );
        assert!(Template::compile(format).is_ok());
    }
}
