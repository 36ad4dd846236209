//! Instances that warm up, and how far they are.

use std::time::Instant;

use weir_config::slow_start::SlowStart;

use crate::cluster::host::{CoarseHealth, WeightedHost};

/// The part of its weight that an instance has now.
pub fn factor_of(slow_start: &SlowStart, host: &WeightedHost, now: Instant) -> f64 {
    if host.health() == CoarseHealth::Healthy { slow_start.factor(host.host.healthy_for(now)) } else { 1.0 }
}

/// When the last of these instances has warmed up; none if all have.
pub fn until(slow_start: &SlowStart, hosts: &[WeightedHost], now: Instant) -> Option<Instant> {
    let healthy = hosts.iter().filter(|host| host.health() == CoarseHealth::Healthy);
    let rest = healthy.filter_map(|host| slow_start.window.checked_sub(host.host.healthy_for(now))).max()?;
    Some(now + rest).filter(|_| !rest.is_zero())
}
