//! What Envoy's command operators stand for in an exchange: for access logs, and for the headers that a route makes of them.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::Version;
use weir_config::flags::ResponseFlags;
use weir_http1::{HeaderName, HeaderValue};
use weir_routing::dynamic_metadata;
use weir_routing::grpc;
use weir_routing::template::{AddressPart, Field, GrpcStatusForm, Message, Operator, PathSource, PeerSide, Values};

use super::record::Exchange;
use crate::io::unix_socket;

// Names that are read already: each line of a log may ask for them.
static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
static REQUEST_ID: Field = Field::Header(HeaderName::from_static("x-request-id"));

impl Exchange {
    fn since_start(&self, instant: Option<Instant>) -> Option<u128> {
        instant.map(|instant| instant.duration_since(self.start).as_millis())
    }

    fn request_field(&self, field: &Field, out: &mut Vec<u8>) -> bool {
        if self.protocol.is_none() || self.unreadable.get() {
            return false;
        }
        let request = self.request.borrow();
        match field {
            Field::Method => text(request.method.as_str(), out),
            Field::Path => text(request.path.as_str(), out),
            Field::Authority => text(request.authority(), out),
            Field::Scheme => text(&request.scheme, out),
            Field::Status => false,
            Field::Header(name) => bytes(request.headers.get(name).map(HeaderValue::as_bytes), out),
        }
    }

    /// The path of the request, or what it was before a route changed it.
    fn path(&self, query: bool, source: PathSource, out: &mut Vec<u8>) -> bool {
        let request = self.request.borrow();
        let original = || request.headers.get(&ORIGINAL_PATH).and_then(|value| value.to_str().ok());
        let path = match source {
            PathSource::Current => Some(request.path.as_str()),
            PathSource::Original => original(),
            PathSource::OriginalOrCurrent => original().or_else(|| Some(request.path.as_str())),
        };
        optional(path.map(|path| if query { path } else { path.split('?').next().unwrap_or_default() }), out)
    }

    /// The whole query, or one of its parameters.
    fn query(&self, name: Option<&str>, decoded: bool, out: &mut Vec<u8>) -> bool {
        let request = self.request.borrow();
        let head = request.for_routing();
        let value = match name {
            Some(name) => head.query_parameter(name),
            None => head.query(),
        };
        let Some(value) = value else { return false };
        if decoded {
            percent_decode(value, out)
        } else {
            out.extend_from_slice(value.as_bytes())
        }
        true
    }

    /// The gRPC status of the answer to a gRPC call: its own, or what its status code comes to.
    pub(super) fn status_of_grpc_call(&self) -> Option<grpc::Status> {
        let code = self.code.get();
        let by_code = (code != 0).then(|| grpc::Status::Code(grpc::status_of_http(code)));
        self.grpc_status.get().or(by_code).filter(|_| self.request.borrow().is_grpc())
    }

    fn response_field(&self, field: &Field, out: &mut Vec<u8>) -> bool {
        match field {
            Field::Status => number(Some(self.code.get()).filter(|code| *code != 0), out),
            Field::Header(name) => {
                let headers = self.response_headers.borrow();
                bytes(headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes()), out)
            }
            _ => false,
        }
    }

    fn metadata(&self, cluster: bool, namespace: &str, key: &str, out: &mut Vec<u8>) -> bool {
        if cluster {
            let cluster = self.cluster.borrow();
            return optional(cluster.as_ref().and_then(|cluster| cluster.policy.metadata.get(namespace, key)), out);
        }
        let matched = self.matched.borrow();
        optional(matched.as_ref().and_then(|matched| matched.route()).and_then(|route| route.metadata.get(namespace, key)), out)
    }
}

fn text(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}

fn optional(value: Option<&str>, out: &mut Vec<u8>) -> bool {
    value.is_some_and(|value| text(value, out))
}

/// What is there and empty is a value, too.
pub fn bytes(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(value.unwrap_or_default());
    value.is_some()
}

/// Where there are no flags Envoy says so.
fn or_dash(flags: &Cell<ResponseFlags>, out: &mut Vec<u8>) -> bool {
    if flags.get().is_empty() {
        out.push(b'-');
    }
    true
}

/// Replaces `%41` by `A`; what is no code stays.
fn percent_decode(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code =
            others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, next) = match code.filter(|_| *first == b'%') {
            Some(byte) => (byte, &others[2..]),
            None => (*first, others),
        };
        out.push(byte);
        rest = next;
    }
}

