//! Faults on purpose: requests are held back, or answered with an error.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_routing::filters::fault::{Abort, FaultPolicy};

use super::{Flow, HttpFilter, Place};
use crate::http::call::{Call, RouteAnswer};
use crate::http::local_reply::LocalReply;
use crate::http::router::routes::Found;

/// The filter.
pub(super) struct Fault {
    policy: FaultPolicy,
    /// How many requests have a fault now. Each worker counts for itself.
    active: Rc<Cell<u32>>,
}

/// A request that has a fault, as long as it lives.
pub(super) struct Active {
    count: Rc<Cell<u32>>,
    /// For how long it is held back.
    delay: Duration,
}

impl Active {
    fn new(count: &Rc<Cell<u32>>, delay: Duration) -> Self {
        count.set(count.get() + 1);
        Self { count: count.clone(), delay }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

impl Fault {
    /// What the most specific level says, if it applies to the request.
    fn policy<'p>(&'p self, call: &Call, found: Option<&'p Found>, place: &Place) -> Option<&'p FaultPolicy> {
        let policy = found.and_then(|found| found.levels().most_specific(&place.name)).unwrap_or(&self.policy);
        let request = call.exchange.request.borrow();
        policy.applies(&request.for_routing(), found.and_then(Found::cluster_name)).then_some(policy)
    }

    /// Whether one more request may have a fault.
    fn has_room(&self, policy: &FaultPolicy) -> bool {
        policy.max_active.is_none_or(|most| self.active.get() < most)
    }

    fn delay(&self, call: &Call, policy: &FaultPolicy) -> Option<Duration> {
        let delay = policy.delay(&call.exchange.request.borrow().headers, fastrand::u32(..));
        delay.filter(|_| self.has_room(policy))
    }

    fn abort(&self, call: &mut Call, place: &Place, policy: &FaultPolicy) -> Flow {
        let abort = policy.abort(&call.exchange.request.borrow().headers, fastrand::u32(..));
        let Some(abort) = abort.filter(|_| self.has_room(policy)) else { return Flow::Continue };
        call.states.put::<Self>(place, Active::new(&self.active, Duration::ZERO));
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
    type State = Active;

    fn new(policy: &FaultPolicy) -> Self {
        Self { policy: policy.clone(), active: Rc::default() }
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let found = match call.route() {
            RouteAnswer::Route(found) => Some(found.clone()),
            RouteAnswer::Nowhere | RouteAnswer::ToHttps | RouteAnswer::Unclear => None,
        };
        let Some(policy) = self.policy(call, found.as_ref(), place) else { return Flow::Continue };
        match self.delay(call, policy) {
            Some(delay) => {
                call.states.put::<Self>(place, Active::new(&self.active, delay));
                Flow::Wait
            }
            None => self.abort(call, place, policy),
        }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        call.exchange.flag(ResponseFlags::DELAY_INJECTED);
        tokio::time::sleep(call.states.get::<Self>(place).map_or(Duration::ZERO, |held| held.delay)).await;
        call.exchange.routed.set(Some(Instant::now()));
        let found = call.found().cloned();
        match self.policy(call, found.as_ref(), place) {
            Some(policy) => self.abort(call, place, policy),
            None => Flow::Continue,
        }
    }
}
