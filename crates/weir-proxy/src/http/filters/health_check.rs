//! Health checks of whoever stands before this proxy, answered here.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::StatusCode;
use weir_config::flags::ResponseFlags;
use weir_http1::header::{HeaderName, HeaderValue, X_ENVOY_DEGRADED};
use weir_routing::filters::health_check::{Check, Health, HealthCheckPolicy};

use super::{Back, Flow, HttpFilter, Place};
use crate::exchange::failure::Failure;
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::io::response::Parts;

/// Tells who answers for whom: the cluster that this proxy is of.
const HEALTHCHECKED: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// The filter.
pub(super) struct HealthCheck(HealthCheckPolicy);

/// A request that is a health check; what it is answered, if no instance is asked.
pub(super) struct Checked(Option<(Health, &'static str)>);

/// The time since a moment that is the same for all workers.
fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn answer(call: &Call, health: Health, details: &'static str) -> LocalReply {
    let status = StatusCode::from_u16(health.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    call.exchange.detail(details);
    if !status.is_success() {
        call.exchange.flag(ResponseFlags::FAILED_LOCAL_HEALTH);
    }
    let reply = LocalReply::new(status, "");
    if health.degraded { reply.with(X_ENVOY_DEGRADED, HeaderValue::from_static("")) } else { reply }
}

impl HttpFilter for HealthCheck {
    type Policy = HealthCheckPolicy;
    type State = Checked;

    fn new(policy: &HealthCheckPolicy) -> Self {
        Self(policy.clone())
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        if !self.0.is_check(&call.exchange.request.borrow().for_routing()) {
            return Flow::Continue;
        }
        call.exchange.is_health_check.set(true);
        let healthy = |name: &str| call.http.clusters.get(name).map(|cluster| cluster.healthy());
        let Check::Answered(health, details) = self.0.check(clock(), healthy) else {
            call.states.put::<Self>(place, Checked(None));
            return Flow::Continue;
        };
        call.states.put::<Self>(place, Checked(Some((health, details))));
        // As with Envoy the answer comes when all of the request has.
        if call.body.as_ref().is_some_and(|body| !body.is_end_stream()) { Flow::Wait } else { Flow::Answer(answer(call, health, details)) }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        let Some(Checked(Some((health, details)))) = call.states.get::<Self>(place) else { return Flow::Continue };
        let (health, details) = (*health, *details);
        if let Some(body) = &mut call.body {
            match body.pass_over().await {
                Ok(size) => call.exchange.bytes_received.set(size),
                Err(kind) => return Flow::Fail(Failure::from(kind)),
            }
        }
        Flow::Answer(answer(call, health, details))
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, _: &mut ResponseBody) -> Back {
        if call.states.get::<Self>(place).is_some() {
            let health = Health { status: head.status.as_u16(), degraded: head.headers.contains_key(X_ENVOY_DEGRADED) };
            self.0.note(clock(), health);
            let own = HeaderValue::from_str(&call.http.recording.identity().cluster);
            own.into_iter().for_each(|own| drop(head.headers.insert(HEALTHCHECKED, own)));
        }
        Back::Continue
    }
}