/// The names of gRPC's statuses, by their numbers.
const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn append_grpc_status(status: grpc::Status, form: GrpcStatusForm, out: &mut Vec<u8>) -> bool {
    let grpc::Status::Code(status) = status else { return text("-1", out) };
    match (GRPC_STATUSES.get(status as usize), form) {
        (Some((camel, _)), GrpcStatusForm::Camel) => text(camel, out),
        (Some((_, snake)), GrpcStatusForm::Snake) => text(snake, out),
        (None, _) | (_, GrpcStatusForm::Number) => number(Some(status), out),
    }
}

fn number(value: Option<impl std::fmt::Display>, out: &mut Vec<u8>) -> bool {
    // Writing to memory does not fail.
    value.is_some_and(|value| write!(out, "{value}").is_ok())
}

fn address(address: Option<SocketAddr>, part: AddressPart, out: &mut Vec<u8>) -> bool {
    if let Some(path) = address.and_then(unix_socket::path) {
        return part != AddressPart::Port && text(&path, out);
    }
    match part {
        AddressPart::Whole => number(address, out),
        AddressPart::WithoutPort => number(address.map(|address| address.ip()), out),
        AddressPart::Port => number(address.map(|address| address.port()), out),
    }
}

impl Values for Exchange {
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::Header(Message::Request, first, second) => {
                self.request_field(first, out) || second.as_ref().is_some_and(|second| self.request_field(second, out))
            }
            Operator::Header(Message::Response, first, second) => {
                self.response_field(first, out) || second.as_ref().is_some_and(|second| self.response_field(second, out))
            }
            Operator::Peer(side, part) => {
                let told = match side {
                    PeerSide::Client => &self.client_workload,
                    PeerSide::Instance => &self.instance_workload,
                };
                told.borrow().as_ref().is_some_and(|told| told.append(*part, out))
            }
            Operator::Header(Message::Trailers, ..) | Operator::LocalReplyBody | Operator::Never => false,
            Operator::StartTime(format) => {
                // Without a log nobody took it.
                let time = self.start_time.unwrap_or_else(|| SystemTime::now() - self.start.elapsed());
                append_time(time, format.as_deref(), out)
            }
            Operator::BytesReceived => number(Some(self.bytes_received.get()), out),
            Operator::BytesSent => number(Some(self.bytes_sent.get()), out),
            Operator::Protocol => optional(self.protocol.map(protocol_name), out),
            Operator::ResponseCode => number(Some(self.code.get()), out),
            Operator::ResponseCodeDetails => bytes(self.details.borrow().as_deref().map(str::as_bytes), out),
            Operator::ConnectionTerminationDetails => optional(self.termination.borrow().as_deref(), out),
            Operator::ResponseFlags => {
                self.flags.get().append_short(out);
                or_dash(&self.flags, out)
            }
            Operator::ResponseFlagsLong => {
                self.flags.get().append_long(out);
                or_dash(&self.flags, out)
            }
            Operator::Duration => number(Some(self.duration.get().unwrap_or_else(|| self.start.elapsed()).as_millis()), out),
            Operator::RequestDuration => number(self.since_start(self.request_end.get()), out),
            Operator::ResponseDuration => number(self.since_start(self.response_start.get()), out),
            Operator::ResponseTxDuration => {
                let end = self.duration.get().map(|duration| duration.as_millis());
                number(end.zip(self.since_start(self.response_start.get())).map(|(end, start)| end.saturating_sub(start)), out)
            }
            Operator::UpstreamHost => number(self.target.borrow().as_ref().and_then(|target| target.address), out),
            Operator::UpstreamAddress(part) => address(self.target.borrow().as_ref().and_then(|target| target.address), *part, out),
            Operator::UpstreamCluster | Operator::UpstreamClusterRaw => match &*self.cluster.borrow() {
                Some(cluster) => text(&cluster.policy.name, out),
                None => optional(self.cluster_name.borrow().as_deref(), out),
            },
            Operator::UpstreamLocalAddress(part) => address(self.upstream_local.get(), *part, out),
            Operator::UpstreamTransportFailureReason => optional(self.transport_failure.borrow().as_deref(), out),
            Operator::UpstreamRequestAttemptCount => number(Some(self.attempts.get()), out),
            Operator::DownstreamLocalAddress(part) => address(Some(self.connection.local), *part, out),
            Operator::DownstreamRemoteAddress(part) => address(Some(self.remote.get()), *part, out),
            Operator::DownstreamDirectRemoteAddress(part) => address(Some(self.connection.remote), *part, out),
            Operator::RequestedServerName => optional(self.connection.server_name.as_deref(), out),
            Operator::RequestedServerNameOrHost => {
                optional(self.connection.server_name.as_deref(), out) || self.request_field(&Field::Authority, out)
            }
            Operator::Path { query, source } => self.path(*query, *source, out),
            Operator::QueryParameter(name) => self.query(Some(name), true, out),
            Operator::Query { decoded } => self.query(None, *decoded, out),
            Operator::Environment(name) => text(std::env::var(name).as_deref().unwrap_or("-"), out),
            Operator::GrpcStatus(form) => self.status_of_grpc_call().is_some_and(|status| append_grpc_status(status, *form, out)),
            Operator::RouteName => {
                let matched = self.matched.borrow();
                optional(matched.as_ref().and_then(|matched| matched.route()).map(|route| &*route.name), out)
            }
            Operator::Hostname => optional(Some(hostname()), out),
            Operator::StreamId => self.request_field(&REQUEST_ID, out),
            Operator::ConnectionId => number(Some(self.connection.id), out),
            Operator::DownstreamTlsVersion => optional(self.connection.tls_version, out),
            Operator::DownstreamCertificate(part) => self.connection.ends.as_ref().is_some_and(|ends| ends.append(*part, out)),
            Operator::UpstreamCertificate(part) => self.upstream_ends.borrow().as_ref().is_some_and(|ends| ends.append(*part, out)),
            Operator::RouteMetadata(namespace, key) => self.metadata(false, namespace, key, out),
            Operator::DynamicMetadata(path) => dynamic_metadata::append(&self.dynamic_metadata.borrow(), path, out),
            Operator::ClusterMetadata(namespace, key) => self.metadata(true, namespace, key, out),
        }
    }
}

