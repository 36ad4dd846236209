//! Faults on purpose: requests are held back, or answered with an error.

use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_routing::fault::{Abort, Fault as Policy};

use super::{Flow, HttpFilter};
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;

/// The filter.
pub(super) struct Fault;

/// What the route says.
fn policy(call: &mut Call) -> Option<Policy> {
    let RouteAnswer::Route(found) = call.route() else { return None };
    found.route()?.filters.as_ref()?.fault.clone()
}

impl HttpFilter for Fault {
    fn on_request(&self, call: &mut Call) -> Flow {
        if policy(call).is_some() { Flow::Wait } else { Flow::Continue }
    }

    async fn wait(&self, call: &mut Call) -> Flow {
        let Some(fault) = policy(call) else { return Flow::Continue };
        if let Some(delay) = fault.delay.as_ref().and_then(|delay| delay.strike(fastrand::u32(..1_000_000))) {
            call.exchange.flag(ResponseFlags::DELAY_INJECTED);
            tokio::time::sleep(delay).await;
            call.exchange.routed.set(Some(Instant::now()));
        }
        let Some(abort) = fault.abort.as_ref().and_then(|abort| abort.strike(fastrand::u32(..1_000_000))) else {
            return Flow::Continue;
        };
        call.exchange.flag(ResponseFlags::FAULT_INJECTED);
        call.exchange.detail("fault_filter_abort");
        let body = Bytes::from_static(b"fault filter abort");
        Flow::Answer(match abort {
            Abort::Http(status) => LocalReply::new(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), body),
            // Of no meaning to who does not speak gRPC: Envoy answers 200 then.
            Abort::Grpc(status) => LocalReply::new(StatusCode::OK, body).with_grpc_status(status),
        })
    }
}
