//! What is in a policy's buckets, shared by all threads without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Bucket, Level, RateLimitPolicy};

/// Stands for a bucket that nobody has taken from yet: no level has these bits, for they are no number.
const FULL: u64 = u64::MAX;

/// The levels of a policy's buckets: the default one, then those of its rules.
#[derive(Debug)]
pub struct Buckets(Box<[AtomicU64]>);

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// How much is in it when it is full.
    pub limit: u64,
    /// How much is in it.
    pub remaining: u64,
    /// In how many seconds there is one more.
    pub reset: u64,
}

impl Buckets {
    /// Full ones, for so many rules.
    pub(super) fn new(rules: usize) -> Self {
        Self((0..=rules).map(|_| AtomicU64::new(FULL)).collect())
    }

    fn cell(&self, bucket: Bucket) -> Option<&AtomicU64> {
        match bucket {
            Bucket::Default => self.0.first(),
            Bucket::OfRule(position) => self.0.get(position + 1),
        }
    }

    /// Takes tokens out of a bucket, at this time since any moment; whether they were there.
    pub fn take(&self, policy: &RateLimitPolicy, bucket: Bucket, now: Duration, tokens: u64) -> bool {
        let (Some(cell), Some(rules)) = (self.cell(bucket), policy.bucket(bucket)) else { return false };
        let next = |bits: u64| {
            let level = if bits == FULL { rules.full(now) } else { Level::from_bits(bits) };
            rules.take(level, now, tokens).map(Level::to_bits)
        };
        cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// What is left in a bucket.
    pub fn left(&self, policy: &RateLimitPolicy, bucket: Bucket, now: Duration) -> Option<Left> {
        let (cell, rules) = (self.cell(bucket)?, policy.bucket(bucket)?);
        let level = match cell.load(Ordering::Relaxed) {
            FULL => rules.full(now),
            bits => Level::from_bits(bits),
        };
        let (remaining, reset) = (rules.remaining(level, now), rules.seconds_to_next(level, now));
        Some(Left { limit: rules.max_tokens.into(), remaining, reset })
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::local_ratelimit::LocalRateLimit;
    use weir_xds::types::TokenBucket;
    use weir_xds::values::duration;

    use super::super::Policy;
    use super::*;

    #[test]
    fn threads_together_get_what_is_in_a_bucket_and_no_more() {
        let bucket = TokenBucket { max_tokens: 1000, tokens_per_fill: Some(1), fill_interval: Some(duration(Duration::from_secs(1))) };
        let message = LocalRateLimit { stat_prefix: "a".into(), token_bucket: Some(bucket), ..Default::default() };
        let policy = RateLimitPolicy::compile(&message).expect("valid");
        let now = Duration::from_secs(7);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..600).filter(|_| policy.buckets.take(&policy, Bucket::Default, now, 1)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 1000);
        assert_eq!(policy.buckets.left(&policy, Bucket::Default, now), Some(Left { limit: 1000, remaining: 0, reset: 1 }));
        assert!(policy.buckets.take(&policy, Bucket::Default, now + Duration::from_secs(1), 1));
        assert!(policy.fresh_buckets().take(&policy, Bucket::Default, now, 1000));
    }
}
