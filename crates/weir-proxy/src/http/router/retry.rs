//! Whether a failed attempt is made again, when, and where.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_http1::header::{self, Headers};
use weir_routing::grpc::Status;
use weir_routing::retry::{RetryOn, RetryPolicy};

use weir_config::head::Head;

use super::attempt::Answer;
use crate::exchange::failure::Failure;
use crate::upstream::body::ClientBody;
use crate::upstream::cluster::{ClusterRuntime, LbContext};

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// As the policy says.
    Ours(Duration),
    /// As the answer says.
    Asked(Duration),
}

/// The retries of one request.
pub(super) struct Retries<'p> {
    policy: Option<&'p RetryPolicy>,
    made: u32,
    /// The instances of the attempts before, in their order.
    tried: Vec<SocketAddr>,
}

/// The gRPC status in the head of an answer, which is there if the answer has no body.
pub(super) fn grpc_status(headers: &Headers) -> Option<Status> {
    headers.get(header::GRPC_STATUS).and_then(|status| Status::of_header(status.as_bytes()))
}

/// The same, where it is a number.
pub(super) fn grpc_code(headers: &Headers) -> Option<u32> {
    match grpc_status(headers)? {
        Status::Code(code) => Some(code),
        Status::Invalid => None,
    }
}

impl<'p> Retries<'p> {
    /// Under a route's policy; without one nothing is retried.
    pub(super) fn new(policy: Option<&'p RetryPolicy>, head: &Head) -> Self {
        let meant = |policy: &RetryPolicy| {
            let headers = &policy.request_headers;
            headers.is_empty() || headers.iter().any(|header| header.holds(&head.for_routing()))
        };
        let policy = policy.filter(|policy| meant(policy));
        Self { policy, made: 0, tried: vec![] }
    }

    /// What the choice of the next attempt's instance depends on.
    pub(super) fn context<'r>(&'r self, of_request: LbContext<'r>) -> LbContext<'r> {
        let Some(policy) = self.policy.filter(|_| !self.tried.is_empty()) else { return of_request };
        let tried = self.tried.as_slice();
        let (avoid, tries) = if policy.other_hosts { (tried, policy.host_selection_attempts) } else { (&[][..], of_request.tries) };
        LbContext { avoid, tries, tried, other_priorities: policy.other_priorities, wanted: None, ..of_request }
    }

    /// An attempt was made at this instance.
    pub(super) fn note(&mut self, address: Option<SocketAddr>) {
        self.tried.extend(address);
    }

    /// How long to wait before the next attempt; none if there is to be none.
    pub(super) fn next(
        &mut self,
        result: &Result<Answer, Failure>,
        body: Option<&Rc<ClientBody>>,
        cluster: &ClusterRuntime,
    ) -> Option<Pause> {
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
        Some(wait(policy, result).unwrap_or_else(|| Pause::Ours(self.pause(policy))))
    }

    /// Somewhere between nothing and a limit that doubles each time: Envoy's jittered exponential back-off.
    fn pause(&self, policy: &RetryPolicy) -> Duration {
        let doubled = policy.base_interval.saturating_mul(1 << (self.made - 1).min(16));
        let limit = doubled.min(policy.max_interval).as_micros() as u64;
        Duration::from_micros(fastrand::u64(0..=limit))
    }

    /// Whether the result would be retried, were there retries left.
    pub(super) fn are_exceeded(&self, result: &Result<Answer, Failure>) -> bool {
        self.policy.is_some_and(|policy| self.made >= policy.retries && wants_retry(policy, result))
    }
}

/// How long an answer asks to wait, where the policy listens to it. Somewhat longer, at random: not all are to come back at
/// once.
fn wait(policy: &RetryPolicy, result: &Result<Answer, Failure>) -> Option<Pause> {
    let (Some(limited), Ok(answer)) = (&policy.rate_limited, result) else { return None };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wait = limited.wait(&answer.head.headers, now)?;
    Some(Pause::Asked(wait + wait.mul_f64(fastrand::f64() / 2.0)))
}

fn wants_retry(policy: &RetryPolicy, result: &Result<Answer, Failure>) -> bool {
    let on = policy.on;
    match result {
        Ok(answer) => {
            let headers = &answer.head.headers;
            // Another proxy refused it for its limit: this word alone counts.
            if headers.contains_key(header::X_ENVOY_RATELIMITED) {
                return on.has(RetryOn::ENVOY_RATELIMITED);
            }
            let status = answer.head.status.as_u16();
            let by_grpc = grpc_code(headers).is_some_and(|status| on.has_grpc_status(status));
            by_grpc
                || (on.has(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
                || (on.has(RetryOn::GATEWAY_ERROR) && matches!(status, 502..=504))
                || (on.has(RetryOn::RETRIABLE_4XX) && status == 409)
                || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && policy.status_codes.contains(&status))
                || (on.has(RetryOn::RETRIABLE_HEADERS)
                    && policy.headers.iter().any(|header| header.holds_for_answer(answer.head.status, headers)))
        }
        Err(failure) => on.has(failure.retried_by()),
    }
}
