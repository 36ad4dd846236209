//! How long a request may take. Where nothing is limited there is no timer.

use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::StatusCode;
use weir_routing::action::Forward;
use weir_routing::retry::RetryPolicy;

use super::attempt::Failure;
use crate::config::http::HttpConfig;
use crate::http::request_body::Source;
use crate::log::exchange::Exchange;
use crate::log::flags::ResponseFlags;
use crate::stats::cluster::WorkerClusterStats;

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The answer took too long after the request was complete.
    Timeout,
    /// Nothing was sent either way.
    Idle,
    /// Nothing came of an answer that had begun.
    AttemptIdle,
    /// It lasted too long in all.
    Duration,
    /// The request did not come to its end.
    Request,
}

impl Expired {
    /// Envoy's flag, and its words.
    pub(in crate::http) fn describe(self) -> (ResponseFlags, &'static str) {
        match self {
            Self::Timeout => (ResponseFlags::UPSTREAM_TIMEOUT, "response_timeout"),
            Self::Idle => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
            Self::AttemptIdle => (ResponseFlags::UPSTREAM_TIMEOUT, "upstream_per_try_idle_timeout"),
            Self::Duration => (ResponseFlags::DURATION_TIMEOUT, "max_duration_timeout"),
            Self::Request => (ResponseFlags::default(), "request_overall_timeout"),
        }
    }

    /// What the client is told: the status, which depends on whether its request was complete, and the body.
    pub(in crate::http) fn answer(self, complete: bool) -> (StatusCode, &'static str) {
        let status = if complete { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::REQUEST_TIMEOUT };
        match self {
            Self::Timeout | Self::AttemptIdle => (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout"),
            Self::Idle => (status, "stream timeout"),
            Self::Duration => (status, "downstream duration timeout"),
            Self::Request => (StatusCode::REQUEST_TIMEOUT, "request timeout"),
        }
    }
}

/// Counts what is a cluster's matter.
pub(in crate::http) fn count_expired(expired: Expired, stats: &WorkerClusterStats) {
    match expired {
        Expired::Timeout => stats.rq_timeout.add(1),
        Expired::AttemptIdle => stats.rq_per_try_idle_timeout.add(1),
        Expired::Idle | Expired::Duration | Expired::Request => {}
    }
}

/// Resolves when a limit is reached.
pub type Expiry = Pin<Box<dyn Future<Output = Expired>>>;

/// The limits of a request and its answer.
pub(super) struct Limits {
    timeout: Option<Duration>,
    idle: Option<Duration>,
    duration: Option<Duration>,
    request: Option<Duration>,
}

impl Limits {
    /// Those of a route, whose limits of the answer and of the stream are known, or else of the listener. Where the route says zero, there is none.
    pub(super) fn new(timeout: Option<Duration>, duration: Option<Duration>, route: &Forward, listener: &HttpConfig) -> Self {
        let of_route = |limit: Option<Duration>, other| limit.map_or(other, |limit| (!limit.is_zero()).then_some(limit));
        Self { timeout, idle: of_route(route.idle_timeout, listener.stream_idle_timeout), duration, request: listener.request_timeout }
    }

    /// Watches over an exchange that the router got at `begun`; none if there is nothing to watch.
    pub(super) fn watch(self, exchange: &Rc<Exchange>, body: Option<&Rc<Source>>, begun: Instant) -> Option<Expiry> {
        let request = self.request.filter(|_| body.is_some());
        self.timeout.or(self.idle).or(self.duration).or(request)?;
        let (exchange, body) = (exchange.clone(), body.cloned());
        if self.idle.is_some() {
            exchange.active.set(Some(Instant::now()));
        }
        let start = exchange.start;
        Some(Box::pin(async move {
            let answer = async {
                let Some(timeout) = self.timeout else { return pending().await };
                ended(body.as_ref()).await;
                let complete = exchange.request_end.get().unwrap_or(begun).max(begun);
                tokio::time::sleep_until((complete + timeout).into()).await;
            };
            let upload = async {
                until(request.map(|limit| start + limit)).await;
                if body.as_ref().is_some_and(|body| body.has_ended()) {
                    pending::<()>().await;
                }
            };
            tokio::select! {
                () = answer => Expired::Timeout,
                () = silence(&exchange, self.idle) => Expired::Idle,
                () = until(self.duration.map(|limit| start + limit)) => Expired::Duration,
                () = upload => Expired::Request,
            }
        }))
    }
}

/// Watches over an answer that has begun: what watches over the exchange, and the policy's limit of silence.
pub(super) fn watch_answer(expiry: Option<Expiry>, policy: Option<&RetryPolicy>, exchange: &Rc<Exchange>) -> Option<Expiry> {
    let Some(idle) = policy.and_then(|policy| policy.per_try_idle_timeout) else { return expiry };
    exchange.active.set(Some(Instant::now()));
    let exchange = exchange.clone();
    Some(Box::pin(async move {
        let others = async {
            match expiry {
                Some(expiry) => expiry.await,
                None => pending().await,
            }
        };
        tokio::select! {
            expired = others => expired,
            () = silence(&exchange, Some(idle)) => Expired::AttemptIdle,
        }
    }))
}

/// The limits of one attempt, from the moment that it has a connection and the request is complete, to the head of the answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AttemptLimits {
    timeout: Option<Duration>,
    idle: Option<Duration>,
}

impl AttemptLimits {
    /// Those of a policy.
    pub(super) fn new(policy: Option<&RetryPolicy>) -> Self {
        let limit = |of: fn(&RetryPolicy) -> Option<Duration>| policy.and_then(of);
        Self { timeout: limit(|policy| policy.per_try_timeout), idle: limit(|policy| policy.per_try_idle_timeout) }
    }

    /// Waits for an attempt, but no longer than it may take.
    pub(super) async fn hold<T>(self, body: Option<&Rc<Source>>, attempt: impl Future<Output = T>) -> Result<T, Failure> {
        let (limit, failure) = match (self.timeout, self.idle) {
            (None, None) => return Ok(attempt.await),
            (Some(timeout), idle) if idle.is_none_or(|idle| timeout <= idle) => (timeout, Failure::AttemptTimedOut),
            (timeout, idle) => (idle.or(timeout).unwrap_or_default(), Failure::AttemptIdle),
        };
        let expiry = async {
            ended(body).await;
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            biased;
            answer = attempt => Ok(answer),
            () = expiry => Err(failure),
        }
    }
}

/// Waits for the end of a request's body.
async fn ended(body: Option<&Rc<Source>>) {
    if let Some(body) = body {
        body.end().await;
    }
}

/// Waits for a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => pending().await,
    }
}

/// Ends when nothing has passed for so long, or never.
async fn silence(exchange: &Exchange, limit: Option<Duration>) {
    let Some(limit) = limit else { return pending().await };
    loop {
        let end = exchange.active.get().unwrap_or(exchange.start) + limit;
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end.into()).await;
    }
}
