//! What a route asks of filters, before a request is sent on: faults first, then cross-origin requests.

use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use weir_routing::cors::{Cors, Verdict};
use weir_routing::fault::{Abort, Fault};
use weir_routing::filters::Filters;

use super::handle::Call;
use super::local_reply::LocalReply;
use super::response_body::ResponseBody;
use crate::log::flags::ResponseFlags;
use crate::worker::routes::Matched;

/// What the filters made of a request.
pub(super) enum Passed {
    /// It goes on; the route's timeout begins then, where a fault held it back.
    On(Call, Option<Instant>),
    /// It has been answered.
    Answered(Response<ResponseBody>),
}

/// Takes a request through the filters.
pub(super) async fn pass(call: Call, filters: &Filters) -> Passed {
    let (mut call, held) = match &filters.fault {
        None => (call, None),
        Some(fault) => match inject(call, fault).await {
            Passed::On(call, held) => (call, held),
            answered @ Passed::Answered(_) => return answered,
        },
    };
    let Some(cors) = &filters.cors else { return Passed::On(call, held) };
    let verdict = {
        let request = call.exchange.request.borrow();
        cors.judge(request.method.as_str(), &request.headers)
    };
    match verdict {
        Verdict::Forward => {}
        Verdict::Allow(origin) => call.allowed_origin = Some(origin),
        Verdict::Answer(headers) => return Passed::Answered(preflight(call, headers)),
    }
    Passed::On(call, held)
}

async fn inject(call: Call, fault: &Fault) -> Passed {
    let mut held = None;
    if let Some(delay) = fault.delay.as_ref().and_then(|delay| delay.strike(fastrand::u32(..1_000_000))) {
        call.exchange.flag(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(delay).await;
        held = Some(Instant::now());
    }
    let Some(abort) = fault.abort.as_ref().and_then(|abort| abort.strike(fastrand::u32(..1_000_000))) else {
        return Passed::On(call, held);
    };
    call.exchange.flag(ResponseFlags::FAULT_INJECTED);
    call.exchange.detail("fault_filter_abort");
    let body = Bytes::from_static(b"fault filter abort");
    let reply = match abort {
        Abort::Http(status) => LocalReply::new(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), body),
        // Of no meaning to who does not speak gRPC: Envoy answers 200 then.
        Abort::Grpc(status) => LocalReply::new(StatusCode::OK, body).with_grpc_status(status),
    };
    Passed::Answered(call.reply(reply))
}

/// The answer to a preflight: no route's header changes apply to it.
fn preflight(call: Call, headers: HeaderMap) -> Response<ResponseBody> {
    call.exchange.code.set(200);
    call.exchange.detail("cors_response");
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = headers;
    call.finish(response, ResponseBody::local)
}

/// Tells the browser that the origin may read the answer.
pub(super) fn allow_origin(matched: &Matched, origin: &HeaderValue, headers: &mut HeaderMap) {
    let filters = matched.route().and_then(|route| route.filters.as_deref());
    if let Some(cors) = filters.and_then(|filters| filters.cors.as_ref()) {
        Cors::allow(cors, origin.clone(), headers);
    }
}
