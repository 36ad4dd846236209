//! What a route asks of filters, before a request is sent on: faults first, then cross-origin requests.

use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use weir_routing::filters::Overrides;
use weir_routing::filters::cors::{CorsPolicies, Verdict};
use weir_routing::filters::fault::{Abort, FaultPolicy};

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
pub(super) async fn pass(call: Call, filters: &Overrides) -> Passed {
    let applies = |fault: &&FaultPolicy| {
        let cluster = call.exchange.cluster.borrow();
        let cluster = cluster.as_ref().map(|cluster| cluster.policy().name.clone());
        fault.applies(&call.exchange.request.borrow().for_routing(), cluster.as_deref())
    };
    let (mut call, held) = match filters.fault().filter(applies) {
        None => (call, None),
        Some(fault) => match inject(call, fault).await {
            Passed::On(call, held) => (call, held),
            answered @ Passed::Answered(_) => return answered,
        },
    };
    let verdict = {
        let request = call.exchange.request.borrow();
        CorsPolicies::new(filters.cors()).judge(request.method.as_str(), &request.headers, || fastrand::u32(..))
    };
    match verdict {
        Verdict::Forward => {}
        Verdict::Allow(origin) => call.allowed_origin = Some(origin),
        Verdict::Answer(headers) => return Passed::Answered(preflight(call, headers)),
    }
    Passed::On(call, held)
}

async fn inject(call: Call, fault: &FaultPolicy) -> Passed {
    let mut held = None;
    let delay = fault.delay(&call.exchange.request.borrow().headers, fastrand::u32(..));
    if let Some(delay) = delay {
        call.exchange.flag(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(delay).await;
        held = Some(Instant::now());
    }
    let abort = fault.abort(&call.exchange.request.borrow().headers, fastrand::u32(..));
    let Some(abort) = abort else { return Passed::On(call, held) };
    call.exchange.flag(ResponseFlags::FAULT_INJECTED);
    call.exchange.detail("fault_filter_abort");
    let body = Bytes::copy_from_slice(fault.abort_body());
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
    CorsPolicies::new(matched.route().and_then(|route| route.filters.cors())).allow(origin.clone(), headers);
}
