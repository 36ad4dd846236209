//! What a cluster may use at once, in all workers together: Envoy's circuit breakers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>). Where there is no limit
//! nothing is counted, and so nothing is paid.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use weir_config::circuit_breakers::{CircuitBreakers, RESOURCES, Resource};

use super::budget::Recent;

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
        let Some(limit) = self.most(breakers, resource) else { return Ok(None) };
        let more = |used: u32| (used < limit).then_some(used + 1);
        if let (Some(interval), Resource::Requests) = (breakers.budget.and_then(|budget| budget.interval), resource) {
            self.recent.count(interval);
        }
        match self.used[resource as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Some(Permit { resources: self.clone(), resource })),
            Err(_) => Err(Overflow),
        }
    }

    /// The most that may be used of a resource, where it is counted at all.
    fn most(&self, breakers: &CircuitBreakers, resource: Resource) -> Option<u32> {
        match (breakers.budget, resource) {
            (Some(budget), Resource::Retries) => Some(budget.most(match budget.interval {
                Some(interval) => self.recent.sum(interval),
                None => self.used(Resource::Requests).saturating_add(self.used(Resource::Pending)),
            })),
            // The budget is a share of these.
            (Some(_), Resource::Requests | Resource::Pending) => Some(breakers.limit(resource).unwrap_or(u32::MAX)),
            _ => breakers.limit(resource),
        }
    }

    /// How many are used now.
    pub(super) fn used(&self, resource: Resource) -> u32 {
        self.used[resource as usize].load(Ordering::Relaxed)
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
    use weir_xds::cluster::CircuitBreakers as XdsCircuitBreakers;
    use weir_xds::cluster::circuit_breakers::Thresholds;

    use super::*;

    #[test]
    fn a_limit_holds_until_something_is_given_back() {
        let thresholds =
            vec![Thresholds { max_connections: Some(2), max_requests: Some(u32::MAX), max_retries: Some(u32::MAX), ..Default::default() }];
        let breakers = CircuitBreakers::compile(Some(&XdsCircuitBreakers { thresholds, ..Default::default() })).expect("valid");
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
