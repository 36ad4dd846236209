//! The arithmetic of a token bucket that fills steadily, as Envoy's does: with `tokens_per_fill` in each `fill_interval`, but
//! not all at once (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/v3/token_bucket.proto>).

use std::time::Duration;

use weir_xds::types::TokenBucket as XdsBucket;
use weir_xds::values::std_duration;

use crate::error::CompileError;

/// A bucket's size, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenBucket {
    /// No more are ever in it; it begins full.
    pub max_tokens: u32,
    /// Tokens a second.
    rate: f64,
}

/// What is in a bucket, as one number that says it for all times until tokens are taken: how many had flowed when it was last
/// empty. Several threads may share it as the [bits](Self::to_bits) of one atomic number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level(f64);

impl Level {
    /// As bits.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// From such bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

/// What rounding may cost a token.
const ROUNDING: f64 = 1e-6;
const SHORTEST: Duration = Duration::from_millis(50);
/// Envoy counts in milliseconds.
const NANOS_PER_MILLI: u64 = 1_000_000;

impl TokenBucket {
    /// `None` if it fills in less than a millisecond: Envoy takes that for no limit.
    ///
    /// # Errors
    /// If Envoy would refuse it.
    pub fn compile(bucket: &XdsBucket) -> Result<Option<Self>, CompileError> {
        let XdsBucket { max_tokens, tokens_per_fill, fill_interval } = bucket;
        let written = fill_interval.as_ref().map(std_duration).ok_or_else(|| CompileError::missing("fill_interval"))?;
        let tokens = tokens_per_fill.unwrap_or(1);
        if tokens == 0 {
            return Err(CompileError::new("tokens_per_fill", "must not be zero"));
        }
        let interval = written - Duration::from_nanos(u64::from(written.subsec_nanos()) % NANOS_PER_MILLI);
        if interval.is_zero() && !written.is_zero() {
            return Ok(None);
        }
        if interval < SHORTEST {
            return Err(CompileError::new("fill_interval", "must be at least 50ms"));
        }
        Ok(Some(Self { max_tokens: *max_tokens, rate: f64::from(tokens) / interval.as_secs_f64() }))
    }

    /// Tokens a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The level of a full bucket. Times are since any moment, the same for all.
    pub fn full(&self, now: Duration) -> Level {
        Level(self.flowed(now) - f64::from(self.max_tokens))
    }

    /// Takes tokens out of it: its level then, or `None` if there are not as many. None at all cannot be taken, as in Envoy.
    pub fn take(&self, level: Level, now: Duration, tokens: u64) -> Option<Level> {
        let enough = tokens > 0 && self.tokens(level, now) + ROUNDING >= tokens as f64;
        // What did not fit in is lost.
        enough.then(|| Level(level.0.max(self.full(now).0) + tokens as f64))
    }

    /// How many whole tokens are in it.
    pub fn remaining(&self, level: Level, now: Duration) -> u64 {
        (self.tokens(level, now) + ROUNDING) as u64
    }

    /// In how many seconds, rounded up, there is one.
    pub fn seconds_to_next(&self, level: Level, now: Duration) -> u64 {
        let missing = (1.0 - ROUNDING - self.tokens(level, now)).max(0.0);
        (missing / self.rate).ceil() as u64
    }

    /// A clock that is behind another thread's may find fewer tokens, but never less than none.
    fn tokens(&self, level: Level, now: Duration) -> f64 {
        (self.flowed(now) - level.0).clamp(0.0, self.max_tokens.into())
    }

