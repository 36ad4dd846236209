//! How operators are written. What Envoy refuses is refused here, too, and so is what only Envoy can fill in.

use weir_http1::HeaderName;

use super::{AddressPart, CertificatePart, Field, GrpcStatusForm, Message, Operator, PathSource, PeerField, PeerPart, PeerSide};
use crate::error::CompileError;

/// An operator as it is written: `%NAME(argument):limit%`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call<'t> {
    name: &'t str,
    argument: &'t str,
    /// The value is cut to so many bytes.
    pub(super) limit: Option<usize>,
    /// Everything, for messages.
    text: &'t str,
}

/// The operator at the start of `text` (behind its `%`), and what follows. The argument ends at the first parenthesis that
/// leaves a whole operator: in it may stand others, and `%`, as in `%START_TIME(%Y)%`.
pub(super) fn call(text: &str) -> Option<(Call<'_>, &str)> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_').count();
    let (name, rest) = text.split_at(length);
    if name.is_empty() {
        return None;
    }
    let whole = |argument, limit, after: &'_ str| Call { name, argument, limit, text: &text[..text.len() - after.len() - 1] };
    if let Some((limit, after)) = end(rest) {
        return Some((whole("", limit, after), after));
    }
    let inner = rest.strip_prefix('(')?;
    inner.match_indices(')').find_map(|(at, _)| {
        let (limit, after) = end(&inner[at + 1..])?;
        Some((whole(&inner[..at], limit, after), after))
    })
}

/// The limit and the closing `%`, and what follows.
fn end(text: &str) -> Option<(Option<usize>, &str)> {
    if let Some(after) = text.strip_prefix('%') {
        return Some((None, after));
    }
    let (digits, after) = text.strip_prefix(':')?.split_once('%')?;
    let limit = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    Some((Some(limit), after))
}

/// `%UPSTREAM_METADATA(["a", "b"])%` of old as it is written today, `%UPSTREAM_METADATA(a:b)%`.
pub(super) fn in_colon_form(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("_METADATA([") {
        let (before, list) = rest.split_at(at + "_METADATA(".len());
        out.push_str(before);
        rest = list;
        let Some(close) = list.find("])%") else { break };
        let keys = list[1..close].split(',').map(|key| key.trim().trim_matches('"'));
        out.push_str(&keys.collect::<Vec<_>>().join(":"));
        rest = &list[close + 1..];
    }
    out + rest
}

impl Call<'_> {
    /// What it stands for.
    pub(super) fn operator(&self) -> Result<Operator, CompileError> {
        let wrong = |what: &str| CompileError::new("", format!("`%{}%` {what}", self.text));
        if let Some(operator) = plain(self.name) {
            let bare = self.argument.is_empty() && self.limit.is_none();
            return if bare { Ok(operator) } else { Err(wrong("takes neither an argument nor a length")) };
        }
        let takes_length = matches!(
            self.name,
            "REQ"
                | "RESP"
                | "TRAILER"
                | "STREAM_INFO_REQ"
                | "DYNAMIC_METADATA"
                | "METADATA"
                | "FILTER_STATE"
                | "ENVIRONMENT"
                | "QUERY_PARAM"
                | "QUERY_PARAMS"
                | "PATH"
                | "UPSTREAM_FILTER_STATE"
        );
        if self.limit.is_some() && !takes_length {
            return Err(wrong("takes no length, or is not an operator that Weir knows"));
        }
        with_argument(self.name, self.argument).ok_or_else(|| wrong("is not an operator that Weir knows, or has a wrong argument"))
    }
}

