//! Bodies that pass no faster than they may: Envoy's bandwidth limit filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/bandwidth_limit_filter>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_xds::bandwidth_limit::BandwidthLimit;
use weir_xds::bandwidth_limit::bandwidth_limit::EnableMode;
use weir_xds::values::std_duration;

use super::Policy;
use super::coding::switch;
use crate::error::CompileError;

/// How fast bodies may pass. A route's takes the place of the filter's.
#[derive(Debug, Clone)]
pub struct BandwidthPolicy {
    /// Whether those of requests are held back.
    pub of_requests: bool,
    /// Whether those of answers are.
    pub of_answers: bool,
    /// How much may pass now, for all who hold the policy.
    pub bucket: Arc<Bucket>,
}

/// So many bytes may pass: none when the configuration comes into force, and never more than in a second.
#[derive(Debug)]
pub struct Bucket {
    /// In a second.
    bytes: u64,
    /// How often it is filled up.
    pub interval: Duration,
    /// Whether it is filled only from when something is first taken.
    of_one_body: bool,
    /// In the upper half how often it has been filled up, in the lower what is left.
    state: AtomicU64,
}

impl Policy for BandwidthPolicy {
    type Message = BandwidthLimit;

    fn compile(message: &BandwidthLimit) -> Result<Self, CompileError> {
        let BandwidthLimit {
            stat_prefix,
            enable_mode,
            limit_kbps,
            fill_interval,
            runtime_enabled,
            enable_response_trailers: _,
            response_trailer_prefix: _,
        } = message;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        let enabled = switch(runtime_enabled.as_ref(), "runtime_enabled")?;
        let mode = EnableMode::try_from(*enable_mode).map_err(|_| CompileError::new("enable_mode", "is not known"))?;
        let of_requests = enabled && matches!(mode, EnableMode::Request | EnableMode::RequestAndResponse);
        let of_answers = enabled && matches!(mode, EnableMode::Response | EnableMode::RequestAndResponse);
        let limit = match limit_kbps {
            Some(0) => return Err(CompileError::new("limit_kbps", "must not be zero")),
            None if mode != EnableMode::Disabled => return Err(CompileError::missing("limit_kbps")),
            limit => limit.unwrap_or(0),
        };
        let interval = fill_interval.as_ref().map_or(INTERVAL, std_duration);
        if !(Duration::from_millis(20)..=Duration::from_secs(1)).contains(&interval) {
            return Err(CompileError::new("fill_interval", "must be from 20ms to 1s"));
        }
        Ok(Self { of_requests, of_answers, bucket: Arc::new(Bucket::new(limit, interval)) })
    }
}

/// How often a bucket is filled up, where nothing is said.
const INTERVAL: Duration = Duration::from_millis(50);

impl Bucket {
    /// For one body, so many KiB a second: at first as much as in an interval.
    pub fn of(limit_kbps: u64) -> Self {
        Self { of_one_body: true, ..Self::new(limit_kbps, INTERVAL) }
    }

    fn new(limit_kbps: u64, interval: Duration) -> Self {
        Self { bytes: limit_kbps.saturating_mul(1024).min(u32::MAX.into()), interval, of_one_body: false, state: AtomicU64::new(0) }
    }

