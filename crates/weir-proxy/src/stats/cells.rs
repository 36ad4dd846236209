//! A number that one thread changes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only one worker changes, so that it needs no locked instruction; any thread may read it.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to it. Only its own worker may.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes from it. Only its own worker may.
    pub fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets in milliseconds or bytes: those of Istio's metrics.
pub const BUCKETS: [f64; 20] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
    f64::INFINITY,
];

/// How often values fell into each of [`BUCKETS`], and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Cell; BUCKETS.len()],
    /// In thousandths.
    sum: Cell,
}

impl Histogram {
    /// Counts a value. Only its own worker may.
    pub fn record(&self, value: f64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < value).min(BUCKETS.len() - 1);
        self.counts[bucket].add(1);
        self.sum.add((value * 1000.0) as u64);
    }

    /// Adds its counts to those of others; the sum of its values.
    pub fn add_to(&self, counts: &mut [u64; BUCKETS.len()]) -> f64 {
        for (total, count) in counts.iter_mut().zip(&self.counts) {
            *total += count.get();
        }
        self.sum.get() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = Histogram::default();
        [0.2, 0.5, 0.6, 1e12].into_iter().for_each(|value| histogram.record(value));
        let mut counts = [0; BUCKETS.len()];
        histogram.add_to(&mut counts);
        assert_eq!((counts[0], counts[1], counts[19]), (2, 1, 1));
    }
}
