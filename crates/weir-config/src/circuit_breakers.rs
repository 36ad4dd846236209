//! What a cluster may use at once, in all workers together: Envoy's circuit breakers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>) and its budget of retries.

use std::time::Duration;

use weir_xds::cluster::CircuitBreakers as XdsCircuitBreakers;
use weir_xds::cluster::circuit_breakers::thresholds::RetryBudget;
use weir_xds::values::std_duration;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Connections to instances.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests.
    Requests,
    /// Requests that are tried again.
    Retries,
}

/// How many resources there are.
pub const RESOURCES: usize = 4;

/// A cluster's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CircuitBreakers {
    /// By [`Resource`].
    limits: [Option<u32>; RESOURCES],
    /// In place of a limit of retries.
    pub budget: Option<Budget>,
}

impl CircuitBreakers {
    /// Compiles Envoy's thresholds, those of the usual priority. The greatest number stands for no limit, which is also what
    /// holds where nothing is said: Istio always says it.
    pub fn compile(breakers: Option<&XdsCircuitBreakers>) -> Self {
        let thresholds = breakers.and_then(|breakers| breakers.thresholds.iter().find(|thresholds| thresholds.priority == 0));
        let Some(thresholds) = thresholds else { return Self::default() };
        let budget = thresholds.retry_budget.as_ref().map(Budget::compile);
        let limits = [thresholds.max_connections, thresholds.max_pending_requests, thresholds.max_requests, thresholds.max_retries];
        Self { limits: limits.map(|limit| limit.filter(|limit| *limit != u32::MAX)), budget }
    }

    /// The limit of a resource, if it has one.
    pub fn limit(&self, resource: Resource) -> Option<u32> {
        self.limits[resource as usize]
    }
}

/// How many retries there may be at once: a share of the requests, so that a service that fails is not asked many times as
/// often as one that does not. Envoy's `retry_budget`
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// A share of the requests.
    share: f64,
    /// But no less than this.
    least: u32,
    /// The requests that began in this time; without it those that there are now.
    pub interval: Option<Duration>,
}

impl Budget {
    /// Compiles Envoy's, with its defaults.
    pub fn compile(budget: &RetryBudget) -> Self {
        Self {
            share: budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value.clamp(0.0, 100.0)) / 100.0,
            least: budget.min_retry_concurrency.unwrap_or(3),
            interval: budget.budget_interval.as_ref().map(std_duration).filter(|interval| !interval.is_zero()),
        }
    }

    /// How many retries there may be at once beside so many requests.
    pub fn most(&self, requests: u32) -> u32 {
        ((f64::from(requests) * self.share) as u32).max(self.least)
    }
}
