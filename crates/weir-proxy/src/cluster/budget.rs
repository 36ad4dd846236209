//! How many requests of a cluster began of late: what a budget of retries is a share of.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An interval is divided into so many parts; one after the other is forgotten.
const PARTS: u64 = 10;

/// How many requests began of late: for each part of the interval its number, above, and their count, below.
#[derive(Debug, Default)]
pub struct Recent([AtomicU64; PARTS as usize]);

impl Recent {
    /// Counts one that begins now.
    pub fn count(&self, interval: Duration) {
        self.count_in(part(interval));
    }

    /// How many began in the last interval.
    pub fn sum(&self, interval: Duration) -> u32 {
        self.sum_at(part(interval))
    }

    fn count_in(&self, part: u64) {
        let more = |cell: u64| Some(if cell >> 32 == part { cell + 1 } else { (part << 32) + 1 });
        // It always has a new value.
        let _ = self.0[(part % PARTS) as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn sum_at(&self, part: u64) -> u32 {
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        cells.filter(|cell| part - (cell >> 32).min(part) < PARTS).map(|cell| cell as u32).sum()
    }
}

/// The number of the part of an interval that it is now.
fn part(interval: Duration) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let length = (interval / PARTS as u32).as_micros().max(1) as u64;
    // Counted from one, for nothing is counted in part zero.
    (START.get_or_init(Instant::now).elapsed().as_micros() as u64 / length + 1) & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_config::circuit_breakers::{CircuitBreakers, Resource};
    use weir_routing::action::Priority;
    use weir_xds::cluster::CircuitBreakers as Xds;
    use weir_xds::cluster::circuit_breakers::Thresholds;
    use weir_xds::cluster::circuit_breakers::thresholds::RetryBudget;
    use weir_xds::types::Percent;

    use super::*;
    use crate::cluster::resources::Resources;

    fn breakers(percent: f64, least: u32) -> CircuitBreakers {
        let budget =
            RetryBudget { budget_percent: Some(Percent { value: percent }), min_retry_concurrency: Some(least), ..Default::default() };
        let thresholds = vec![Thresholds { max_retries: Some(u32::MAX), retry_budget: Some(budget), ..Default::default() }];
        CircuitBreakers::compile(Some(&Xds { thresholds, ..Default::default() })).expect("valid")
    }

    #[test]
    fn retries_are_a_share_of_the_requests_but_some_there_may_always_be() {
        let (breakers, resources) = (breakers(25.0, 1), Arc::new(Resources::default()));
        let take = |resource| resources.take(&breakers, Priority::Usual, resource);
        let first = take(Resource::Retries).expect("one there may always be");
        assert!(take(Resource::Retries).is_err());
        let requests: Vec<_> = (0..11).map(|_| take(Resource::Requests).expect("no limit")).collect();
        let second = take(Resource::Retries).expect("a quarter of eleven, in whole numbers");
        assert!(take(Resource::Retries).is_err());
        drop((first, second, requests));
        assert_eq!(resources.used(Priority::Usual, Resource::Requests), 0);
        assert!(take(Resource::Retries).is_ok());
    }

    #[test]
    fn what_began_long_ago_is_forgotten() {
        let recent = Recent::default();
        for part in [1, 1, 5, 10] {
            recent.count_in(part);
        }
        assert_eq!([10, 11, 15, 19, 20, 99].map(|part| recent.sum_at(part)), [4, 2, 1, 1, 0, 0]);
        recent.count_in(11);
        assert_eq!(recent.sum_at(11), 3);
    }
}
