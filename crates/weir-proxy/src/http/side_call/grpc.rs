//! Unary calls of gRPC, as filters make them: one message goes out, one comes back
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Method, StatusCode};
use weir_config::head::Head;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers};
use weir_routing::grpc::{self, Status};
use weir_xds::Message;

use super::{SideAnswer, SideCallError, SideRequest};
use crate::upstream::clusters::Clusters;

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The notation of a timeout has eight digits.
const TIMEOUT_MAX: u64 = 99_999_999;

/// A service, and what it is told besides the message.
pub(in crate::http) struct GrpcCall<'c> {
    /// The cluster that has it.
    pub(in crate::http) cluster: &'c str,
    /// What it is called there.
    pub(in crate::http) authority: &'c str,
    /// The method's path.
    pub(in crate::http) path: &'static str,
    /// More metadata.
    pub(in crate::http) metadata: Headers,
    /// How long it may take.
    pub(in crate::http) timeout: Option<Duration>,
    /// How long the answer's message may be.
    pub(in crate::http) most: usize,
    /// Whether it is told of this proxy, as Envoy tells it.
    pub(in crate::http) signed: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum GrpcError {
    /// The call itself failed.
    #[error(transparent)]
    Call(#[from] SideCallError),
    /// The service answers with another status than 0.
    #[error("the service answers with status {0}")]
    Status(u32),
    /// What it answers is not gRPC, or not one message of the type.
    #[error("the answer is no message")]
    Malformed,
}

/// Makes a call.
///
/// # Errors
/// If there is no answer to it.
pub(in crate::http) async fn unary<A: Message>(clusters: &Clusters, call: GrpcCall<'_>, message: &impl Message) -> Result<A, GrpcError> {
    let GrpcCall { cluster, timeout, most, .. } = call;
    let mut request =
        SideRequest { head: head(&call), body: frame(&Message::encode_to_vec(message)), timeout, most: most.saturating_add(PREFIX) };
    for (name, value) in call.metadata {
        request.head.headers.insert(name, value);
    }
    if call.signed {
        request.sign();
        request.sign_with_address();
    }
    let answer = super::call(clusters, cluster, request).await?;
    <A as Message>::decode(message_of(answer)?).map_err(|_| GrpcError::Malformed)
}

fn head(call: &GrpcCall<'_>) -> Head {
    let mut headers = Headers::new();
    if let Ok(authority) = HeaderValue::from_str(call.authority) {
        headers.insert(header::HOST, authority);
    }
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(told) = call.timeout.and_then(|timeout| HeaderValue::from_str(&notation(timeout)).ok()) {
        headers.insert(&TIMEOUT, told);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Head { method: Method::POST, path: call.path.to_owned(), headers, ..Head::default() }
}

/// A limit of time in gRPC's notation: in the smallest unit whose eight digits are enough.
fn notation(timeout: Duration) -> String {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let units = [(1, 'm'), (1000, 'S'), (60_000, 'M'), (3_600_000, 'H')];
    let fitting = units.into_iter().find(|(length, _)| millis / length <= TIMEOUT_MAX);
    let (length, unit) = fitting.unwrap_or((3_600_000, 'H'));
    format!("{}{unit}", (millis / length).min(TIMEOUT_MAX))
}

/// A message with its prefix.
fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The message of a good answer.
fn message_of(answer: SideAnswer) -> Result<Bytes, GrpcError> {
    let SideAnswer { head, mut body, trailers } = answer;
    if head.status != StatusCode::OK {
        return Err(GrpcError::Status(grpc::status_of_http(head.status.as_u16())));
    }
    // Where nothing else is said the trailers come as the head.
    let told = trailers.as_ref().and_then(|trailers| trailers.get(&STATUS)).or_else(|| head.headers.get(&STATUS));
    match told.and_then(|status| Status::of_header(status.as_bytes())) {
        Some(Status::Code(0)) => {}
        Some(Status::Code(code)) => return Err(GrpcError::Status(code)),
        Some(Status::Invalid) | None => return Err(GrpcError::Malformed),
    }
    let is_plain = body.try_get_u8().is_ok_and(|compressed| compressed == 0);
    let length = body.try_get_u32().map_err(|_| GrpcError::Malformed)?;
    if is_plain && usize::try_from(length).is_ok_and(|length| length == body.len()) { Ok(body) } else { Err(GrpcError::Malformed) }
}

#[cfg(test)]
mod tests {
    use crate::io::response::Parts;

    use super::*;

    #[test]
    fn a_limit_of_time_has_eight_digits() {
        let cases = [(200, "200m"), (99_999_999, "99999999m"), (100_000_000, "100000S"), (u64::MAX, "99999999H")];
        for (millis, told) in cases {
            assert_eq!(notation(Duration::from_millis(millis)), told);
        }
    }

    fn answered(status: u16, headers: &[(&'static str, &'static str)], trailers: Option<&'static str>, body: &'static [u8]) -> String {
        let fields = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect::<Headers>()
        };
        let head = Parts { status: StatusCode::from_u16(status).expect("a status"), headers: fields(headers), ..Parts::default() };
        let trailers = trailers.map(|status| fields(&[("grpc-status", status)]));
        match message_of(SideAnswer { head, body: Bytes::from_static(body), trailers }) {
            Ok(message) => String::from_utf8_lossy(&message).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_message_counts_with_status_0_and_whole() {
        let malformed = "the answer is no message";
        let cases: [(_, &[_], _, &[u8], _); 11] = [
            (200, &[], Some("0"), b"\0\0\0\0\x02ab", "ab"),
            (200, &[], Some("0"), b"\0\0\0\0\0", ""),
            // Two messages, less than one, one that is compressed, none.
            (200, &[], Some("0"), b"\0\0\0\0\x01ab", malformed),
            (200, &[], Some("0"), b"\0\0\0\0\x03ab", malformed),
            (200, &[], Some("0"), b"\x01\0\0\0\x02ab", malformed),
            (200, &[], Some("0"), b"", malformed),
            (200, &[], Some("14"), b"\0\0\0\0\x02ab", "the service answers with status 14"),
            (200, &[("grpc-status", "7")], None, b"", "the service answers with status 7"),
            (200, &[], None, b"\0\0\0\0\x02ab", malformed),
            (200, &[], Some("x"), b"\0\0\0\0\x02ab", malformed),
            (503, &[], None, b"", "the service answers with status 14"),
        ];
        for (status, headers, trailers, body, expected) in cases {
            assert_eq!(answered(status, headers, trailers, body), expected, "{status} {headers:?} {trailers:?} {body:?}");
        }
    }
}
