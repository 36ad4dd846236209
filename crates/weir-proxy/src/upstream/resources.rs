//! What a cluster may use at once, in all workers together: Envoy's circuit breakers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>). Where there is no limit
//! nothing is counted, and so nothing is paid.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_xds::cluster::CircuitBreakers as XdsCircuitBreakers;

use super::budget::{Budget, Recent};

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

const RESOURCES: usize = 4;

/// A cluster's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CircuitBreakers {
    /// By [`Resource`].
    limits: [Option<u32>; RESOURCES],
    /// In place of a limit of retries.
    budget: Option<Budget>,
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

    /// The most that may be used of a resource, where it is counted at all.
    fn most(&self, resource: Resource, used: &Resources) -> Option<u32> {
        match (self.budget, resource) {
            (Some(budget), Resource::Retries) => Some(budget.most(used)),
            // The budget is a share of these.
            (Some(_), Resource::Requests | Resource::Pending) => Some(self.limit(resource).unwrap_or(u32::MAX)),
            _ => self.limit(resource),
        }
    }
}

/// What a cluster uses now.
#[derive(Debug, Default)]
pub struct Resources {
    used: [AtomicU32; RESOURCES],
    /// Requests that began of late, for a budget that looks back.
    recent: Recent,
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// One of a resource, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    resources: Arc<Resources>,
    resource: Resource,
}

impl Resources {
    /// Takes one of a resource; `None` where it has no limit.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn take(self: &Arc<Self>, breakers: &CircuitBreakers, resource: Resource) -> Result<Option<Permit>, Overflow> {
        let Some(limit) = breakers.most(resource, self) else { return Ok(None) };
        let more = |used: u32| (used < limit).then_some(used + 1);
        if let (Some(interval), Resource::Requests) = (breakers.budget.and_then(|budget| budget.interval), resource) {
            self.recent.count(interval);
        }
        match self.used[resource as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Some(Permit { resources: self.clone(), resource })),
            Err(_) => Err(Overflow),
        }
    }

    /// How many are used now.
    pub(super) fn used(&self, resource: Resource) -> u32 {
        self.used[resource as usize].load(Ordering::Relaxed)
    }

    /// Requests that began in the last interval.
    pub(super) fn recent(&self, interval: Duration) -> u32 {
        self.recent.sum(interval)
    }

    /// Takes one more than the limit allows, if need be.
    pub fn take_anyway(self: &Arc<Self>, resource: Resource) -> Permit {
        self.used[resource as usize].fetch_add(1, Ordering::Relaxed);
        Permit { resources: self.clone(), resource }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.resources.used[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::cluster::circuit_breakers::Thresholds;

    use super::*;

    #[test]
    fn a_limit_holds_until_something_is_given_back() {
        let thresholds = vec![Thresholds { max_connections: Some(2), max_requests: Some(u32::MAX), ..Default::default() }];
        let breakers = CircuitBreakers::compile(Some(&XdsCircuitBreakers { thresholds, ..Default::default() }));
        let resources = Arc::new(Resources::default());
        let take = |resource| resources.take(&breakers, resource).map(|permit| permit.is_some());
        assert_eq!((take(Resource::Requests), take(Resource::Retries)), (Ok(false), Ok(false)));
        let one = resources.take(&breakers, Resource::Connections).expect("room");
        let _two = resources.take_anyway(Resource::Connections);
        assert_eq!(take(Resource::Connections), Err(Overflow));
        drop(one);
        assert_eq!(take(Resource::Connections), Ok(true));
    }
}