    /// How many would have flowed into a bucket without bottom.
    fn flowed(&self, now: Duration) -> f64 {
        now.as_secs_f64() * self.rate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_xds::values::duration;

    use super::*;

    fn compile(max_tokens: u32, tokens_per_fill: Option<u32>, interval: Option<Duration>) -> Result<Option<TokenBucket>, CompileError> {
        TokenBucket::compile(&XdsBucket { max_tokens, tokens_per_fill, fill_interval: interval.map(duration) })
    }

    fn bucket(max_tokens: u32, tokens_per_fill: u32, interval: Duration) -> TokenBucket {
        compile(max_tokens, Some(tokens_per_fill), Some(interval)).expect("valid").expect("a limit")
    }

    const fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// As Envoy 1.40 takes and refuses them.
    #[test]
    fn buckets_must_not_fill_too_fast() {
        let cases = [
            (Some(1), Some(millis(50)), Ok(true)),
            (None, Some(millis(50)), Ok(true)),
            (Some(1), Some(millis(49)), Err("fill_interval")),
            (Some(1), Some(Duration::from_micros(500)), Ok(false)),
            (Some(1), Some(Duration::ZERO), Err("fill_interval")),
            (Some(1), None, Err("fill_interval")),
            (Some(0), Some(millis(50)), Err("tokens_per_fill")),
        ];
        for (tokens, interval, expected) in cases {
            let found = compile(1, tokens, interval).map(|bucket| bucket.is_some()).map_err(|error| error.path);
            assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|field| *field), "{tokens:?} {interval:?}");
        }
    }

    #[test]
    fn a_bucket_begins_full_and_fills_steadily() {
        let bucket = bucket(2, 2, millis(10_000));
        let mut level = bucket.full(Duration::ZERO);
        // When, how many tokens are wanted, whether they are there, and what is left and until when none is then.
        let cases = [
            (0, 3, false, 2, 0),
            (0, 1, true, 1, 0),
            (0, 0, false, 1, 0),
            (0, 1, true, 0, 5),
            (0, 1, false, 0, 5),
            (2_500, 1, false, 0, 3),
            (5_000, 1, true, 0, 5),
            (100_000, 2, true, 0, 5),
            (100_001, 1, false, 0, 5),
        ];
        for (at, tokens, taken, left, seconds) in cases {
            let now = millis(at);
            let after = bucket.take(level, now, tokens);
            assert_eq!(after.is_some(), taken, "{tokens} at {at}");
            level = Level::from_bits(after.unwrap_or(level).to_bits());
            assert_eq!((bucket.remaining(level, now), bucket.seconds_to_next(level, now)), (left, seconds), "{tokens} at {at}");
        }
    }

    #[test]
    fn an_empty_bucket_never_gives() {
        let bucket = bucket(0, 1, millis(10_000));
        let level = bucket.full(Duration::ZERO);
        assert_eq!(bucket.take(level, millis(1_000_000), 1), None);
        assert_eq!(bucket.seconds_to_next(level, millis(1_000_000)), 10);
    }

    proptest! {
        /// Whoever asks whenever: in any time at most what was in it at the start and what flowed in since.
        #[test]
        fn no_more_is_taken_than_there_was(
            max in 0_u32..50,
            per_fill in 1_u32..50,
            interval in 50_u64..5_000,
            start in 0_u64..1_000_000_000,
            asks in prop::collection::vec((0_u64..2_000, 0_u64..5), 1..100),
        ) {
            let bucket = bucket(max, per_fill, millis(interval));
            let mut now = millis(start);
            let mut level = bucket.full(now);
            let mut taken = 0;
            for (wait, tokens) in asks {
                now += millis(wait);
                if let Some(after) = bucket.take(level, now, tokens) {
                    prop_assert!(bucket.remaining(after, now) + tokens <= bucket.remaining(level, now) + 1);
                    level = after;
                    taken += tokens;
                }
                let flowed = (now - millis(start)).as_secs_f64() * bucket.rate();
                prop_assert!(taken as f64 <= f64::from(max) + flowed + 0.001, "{taken} of {max} and {flowed}");
            }
        }

        #[test]
        fn a_full_bucket_holds_exactly_its_maximum(max in 1_u32..1_000, per_fill in 1_u32..1_000, interval in 50_u64..100_000, at in 0_u64..1_000_000_000) {
            let (bucket, now) = (bucket(max, per_fill, millis(interval)), millis(at));
            let mut level = bucket.full(now);
            for _ in 0..max {
                let after = bucket.take(level, now, 1);
                prop_assert!(after.is_some());
                level = after.unwrap_or(level);
            }
            prop_assert_eq!(bucket.take(level, now, 1), None);
        }
    }
}
