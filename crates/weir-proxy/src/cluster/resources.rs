//! What a cluster may use at once, in all workers together: Envoy's circuit breakers
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>). Where there is no limit
//! nothing is counted, and so nothing is paid.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use weir_config::circuit_breakers::{CircuitBreakers, Limits, RESOURCES, Resource};
use weir_routing::action::{PRIORITIES, Priority};

use super::budget::Recent;

/// What a cluster uses now, of each priority for itself.
#[derive(Debug, Default)]
pub struct Resources([Used; PRIORITIES]);

/// What requests of one priority use now.
#[derive(Debug, Default)]
struct Used {
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
    priority: Priority,
    resource: Resource,
}

impl Resources {
    /// Takes one of a resource; `None` where it has no limit.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn take(self: &Arc<Self>, breakers: &CircuitBreakers, priority: Priority, resource: Resource) -> Result<Option<Permit>, Overflow> {
        match self.0[priority as usize].take(breakers.of(priority), resource) {
            Ok(is_counted) => Ok(is_counted.then(|| Permit { resources: self.clone(), priority, resource })),
            Err(overflow) => Err(overflow),
        }
    }

    /// How many are used now.
    #[cfg(test)]
    pub(super) fn used(&self, priority: Priority, resource: Resource) -> u32 {
        self.0[priority as usize].used(resource)
    }

    /// Takes one more than the limit allows, if need be.
    pub fn take_anyway(self: &Arc<Self>, priority: Priority, resource: Resource) -> Permit {
        self.0[priority as usize].used[resource as usize].fetch_add(1, Ordering::Relaxed);
        Permit { resources: self.clone(), priority, resource }
    }
}

impl Used {
    /// Takes one; whether it is counted.
    fn take(&self, limits: &Limits, resource: Resource) -> Result<bool, Overflow> {
        let Some(limit) = self.most(limits, resource) else { return Ok(false) };
        let more = |used: u32| (used < limit).then_some(used + 1);
        if let (Some(interval), Resource::Requests) = (limits.budget.and_then(|budget| budget.interval), resource) {
            self.recent.count(interval);
        }
        self.used[resource as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|_| true).map_err(|_| Overflow)
    }

    /// The most that may be used of a resource, where it is counted at all.
    fn most(&self, limits: &Limits, resource: Resource) -> Option<u32> {
        match (limits.budget, resource) {
            (Some(budget), Resource::Retries) => Some(budget.most(match budget.interval {
                Some(interval) => self.recent.sum(interval),
                None => self.used(Resource::Requests).saturating_add(self.used(Resource::Pending)),
            })),
            // The budget is a share of these.
            (Some(_), Resource::Requests | Resource::Pending) => Some(limits.limit(resource).unwrap_or(u32::MAX)),
            _ => limits.limit(resource),
        }
    }

    fn used(&self, resource: Resource) -> u32 {
        self.used[resource as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.resources.0[self.priority as usize].used[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
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
        let take = |resource| resources.take(&breakers, Priority::Usual, resource).map(|permit| permit.is_some());
        assert_eq!((take(Resource::Requests), take(Resource::Retries)), (Ok(false), Ok(false)));
        let one = resources.take(&breakers, Priority::Usual, Resource::Connections).expect("room");
        let _two = resources.take_anyway(Priority::Usual, Resource::Connections);
        assert_eq!(take(Resource::Connections), Err(Overflow));
        assert!(resources.take(&breakers, Priority::High, Resource::Connections).is_ok(), "each priority has its own");
        drop(one);
        assert_eq!(take(Resource::Connections), Ok(true));
    }
}
