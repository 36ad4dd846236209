//! How long one attempt may take. Where nothing is limited there is no timer.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use weir_routing::retry::RetryPolicy;

use super::body::ClientBody;
use crate::exchange::failure::{Expired, Failure, FailureKind};

/// The limits of one attempt, from the moment that it has a connection and the request is complete, to the head of the answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttemptLimits {
    timeout: Option<Duration>,
    idle: Option<Duration>,
}

impl AttemptLimits {
    /// Those of a route's policy; they are for each attempt, also for one that the policy would not make again.
    pub fn new(policy: Option<&RetryPolicy>) -> Self {
        let limit = |of: fn(&RetryPolicy) -> Option<Duration>| policy.and_then(of);
        Self { timeout: limit(|policy| policy.per_try_timeout), idle: limit(|policy| policy.per_try_idle_timeout) }
    }

    /// Waits for an attempt, but no longer than it may take.
    ///
    /// # Errors
    /// If it took too long.
    pub async fn hold<T>(self, body: Option<&Rc<ClientBody>>, attempt: impl Future<Output = T>) -> Result<T, Failure> {
        let (limit, expired) = match (self.timeout, self.idle) {
            (None, None) => return Ok(attempt.await),
            (Some(timeout), idle) if idle.is_none_or(|idle| timeout <= idle) => (timeout, Expired::Attempt),
            (timeout, idle) => (idle.or(timeout).unwrap_or_default(), Expired::AttemptIdle),
        };
        // Most have no limit, and are not to hold room for one.
        let expiry = Box::pin(async {
            if let Some(body) = body {
                body.end().await;
            }
            tokio::time::sleep(limit).await;
        });
        tokio::select! {
            biased;
            answer = attempt => Ok(answer),
            () = expiry => Err(Failure::after_sending(FailureKind::Expired(expired))),
        }
    }
}