fn with_argument(name: &str, argument: &str) -> Option<Operator> {
    let given = !argument.is_empty();
    match name {
        "REQ" | "STREAM_INFO_REQ" => header(Message::Request, argument),
        "RESP" => header(Message::Response, argument),
        "TRAILER" => header(Message::Trailers, argument),
        "START_TIME" => Some(Operator::StartTime(given.then(|| argument.to_owned()))),
        // What is in the parentheses says how white space is written, of which our details have none.
        "RESPONSE_CODE_DETAILS" => Some(Operator::ResponseCodeDetails),
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" if !given => Some(Operator::UpstreamLocalAddress(AddressPart::WithoutPort)),
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" if !given => Some(Operator::UpstreamAddress(AddressPart::WithoutPort)),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" if !given => Some(Operator::DownstreamLocalAddress(AddressPart::WithoutPort)),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" if !given => Some(Operator::DownstreamRemoteAddress(AddressPart::WithoutPort)),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" if !given => {
            Some(Operator::DownstreamDirectRemoteAddress(AddressPart::WithoutPort))
        }
        "REQUESTED_SERVER_NAME" => match argument {
            "" | "SNI_ONLY" => Some(Operator::RequestedServerName),
            "SNI_FIRST" => Some(Operator::RequestedServerNameOrHost),
            "HOST_FIRST" => Some(Operator::Header(Message::Request, Field::Authority, None)),
            _ => None,
        },
        "GRPC_STATUS" => Some(Operator::GrpcStatus(match argument {
            "" | "CAMEL_STRING" => GrpcStatusForm::Camel,
            "SNAKE_STRING" => GrpcStatusForm::Snake,
            "NUMBER" => GrpcStatusForm::Number,
            _ => return None,
        })),
        "PATH" => path(argument),
        "QUERY_PARAM" if given => Some(Operator::QueryParameter(argument.to_owned())),
        "QUERY_PARAMS" => match argument {
            "" | "ORIG" => Some(Operator::Query { decoded: false }),
            "DECODED" => Some(Operator::Query { decoded: true }),
            _ => None,
        },
        "ENVIRONMENT" if given => Some(Operator::Environment(argument.to_owned())),
        "METADATA" => {
            let (source, rest) = argument.split_once(':').unwrap_or((argument, ""));
            metadata(source, rest)
        }
        "CLUSTER_METADATA" => metadata("CLUSTER", argument),
        "DYNAMIC_METADATA" => metadata("DYNAMIC", argument),
        "FILTER_STATE" if given => filter_state(argument),
        // No filter of ours leaves any.
        "UPSTREAM_FILTER_STATE" | "PER_REQUEST_STATE" if given => Some(Operator::Never),
        _ => None,
    }
}

/// What filters leave under a key; of ours only one leaves any. Istio's proxies have the fields under one key or the other, by their
/// version.
fn filter_state(argument: &str) -> Option<Operator> {
    let (key, form) = argument.split_once(':').unwrap_or((argument, "TYPED"));
    let part = match form.split_once(':') {
        None if form == "TYPED" => Some(PeerPart::Object),
        None if form == "PLAIN" => Some(PeerPart::Plain),
        Some(("FIELD", field)) => PeerField::ALL.iter().find(|(_, name)| *name == field).map(|(field, _)| PeerPart::Field(*field)),
        _ => return None,
    };
    let side = match key {
        "downstream_peer" | "downstream_peer_obj" => Some(PeerSide::Client),
        "upstream_peer" | "upstream_peer_obj" => Some(PeerSide::Instance),
        _ => None,
    };
    Some(side.zip(part).map_or(Operator::Never, |(side, part)| Operator::Peer(side, part)))
}

fn header(message: Message, argument: &str) -> Option<Operator> {
    let (first, second) = argument.split_once('?').map_or((argument, None), |(first, second)| (first, Some(second)));
    let second = match second {
        Some(second) => Some(field(second)?),
        None => None,
    };
    Some(Operator::Header(message, field(first)?, second))
}

