//! Whether a failed attempt is made again, when, and where.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderMap;
use smallvec::SmallVec;
use weir_routing::retry::{RetryOn, RetryPolicy};

use super::attempt::{Answer, Failure};
use crate::http::request_body::Source;
use crate::worker::cluster::{ClusterRuntime, LbContext};

/// The retries of one request.
pub(super) struct Retries<'p> {
    policy: Option<&'p RetryPolicy>,
    made: u32,
    /// The instances of the attempts before, in their order.
    tried: SmallVec<[SocketAddr; 2]>,
}

/// The gRPC status in the head of an answer, which is there if the answer has no body.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl<'p> Retries<'p> {
    /// Under a route's policy; without one nothing is retried.
    pub(super) fn new(policy: Option<&'p RetryPolicy>) -> Self {
        Self { policy, made: 0, tried: SmallVec::new() }
    }

    pub(super) fn policy(&self) -> Option<&'p RetryPolicy> {
        self.policy
    }

    /// What the choice of the next attempt's instance depends on.
    pub(super) fn context<'r>(&'r self, of_request: LbContext<'r>) -> LbContext<'r> {
        let Some(policy) = self.policy.filter(|_| !self.tried.is_empty()) else { return of_request };
        let tried = self.tried.as_slice();
        let (avoid, tries) = if policy.other_hosts { (tried, policy.host_selection_attempts) } else { (&[][..], of_request.tries) };
        LbContext { avoid, tries, tried, other_priorities: policy.other_priorities, ..of_request }
    }

    /// An attempt was made at this instance.
    pub(super) fn note(&mut self, address: Option<SocketAddr>) {
        self.tried.extend(address);
    }

    /// How long to wait before the next attempt; none if there is to be none.
    pub(super) fn next(
        &mut self,
        result: &Result<Answer, Failure>,
        body: Option<&Rc<Source>>,
        cluster: &ClusterRuntime,
    ) -> Option<Duration> {
        let policy = self.policy?;
        if !wants_retry(policy, result) {
            if self.made > 0 {
                cluster.with_stats(|stats| stats.rq_retry_success.add(1));
            }
            return None;
        }
        if self.made >= policy.retries || body.is_some_and(|body| !body.can_replay()) {
            return None;
        }
        self.made += 1;
        Some(self.pause(policy))
    }

    /// Somewhere between nothing and a limit that doubles each time: Envoy's jittered exponential back-off.
    fn pause(&self, policy: &RetryPolicy) -> Duration {
        let doubled = policy.base_interval.saturating_mul(1 << (self.made - 1).min(16));
        let limit = doubled.min(policy.max_interval).as_micros() as u64;
        Duration::from_micros(fastrand::u64(0..=limit))
    }

    /// Whether the result would be retried, were there retries left.
    pub(super) fn are_exceeded(&self, result: &Result<Answer, Failure>) -> bool {
        self.policy.is_some_and(|policy| self.made >= policy.retries && policy.retries > 0 && wants_retry(policy, result))
    }
}

fn wants_retry(policy: &RetryPolicy, result: &Result<Answer, Failure>) -> bool {
    let on = policy.on;
    match result {
        Ok(answer) => {
            let status = answer.response.status().as_u16();
            let by_grpc = grpc_status(answer.response.headers()).is_some_and(|status| on.has_grpc_status(status));
            by_grpc
                || (on.has(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
                || (on.has(RetryOn::GATEWAY_ERROR) && matches!(status, 502..=504))
                || (on.has(RetryOn::RETRIABLE_4XX) && status == 409)
                || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && policy.status_codes.contains(&status))
                || (on.has(RetryOn::ENVOY_RATELIMITED) && answer.response.headers().contains_key("x-envoy-ratelimited"))
        }
        Err(failure) => {
            let any_reset = RetryOn::SERVER_ERROR.and(RetryOn::GATEWAY_ERROR).and(RetryOn::RESET);
            match failure {
                Failure::NoInstance | Failure::Unresolved | Failure::TimedOut | Failure::Overflow => false,
                Failure::Connect(_) => on.has(any_reset.and(RetryOn::CONNECT_FAILURE).and(RetryOn::RESET_BEFORE_REQUEST)),
                Failure::RefusedStream => on.has(any_reset.and(RetryOn::REFUSED_STREAM)),
                Failure::Closed | Failure::Reset | Failure::Protocol | Failure::AttemptTimedOut => on.has(any_reset),
            }
        }
    }
}
