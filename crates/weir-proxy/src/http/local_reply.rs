//! Answers that the proxy gives itself: in plain text, or, to a gRPC call, as gRPC understands them.

use bytes::Bytes;
use http::StatusCode;
use weir_config::head::Refusal;
use weir_http1::header::{self, HeaderName, HeaderValue, Headers};
use weir_routing::grpc;

use crate::io::response::Parts;

/// An answer without a body of an instance.
#[derive(Debug)]
pub struct LocalReply {
    /// The status code.
    pub status: StatusCode,
    /// The body; empty for none.
    pub body: Bytes,
    /// Headers beside those that the body makes.
    pub headers: Headers,
    /// The gRPC status, where it does not follow from the status code.
    pub grpc_status: Option<u32>,
    /// Whether the header changes of routes apply to it.
    pub changes_headers: bool,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl LocalReply {
    /// An answer with a body.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), headers: Headers::new(), grpc_status: None, changes_headers: true }
    }

    /// What a request is answered that does not go on.
    pub fn of_refusal(refusal: Refusal) -> Self {
        let location = refusal.location.and_then(|path| HeaderValue::try_from(path.as_str()).ok());
        // No route answers for it.
        let reply = Self { changes_headers: false, ..Self::new(refusal.status, refusal.body) };
        location.into_iter().fold(reply, |reply, path| reply.with(header::LOCATION, path))
    }

    /// An answer of headers alone, which no route changes.
    pub fn bare(headers: Headers) -> Self {
        Self { headers, changes_headers: false, ..Self::new(StatusCode::OK, Bytes::new()) }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a gRPC status of its own.
    #[must_use]
    pub fn with_grpc_status(mut self, status: u32) -> Self {
        self.grpc_status = Some(status);
        self
    }

    /// Its head and body. To a gRPC call the status becomes a gRPC status, and the body its message.
    pub fn into_parts(self, grpc: bool) -> (Parts, Bytes) {
        let Self { status, body, headers, grpc_status: own, changes_headers: _ } = self;
        let mut head = Parts { headers, ..Parts::default() };
        if grpc {
            let headers = &mut head.headers;
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, HeaderValue::from(own.unwrap_or_else(|| grpc::status_of_http(status.as_u16()))));
            if !body.is_empty()
                && let Ok(message) = HeaderValue::from_bytes(&grpc::encode_message(&body))
            {
                headers.insert(GRPC_MESSAGE, message);
            }
            return (head, Bytes::new());
        }
        head.status = status;
        if body.is_empty() {
            // Also if a route says what it is.
            head.headers.remove(header::CONTENT_TYPE);
        } else {
            head.headers.insert_if_absent(header::CONTENT_TYPE, || HeaderValue::from_static("text/plain"));
        }
        (head, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_call_is_refused_in_its_own_language() {
        let reply = || LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream");
        let (head, body) = reply().into_parts(true);
        assert_eq!((head.status, body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers["grpc-status"], "14");
        assert_eq!(head.headers["grpc-message"], "no healthy upstream");
        let (head, body) = reply().into_parts(false);
        assert_eq!((head.status, &body[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"no healthy upstream"[..]));
        assert_eq!(head.headers["content-type"], "text/plain");
    }
}