fn path(argument: &str) -> Option<Operator> {
    let (query, source) = argument.split_once(':').unwrap_or((argument, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return None,
    };
    let source = match source {
        "" | "ORIG_OR_PATH" => PathSource::OriginalOrCurrent,
        "ORIG" => PathSource::Original,
        "PATH" => PathSource::Current,
        _ => return None,
    };
    Some(Operator::Path { query, source })
}

/// One value of metadata; a whole namespace is none.
fn metadata(source: &str, argument: &str) -> Option<Operator> {
    if source == "DYNAMIC" {
        let path = || argument.split(':').map(str::to_owned).collect();
        return (!argument.is_empty()).then(|| Operator::DynamicMetadata(path()));
    }
    let (namespace, key) = argument.split_once(':')?;
    let (namespace, key) = (namespace.to_owned(), key.to_owned());
    match source {
        "ROUTE" => Some(Operator::RouteMetadata(namespace, key)),
        "CLUSTER" => Some(Operator::ClusterMetadata(namespace, key)),
        _ => None,
    }
}

impl Field {
    /// What Envoy finds under a header's name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        field(name)
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

/// The operators that are nothing but a name.
fn plain(name: &str) -> Option<Operator> {
    use AddressPart::{Port, Whole};
    Some(match name {
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "BYTES_SENT" => Operator::BytesSent,
        "PROTOCOL" => Operator::Protocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "CONNECTION_TERMINATION_DETAILS" => Operator::ConnectionTerminationDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags,
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlagsLong,
        "DURATION" => Operator::Duration,
        "REQUEST_DURATION" => Operator::RequestDuration,
        "RESPONSE_DURATION" => Operator::ResponseDuration,
        "RESPONSE_TX_DURATION" => Operator::ResponseTxDuration,
        "UPSTREAM_HOST" => Operator::UpstreamHost,
        "UPSTREAM_REMOTE_ADDRESS" => Operator::UpstreamAddress(Whole),
        "UPSTREAM_REMOTE_PORT" => Operator::UpstreamAddress(Port),
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster,
        "UPSTREAM_CLUSTER_RAW" => Operator::UpstreamClusterRaw,
        "UPSTREAM_LOCAL_ADDRESS" => Operator::UpstreamLocalAddress(Whole),
        "UPSTREAM_LOCAL_PORT" => Operator::UpstreamLocalAddress(Port),
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::UpstreamTransportFailureReason,
        "LOCAL_REPLY_BODY" => Operator::LocalReplyBody,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::UpstreamRequestAttemptCount,
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::DownstreamLocalAddress(Whole),
        "DOWNSTREAM_LOCAL_PORT" => Operator::DownstreamLocalAddress(Port),
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::DownstreamRemoteAddress(Whole),
        "DOWNSTREAM_REMOTE_PORT" => Operator::DownstreamRemoteAddress(Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Operator::DownstreamDirectRemoteAddress(Whole),
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Operator::DownstreamDirectRemoteAddress(Port),
        "ROUTE_NAME" => Operator::RouteName,
        "HOSTNAME" => Operator::Hostname,
        "STREAM_ID" => Operator::StreamId,
        "CONNECTION_ID" => Operator::ConnectionId,
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatus(GrpcStatusForm::Number),
        "DOWNSTREAM_PEER_URI_SAN" => Operator::DownstreamCertificate(CertificatePart::PeerUris),
        "DOWNSTREAM_PEER_DNS_SAN" => Operator::DownstreamCertificate(CertificatePart::PeerDnsNames),
        "DOWNSTREAM_PEER_SUBJECT" => Operator::DownstreamCertificate(CertificatePart::PeerSubject),
        "DOWNSTREAM_PEER_FINGERPRINT_256" => Operator::DownstreamCertificate(CertificatePart::PeerFingerprint),
        "DOWNSTREAM_LOCAL_URI_SAN" => Operator::DownstreamCertificate(CertificatePart::OwnUris),
        "UPSTREAM_PEER_URI_SAN" => Operator::UpstreamCertificate(CertificatePart::PeerUris),
        "UPSTREAM_PEER_DNS_SAN" => Operator::UpstreamCertificate(CertificatePart::PeerDnsNames),
        "UPSTREAM_PEER_SUBJECT" => Operator::UpstreamCertificate(CertificatePart::PeerSubject),
        "UPSTREAM_LOCAL_URI_SAN" => Operator::UpstreamCertificate(CertificatePart::OwnUris),
        "DOWNSTREAM_TLS_VERSION" => Operator::DownstreamTlsVersion,
        "VIRTUAL_CLUSTER_NAME"
        | "TRACE_ID"
        | "SPAN_ID"
        | "CUSTOM_FLAGS"
        | "DOWNSTREAM_LOCAL_SUBJECT"
        | "DOWNSTREAM_TLS_CIPHER"
        | "DOWNSTREAM_TLS_SESSION_ID"
        | "DOWNSTREAM_PEER_ISSUER"
        | "DOWNSTREAM_PEER_CERT"
        | "DOWNSTREAM_PEER_SERIAL" => Operator::Never,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Piece, Template};

    fn compile(text: &str) -> Option<(Operator, Option<usize>)> {
        match Template::compile(text).ok()?.pieces() {
            [Piece::Operator(operator, limit)] => Some((operator.clone(), *limit)),
            _ => None,
        }
    }

    #[test]
    fn operators_take_what_envoys_take() {
        let accepted = [
            ("%PROTOCOL%", Operator::Protocol, None),
            ("%PROTOCOL()%", Operator::Protocol, None),
            ("%REQ(host):3%", Operator::Header(Message::Request, Field::Authority, None), Some(3)),
            ("%STREAM_INFO_REQ(:path)%", Operator::Header(Message::Request, Field::Path, None), None),
            ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", Operator::ResponseCodeDetails, None),
            ("%START_TIME(%H:%M)%", Operator::StartTime(Some("%H:%M".into())), None),
            ("%PATH%", Operator::Path { query: true, source: PathSource::OriginalOrCurrent }, None),
            ("%PATH(NQ:PATH):3%", Operator::Path { query: false, source: PathSource::Current }, Some(3)),
            ("%PATH(WQ:ORIG)%", Operator::Path { query: true, source: PathSource::Original }, None),
            ("%QUERY_PARAM(q)%", Operator::QueryParameter("q".into()), None),
            ("%QUERY_PARAMS:4%", Operator::Query { decoded: false }, Some(4)),
            ("%QUERY_PARAMS(DECODED)%", Operator::Query { decoded: true }, None),
            ("%ENVIRONMENT(X):2%", Operator::Environment("X".into()), Some(2)),
            ("%GRPC_STATUS(SNAKE_STRING)%", Operator::GrpcStatus(GrpcStatusForm::Snake), None),
            ("%REQUESTED_SERVER_NAME(HOST_FIRST)%", Operator::Header(Message::Request, Field::Authority, None), None),
            ("%CLUSTER_METADATA(ns:k)%", Operator::ClusterMetadata("ns".into(), "k".into()), None),
            (r#"%CLUSTER_METADATA([ "ns", "k" , "l"])%"#, Operator::ClusterMetadata("ns".into(), "k:l".into()), None),
            ("%METADATA(ROUTE:ns:k):2%", Operator::RouteMetadata("ns".into(), "k".into()), Some(2)),
            ("%DYNAMIC_METADATA(ns:k)%", Operator::DynamicMetadata(["ns".into(), "k".into()].into()), None),
            ("%PER_REQUEST_STATE(k)%", Operator::Never, None),
            ("%FILTER_STATE(k:PLAIN):3%", Operator::Never, Some(3)),
            ("%FILTER_STATE(downstream_peer)%", Operator::Peer(PeerSide::Client, PeerPart::Object), None),
            ("%FILTER_STATE(upstream_peer:PLAIN):9%", Operator::Peer(PeerSide::Instance, PeerPart::Plain), Some(9)),
            (
                "%FILTER_STATE(downstream_peer_obj:FIELD:workload)%",
                Operator::Peer(PeerSide::Client, PeerPart::Field(PeerField::Workload)),
                None,
            ),
            ("%FILTER_STATE(upstream_peer:FIELD:labels)%", Operator::Never, None),
            ("%UPSTREAM_REMOTE_PORT%", Operator::UpstreamAddress(AddressPart::Port), None),
            ("%UPSTREAM_PEER_URI_SAN%", Operator::UpstreamCertificate(CertificatePart::PeerUris), None),
            ("%DOWNSTREAM_LOCAL_URI_SAN%", Operator::DownstreamCertificate(CertificatePart::OwnUris), None),
        ];
        for (text, operator, limit) in accepted {
            assert_eq!(compile(text), Some((operator, limit)), "{text}");
        }
    }

    #[test]
    fn what_envoy_refuses_and_what_only_envoy_knows_is_refused() {
        let refused = [
            // Envoy refuses these.
            "%REQ%",
            "%REQ()%",
            "%REQ(a?b?c)%",
            "%PROTOCOL(x)%",
            "%PROTOCOL:3%",
            "%HOSTNAME:0%",
            "%START_TIME:3%",
            "%QUERY_PARAM%",
            "%QUERY_PARAMS(x)%",
            "%PATH(x)%",
            "%GRPC_STATUS(x)%",
            "%REQUESTED_SERVER_NAME(x)%",
            "%CLUSTER_METADATA%",
            "%CLUSTER_METADATA(ns:k):3%",
            "%METADATA(x:ns:k)%",
            "%FILTER_STATE%",
            "%FILTER_STATE(k:SHORT)%",
            "%FILTER_STATE(k:FIELD)%",
            "%PER_REQUEST_STATE%",
            "%VIRTUAL_HOST_NAME%",
            "%REQ_WITHOUT_QUERY(:path)%",
            "%REQ(x):%",
            "%REQ(x):a%",
            // These it can fill in, and Weir cannot.
            "%UNIQUE_ID%",
            "%UPSTREAM_PROTOCOL%",
            "%UPSTREAM_METADATA(ns:k)%",
            "%COALESCE({\"operators\":[\"PROTOCOL\"]})%",
            "%METADATA(ROUTE:ns)%",
        ];
        for text in refused {
            assert_eq!(compile(text), None, "{text}");
        }
    }
}