    /// It is filled from now on, if nobody has said so before. One of which nobody says so is filled since the moment from which time
    /// is counted.
    pub fn begin(&self, now: Duration) {
        let begun = u64::from(self.fills(now)) << 32;
        // Whoever was first counts.
        let _ = self.state.compare_exchange(0, begun, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How often it would have been filled up by now, and once more: 0 stands for never.
    fn fills(&self, now: Duration) -> u32 {
        u32::try_from(now.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Takes so many bytes, or as many as there are. `now` is the time since any moment, the same for all who take.
    pub fn take(&self, now: Duration, bytes: usize) -> usize {
        let fills = self.fills(now);
        let mut taken = 0;
        let take = |state: u64| {
            let (filled, left) = ((state >> 32) as u32, state & u64::from(u32::MAX));
            let missed = if filled == 0 && self.of_one_body { 1 } else { fills.saturating_sub(filled) };
            let more = u128::from(self.bytes) * u128::from(missed) * self.interval.as_nanos() / 1_000_000_000;
            let left = left.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(self.bytes);
            taken = left.min(bytes as u64);
            Some(u64::from(fills.max(filled)) << 32 | (left - taken))
        };
        // It never fails: there is always a next state.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken as usize
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::RuntimeFeatureFlag;
    use weir_xds::prost_types;

    use super::*;

    fn message(mode: EnableMode) -> BandwidthLimit {
        BandwidthLimit { stat_prefix: "s".into(), enable_mode: mode.into(), limit_kbps: Some(10), ..Default::default() }
    }

    #[test]
    fn so_many_bytes_pass_in_a_second_and_no_more_are_saved() {
        let bucket = Bucket::of(10);
        let at = Duration::from_millis;
        // What is asked for, and what there is.
        let steps =
            [(0, 100, 100), (0, 1000, 412), (49, 1, 0), (50, 1000, 512), (200, 9999, 1536), (60_000, 99_999, 10_240), (60_000, 1, 0)];
        for (now, asked, given) in steps {
            assert_eq!(bucket.take(at(now), asked), given, "{now} {asked}");
        }
        // A clock that another thread has read earlier takes nothing back.
        assert_eq!(bucket.take(at(59_000), 1), 0);
        assert_eq!(bucket.take(at(60_050), 9999), 512);
    }

    #[test]
    fn a_bucket_is_filled_from_when_it_came_into_force() {
        let bucket = || BandwidthPolicy::compile(&message(EnableMode::Response)).expect("valid").bucket;
        let at = Duration::from_millis;
        for (begins, asks, given) in [(Some(0), 0, 0), (Some(500), 700, 2048), (Some(500), 9000, 10_240), (None, 500, 5632)] {
            let bucket = bucket();
            begins.into_iter().for_each(|begins| bucket.begin(at(begins)));
            // Another worker, which comes later.
            begins.into_iter().for_each(|begins| bucket.begin(at(begins + 100)));
            assert_eq!(bucket.take(at(asks), 99_999), given, "{begins:?} {asks}");
        }
    }

    #[test]
    fn the_mode_says_which_way_is_limited() {
        let off = Some(RuntimeFeatureFlag { default_value: Some(false), ..Default::default() });
        let cases = [
            (message(EnableMode::Disabled), (false, false)),
            (BandwidthLimit { limit_kbps: None, ..message(EnableMode::Disabled) }, (false, false)),
            (message(EnableMode::Request), (true, false)),
            (message(EnableMode::Response), (false, true)),
            (message(EnableMode::RequestAndResponse), (true, true)),
            (BandwidthLimit { runtime_enabled: off, ..message(EnableMode::RequestAndResponse) }, (false, false)),
        ];
        for (message, expected) in cases {
            let policy = BandwidthPolicy::compile(&message).expect("valid");
            assert_eq!((policy.of_requests, policy.of_answers), expected, "{message:?}");
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let base = || message(EnableMode::Request);
        let nanos = |nanos| Some(prost_types::Duration { seconds: 0, nanos });
        let cases = [
            (BandwidthLimit { stat_prefix: String::new(), ..base() }, "stat_prefix"),
            (BandwidthLimit { limit_kbps: None, ..base() }, "limit_kbps"),
            (BandwidthLimit { limit_kbps: Some(0), ..base() }, "limit_kbps"),
            (BandwidthLimit { enable_mode: 9, ..base() }, "enable_mode"),
            (BandwidthLimit { fill_interval: nanos(19_999_999), ..base() }, "fill_interval"),
        ];
        for (message, field) in cases {
            assert_eq!(BandwidthPolicy::compile(&message).expect_err(field).path, field);
        }
    }
}
