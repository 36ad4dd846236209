//! What a cluster may use at once, in all workers together: Envoy's circuit breakers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>) and its budget of retries.

use std::time::Duration;

use weir_routing::CompileError;
use weir_routing::action::{PRIORITIES, Priority};
use weir_xds::cluster::CircuitBreakers as XdsCircuitBreakers;
use weir_xds::cluster::circuit_breakers::Thresholds;
use weir_xds::cluster::circuit_breakers::thresholds::RetryBudget;
use weir_xds::core::RoutingPriority;
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

/// Envoy's limits where nothing is said, by [`Resource`]. Istio always says something.
const USUAL_LIMITS: [u32; RESOURCES] = [1024, 1024, 1024, 3];

/// A cluster's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CircuitBreakers([Limits; PRIORITIES]);

/// The limits of requests of one priority.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// By [`Resource`].
    limits: [Option<u32>; RESOURCES],
    /// In place of a limit of retries.
    pub budget: Option<Budget>,
}

impl CircuitBreakers {
    /// Compiles Envoy's thresholds; of each priority the first ones count.
    ///
    /// # Errors
    /// If a share of the retry budget is none.
    pub fn compile(breakers: Option<&XdsCircuitBreakers>) -> Result<Self, CompileError> {
        let none = XdsCircuitBreakers::default();
        // Limits of single instances are reported.
        let XdsCircuitBreakers { thresholds, per_host_thresholds: _ } = breakers.unwrap_or(&none);
        let of = |priority: RoutingPriority| {
            let own = thresholds.iter().find(|thresholds| thresholds.priority == priority as i32);
            own.map_or_else(|| Limits::compile(&Thresholds::default()), Limits::compile)
        };
        Ok(Self([of(RoutingPriority::Default)?, of(RoutingPriority::High)?]))
    }

    /// Those of a priority.
    pub fn of(&self, priority: Priority) -> &Limits {
        &self.0[priority as usize]
    }
}

impl Limits {
    /// What is not said is limited as Envoy limits it; the greatest number stands for no limit.
    fn compile(thresholds: &Thresholds) -> Result<Self, CompileError> {
        let Thresholds {
            priority: _,
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            retry_budget,
            // Only statistics.
            track_remaining: _,
            // Reported.
            max_connection_pools: _,
        } = thresholds;
        let budget = retry_budget.as_ref().map(Budget::compile).transpose().map_err(|error| error.within("thresholds.retry_budget"))?;
        let written = [max_connections, max_pending_requests, max_requests, max_retries];
        let mut limits = USUAL_LIMITS.map(Some);
        for (limit, written) in limits.iter_mut().zip(written) {
            *limit = written.or(*limit).filter(|limit| *limit != u32::MAX);
        }
        Ok(Self { limits, budget })
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
    ///
    /// # Errors
    /// If the share is none.
    pub fn compile(budget: &RetryBudget) -> Result<Self, CompileError> {
        let RetryBudget { budget_percent, budget_interval, min_retry_concurrency } = budget;
        let percent = budget_percent.as_ref().map_or(20.0, |percent| percent.value);
        if !(0.0..=100.0).contains(&percent) {
            return Err(CompileError::new("budget_percent", "is no share of a hundred"));
        }
        Ok(Self {
            share: percent / 100.0,
            least: min_retry_concurrency.unwrap_or(3),
            interval: budget_interval.as_ref().map(std_duration).filter(|interval| !interval.is_zero()),
        })
    }

    /// How many retries there may be at once beside so many requests.
    pub fn most(&self, requests: u32) -> u32 {
        ((f64::from(requests) * self.share) as u32).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_limited_as_envoy_limits_it() {
        let compile = |breakers: Option<&XdsCircuitBreakers>| CircuitBreakers::compile(breakers).expect("valid");
        let limits = |breakers: Option<&XdsCircuitBreakers>| compile(breakers).of(Priority::Usual).limits;
        assert_eq!(limits(None), [Some(1024), Some(1024), Some(1024), Some(3)]);
        let of = |thresholds| XdsCircuitBreakers { thresholds, ..Default::default() };
        let high = Thresholds { priority: 1, max_requests: Some(7), ..Default::default() };
        assert_eq!(limits(Some(&of(vec![high]))), limits(None));
        let usual = Thresholds { max_requests: Some(u32::MAX), max_retries: Some(0), ..Default::default() };
        let both = of(vec![high, usual]);
        assert_eq!(limits(Some(&both)), [Some(1024), Some(1024), None, Some(0)]);
        assert_eq!(compile(Some(&both)).of(Priority::High).limits, [Some(1024), Some(1024), Some(7), Some(3)]);
        assert_eq!(compile(None).of(Priority::High).limits, limits(None));
    }
}
