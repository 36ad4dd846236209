//! Bodies that a filter needs as a whole: how long they may be, and what becomes of a request or an answer where they cannot be had.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use weir_http1::Headers;

use super::Flow;
use super::buffer::too_large;
use crate::exchange::failure::{Failure, FailureKind};
use crate::http::body::ResponseBody;
use crate::http::body::held::Taken;
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::io::response::Parts;
use crate::upstream::body::answer::BrokenOff;
use crate::upstream::body::inbound::Held;

/// What may be held back of the body of a stream of HTTP/2, where its window does not say: Envoy's usual window.
const WINDOW: usize = 16 << 20;

/// A body, and its trailers if there are some.
pub(super) type Whole = (Bytes, Option<Headers>);

/// What may be held back of a body, as Envoy has it: what its connection, or its stream, may hold.
fn most(call: &Call) -> usize {
    match call.exchange.is_http1() {
        true => call.http.buffer_limit,
        false => call.http.config.http2_windows.stream.map_or(WINDOW, |window| window as usize),
    }
}

/// Waits for the body of a request, and takes it away; none where it has none.
///
/// # Errors
/// Says what becomes of the request, if it cannot be had.
pub(super) async fn of_request(call: &mut Call) -> Result<Option<Whole>, Flow> {
    let most = most(call);
    let Some(body) = &mut call.body else { return Ok(None) };
    match body.hold(most).await {
        Ok(Held::All(_)) => Ok(Some(body.take_held())),
        Ok(Held::TooLarge(size)) => Err(too_large(call, size)),
        Err(kind) => Err(Flow::Fail(Failure::from(kind))),
    }
}

/// The same of an answer. Where it cannot be had, the answer becomes one of ours, which no other filter sees.
pub(super) async fn of_answer(call: &mut Call, head: &mut Parts, body: &mut ResponseBody) -> Option<Whole> {
    let reply = match body.take_all(most(call)).await {
        Taken::All(data, trailers) => return Some((data, trailers)),
        Taken::Broken => broken_off(call, body).await,
        Taken::TooLarge => {
            call.exchange.detail("response_payload_too_large");
            LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    };
    call.replace_answer(reply, head, body);
    None
}

/// The answer where an instance's breaks off while a filter waits for it: its head may hold what the filter would have changed.
async fn broken_off(call: &mut Call, body: &mut ResponseBody) -> LocalReply {
    let failure = match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        Some(Err(BrokenOff(failure))) => failure,
        Some(Ok(_)) | None => Failure::of_answer(FailureKind::Closed),
    };
    let mut reply = call.fail(&failure);
    if !reply.status.is_server_error() {
        // The answer is at fault, and not the request.
        reply.status = StatusCode::BAD_GATEWAY;
    }
    reply
}
