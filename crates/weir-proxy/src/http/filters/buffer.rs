//! Requests that are held back until all of their body is there.

use http::StatusCode;
use weir_http1::header::{self, HeaderValue};
use weir_routing::filters::buffer::BufferPolicy;

use super::{Flow, HttpFilter, Place};
use crate::exchange::failure::Failure;
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::upstream::body::inbound::Held;

/// The filter.
pub(super) struct Buffer(BufferPolicy);

impl Buffer {
    /// How a request is buffered, if it is.
    fn policy(&self, call: &mut Call, place: &Place) -> Option<BufferPolicy> {
        call.route();
        self.0.with(call.found().and_then(|found| found.levels().most_specific(&place.name)))
    }
}

/// Answers a request of whose body so many bytes have come, which are too many.
pub(super) fn too_large(call: &Call, size: usize) -> Flow {
    call.exchange.bytes_received.set(size as u64);
    call.exchange.detail("request_payload_too_large");
    Flow::Answer(LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"))
}

impl HttpFilter for Buffer {
    type Policy = BufferPolicy;
    type State = ();

    fn new(policy: &BufferPolicy) -> Self {
        Self(*policy)
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let has_body = call.body.as_ref().is_some_and(|body| !body.is_end_stream());
        if has_body && self.policy(call, place).is_some() { Flow::Wait } else { Flow::Continue }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        let Some(policy) = self.policy(call, place) else { return Flow::Continue };
        let Some(body) = &mut call.body else { return Flow::Continue };
        match body.hold(policy.max_request_bytes as usize).await {
            Ok(Held::All(size)) => {
                let headers = &mut call.exchange.request.borrow_mut().headers;
                headers.insert_if_absent(header::CONTENT_LENGTH, || HeaderValue::from(size));
                Flow::Continue
            }
            Ok(Held::TooLarge(size)) => too_large(call, size),
            Err(kind) => Flow::Fail(Failure::from(kind)),
        }
    }
}
