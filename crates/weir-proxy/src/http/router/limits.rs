//! How long a request may take. Where nothing is limited there is no timer.

use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use weir_config::http::HttpConfig;
use weir_routing::action::Forward;
use weir_routing::retry::RetryPolicy;

use crate::exchange::Exchange;
use crate::exchange::failure::Expired;
use crate::upstream::body::ClientBody;
use crate::upstream::body::answer::Expiry;

/// The limits of a request and its answer.
pub(super) struct TimeLimits {
    timeout: Option<Duration>,
    idle: Option<Duration>,
    duration: Option<Duration>,
    request: Option<Duration>,
}

impl TimeLimits {
    /// Those of a route, whose limits of the answer and of the stream are known, or else of the listener. Where the route says
    /// zero, there is none.
    pub(super) fn new(timeout: Option<Duration>, duration: Option<Duration>, route: &Forward, listener: &HttpConfig) -> Self {
        let of_route = |limit: Option<Duration>, other| limit.map_or(other, |limit| (!limit.is_zero()).then_some(limit));
        Self { timeout, idle: of_route(route.idle_timeout, listener.stream_idle_timeout), duration, request: listener.request_timeout }
    }

    /// Watches over an exchange; none if there is nothing to watch.
    pub(super) fn watch(self, exchange: &Rc<Exchange>, body: Option<&Rc<ClientBody>>) -> Option<Expiry> {
        let request = self.request.filter(|_| body.is_some());
        self.timeout.or(self.idle).or(self.duration).or(request)?;
        let (exchange, body) = (exchange.clone(), body.cloned());
        if self.idle.is_some() {
            exchange.active.set(Some(Instant::now()));
        }
        let start = exchange.start;
        let routed = exchange.routed.get().unwrap_or(start);
        Some(Box::pin(async move {
            let answer = async {
                let Some(timeout) = self.timeout else { return pending().await };
                ended(body.as_ref()).await;
                let complete = exchange.request_end.get().unwrap_or(routed).max(routed);
                tokio::time::sleep_until((complete + timeout).into()).await;
            };
            let upload = async {
                until(request.map(|limit| start + limit)).await;
                if body.as_ref().is_some_and(|body| body.has_ended()) {
                    pending::<()>().await;
                }
            };
            let is_complete = || body.as_ref().is_none_or(|body| body.has_ended());
            tokio::select! {
                () = answer => Expired::Timeout,
                () = silence(&exchange, self.idle) => Expired::Idle(is_complete()),
                () = until(self.duration.map(|limit| start + limit)) => Expired::Duration(is_complete()),
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

/// Waits for the end of a request's body.
async fn ended(body: Option<&Rc<ClientBody>>) {
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
    match limit {
        Some(limit) => exchange.silence(limit).await,
        None => pending().await,
    }
}
