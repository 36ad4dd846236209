//! Faults on purpose: requests are held back, or answered with an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_routing::filters::bandwidth_limit::Bucket;
use weir_routing::filters::fault::{Abort, ActiveFault, FaultPolicy};

use super::bandwidth_limit::Pace;
use super::{Back, Flow, HttpFilter, Place};
use crate::http::body::ResponseBody;
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;
use crate::io::response::Parts;

/// The filter.
pub(super) struct Fault(FaultPolicy);

/// What a request has of faults, as long as it lives.
pub(super) struct Faulty {
    /// Counts it, once for all its faults.
    #[expect(dead_code, reason = "it counts until it is dropped")]
    active: ActiveFault,
    /// For how long it is held back.
    delay: Duration,
    /// How many KiB of its answer's body pass in a second, if that is limited.
    throttle: Option<u64>,
}

impl Fault {
    /// What the most specific level says, if it applies to the request.
    fn policy<'p>(&'p self, call: &Call, found: Option<&'p Found>, place: &Place) -> Option<&'p FaultPolicy> {
        let policy = found.and_then(|found| found.levels().most_specific(&place.name)).unwrap_or(&self.0);
        if policy.is_empty() {
            return None;
        }
        let request = call.exchange.request.borrow();
        policy.applies(&request.for_routing(), found.and_then(Found::cluster_name)).then_some(policy)
    }

    /// Whether a request is held back: by its policy, and where one more may have a fault.
    fn hold(&self, call: &mut Call, place: &Place, policy: &FaultPolicy) -> bool {
        let delay = policy.delay(&call.exchange.request.borrow().headers, fastrand::u32(..));
        delay.is_some_and(|delay| self.enter(call, place, policy, |faulty| faulty.delay = delay))
    }

    /// Slows the answer down, by its policy.
    fn throttle(&self, call: &mut Call, place: &Place, policy: &FaultPolicy) {
        let limit = policy.throttle(&call.exchange.request.borrow().headers, fastrand::u32(..));
        if limit.is_some() && self.enter(call, place, policy, |faulty| faulty.throttle = limit) {
            self.0.counted.response_rl_injected.count();
        }
    }

    /// Counts a request among those that have a fault, and notes it; whether it may have one.
    fn enter(&self, call: &mut Call, place: &Place, policy: &FaultPolicy, note: impl FnOnce(&mut Faulty)) -> bool {
        if let Some(faulty) = call.states.get::<Self>(place) {
            note(faulty);
            return true;
        }
        let Some(active) = policy.enter(&self.0.active) else {
            self.0.counted.faults_overflow.count();
            return false;
        };
        let mut faulty = Faulty { active, delay: Duration::ZERO, throttle: None };
        note(&mut faulty);
        call.states.put::<Self>(place, faulty);
        true
    }

    fn abort(&self, call: &mut Call, place: &Place, policy: &FaultPolicy) -> Flow {
        let abort = policy.abort(&call.exchange.request.borrow().headers, fastrand::u32(..));
        let Some(abort) = abort.filter(|_| self.enter(call, place, policy, |_| {})) else { return Flow::Continue };
        self.0.counted.aborts_injected.count();
        call.exchange.flag(ResponseFlags::FAULT_INJECTED);
        call.exchange.detail("fault_filter_abort");
        let body = Bytes::copy_from_slice(policy.abort_body());
        Flow::Answer(match abort {
            Abort::Http(status) => LocalReply::new(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), body),
            // Of no meaning to who does not speak gRPC: Envoy answers 200 then.
            Abort::Grpc(status) => LocalReply::new(StatusCode::OK, body).with_grpc_status(status),
        })
    }
}

impl HttpFilter for Fault {
    type Policy = FaultPolicy;
    type State = Faulty;

    fn new(policy: &FaultPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let found = match call.route() {
            RouteAnswer::Route(found) => Some(found.clone()),
            RouteAnswer::Nowhere | RouteAnswer::ToHttps | RouteAnswer::Unclear => None,
        };
        let Some(policy) = self.policy(call, found.as_ref(), place) else { return Flow::Continue };
        self.throttle(call, place, policy);
        if self.hold(call, place, policy) { Flow::Wait } else { self.abort(call, place, policy) }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        self.0.counted.delays_injected.count();
        call.exchange.flag(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(call.states.get::<Self>(place).map_or(Duration::ZERO, |held| held.delay)).await;
        call.exchange.routed.set(Some(Instant::now()));
        call.waited = true;
        let found = call.found().cloned();
        match self.policy(call, found.as_ref(), place) {
            Some(policy) => self.abort(call, place, policy),
            None => Flow::Continue,
        }
    }

    fn on_response(&self, call: &mut Call, place: &Place, _: &mut Parts, body: &mut ResponseBody) -> Back {
        let limit = call.states.get::<Self>(place).and_then(|faulty| faulty.throttle);
        if let Some(limit) = limit.filter(|_| !body.is_empty()) {
            body.push_step(Box::new(Pace::new(Arc::new(Bucket::of(limit)))));
        }
        Back::Continue
    }
}