/// A protocol as Envoy prints it.
pub fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn hostname() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Appends a time: ISO 8601 with milliseconds, or as a `strftime` format says.
fn append_time(time: SystemTime, format: Option<&str>, out: &mut Vec<u8>) -> bool {
    thread_local! {
        /// The last second that was printed: requests come many to the second.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    if let Some(format) = format {
        let Ok(timestamp) = jiff::Timestamp::try_from(time) else { return false };
        return number(Some(timestamp.strftime(format)), out);
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() || text.is_empty() {
            *second = since.as_secs();
            text.clear();
            let timestamp = jiff::Timestamp::from_second(*second as i64).unwrap_or_default();
            let _ = write!(text, "{}", timestamp.strftime("%Y-%m-%dT%H:%M:%S"));
        }
        out.extend_from_slice(text.as_bytes());
    });
    write!(out, ".{:03}Z", since.subsec_millis()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn grpc_statuses_and_parameters_print_as_envoy_prints_them() {
        let print = |status, form| {
            let mut out = vec![];
            append_grpc_status(status, form, &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        let cases = [
            (grpc::Status::Code(5), GrpcStatusForm::Camel, "NotFound"),
            (grpc::Status::Code(5), GrpcStatusForm::Snake, "NOT_FOUND"),
            (grpc::Status::Code(5), GrpcStatusForm::Number, "5"),
            (grpc::Status::Code(99), GrpcStatusForm::Camel, "99"),
            (grpc::Status::Invalid, GrpcStatusForm::Camel, "-1"),
        ];
        for (status, form, expected) in cases {
            assert_eq!(print(status, form), expected, "{status:?}");
        }
        for (text, expected) in [("a+b%20c", "a+b c"), ("%41%zz%4", "A%zz%4"), ("%", "%")] {
            let mut out = vec![];
            percent_decode(text, &mut out);
            assert_eq!(out, expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn times_print_as_envoy_prints_them() {
        let time = UNIX_EPOCH + Duration::from_millis(1_763_690_400_007);
        let print = |format| {
            let mut out = vec![];
            append_time(time, format, &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(print(None), "2025-11-21T02:00:00.007Z");
        assert_eq!(print(Some("%Y/%m")), "2025/11");
    }
}
