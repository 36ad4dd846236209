//! Requests that are refused because too many before them failed: Envoy's admission control filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/admission_control_filter>).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use weir_xds::admission_control::AdmissionControl;
use weir_xds::admission_control::admission_control::success_criteria::{GrpcCriteria, HttpCriteria};
use weir_xds::admission_control::admission_control::{EvaluationCriteria, SuccessCriteria};
use weir_xds::core::{RuntimeDouble, RuntimePercent, RuntimeUInt32};
use weir_xds::types::{Int32Range, Percent};
use weir_xds::values::std_duration;

use super::Policy;
use super::coding::switch;
use super::counters::counters;
use crate::error::CompileError;

/// Which requests are refused.
#[derive(Debug, Clone)]
pub struct AdmissionPolicy {
    /// Whether any are.
    pub enabled: bool,
    /// How long what became of a request counts.
    window: Duration,
    aggression: f64,
    /// The share of requests that must succeed.
    threshold: f64,
    /// So many requests a second pass anyway.
    spared: f64,
    /// No more than this share is refused.
    most: f64,
    http: Box<[Range<i32>]>,
    grpc: Box<[u32]>,
    /// What is counted of it.
    pub counted: Arc<AdmissionCounters>,
}

counters! {
    /// What became of requests.
    AdmissionCounters: rq_rejected rq_success rq_failure
}

/// What became of the requests of the last seconds, for one worker.
#[derive(Debug, Default)]
pub struct Window {
    /// By the second, the oldest first: since when, requests, successes.
    seconds: VecDeque<(Duration, u64, u64)>,
}

const WINDOW: Duration = Duration::from_secs(30);
/// So small a part of a probability counts.
const ACCURACY: u64 = 10_000;
/// Statuses of gRPC that fewer requests would not change.
const GRPC_SUCCESS: [u32; 11] = [0, 1, 2, 3, 5, 6, 7, 9, 11, 12, 16];

impl Policy for AdmissionPolicy {
    type Message = AdmissionControl;

    fn compile(message: &AdmissionControl) -> Result<Self, CompileError> {
        let AdmissionControl {
            enabled,
            sampling_window,
            aggression,
            sr_threshold,
            rps_threshold,
            max_rejection_probability,
            evaluation_criteria,
        } = message;
        let Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria { http_criteria, grpc_criteria })) = evaluation_criteria else {
            return Err(CompileError::missing("evaluation_criteria"));
        };
        // Rounded to the second.
        let window =
            sampling_window.as_ref().map_or(WINDOW, |window| Duration::from_secs(std_duration(window).as_secs_f64().round() as u64));
        if window.is_zero() {
            return Err(CompileError::new("sampling_window", "must be a second or more"));
        }
        let threshold = percent(sr_threshold.as_ref(), 95.0, "sr_threshold")?;
        if threshold < 0.01 {
            return Err(CompileError::new("sr_threshold", "must be 1% or more"));
        }
        Ok(Self {
            enabled: switch(enabled.as_ref(), "enabled")?,
            window,
            aggression: aggression.as_ref().map_or(1.0, |RuntimeDouble { default_value, runtime_key: _ }| *default_value).max(1.0),
            threshold,
            spared: rps_threshold.as_ref().map_or(0, |RuntimeUInt32 { default_value, runtime_key: _ }| *default_value).into(),
            most: percent(max_rejection_probability.as_ref(), 80.0, "max_rejection_probability")?,
            http: http_successes(http_criteria.as_ref()).map_err(|error| error.within("success_criteria.http_criteria"))?,
            grpc: grpc_successes(grpc_criteria.as_ref()).map_err(|error| error.within("success_criteria.grpc_criteria"))?,
            counted: Arc::default(),
        })
    }
}

fn percent(percent: Option<&RuntimePercent>, default: f64, field: &str) -> Result<f64, CompileError> {
    let value = match percent {
        None => default,
        Some(RuntimePercent { default_value, runtime_key: _ }) => default_value.as_ref().map_or(0.0, |Percent { value }| *value),
    };
    if (0.0..=100.0).contains(&value) { Ok(value / 100.0) } else { Err(CompileError::new(field, "must be from 0 to 100")) }
}

fn http_successes(criteria: Option<&HttpCriteria>) -> Result<Box<[Range<i32>]>, CompileError> {
    let Some(HttpCriteria { http_success_status }) = criteria else {
        return Ok(std::iter::once(100..500).collect());
    };
    if http_success_status.is_empty() {
        return Err(CompileError::missing("http_success_status"));
    }
    let range = |(i, Int32Range { start, end }): (usize, &Int32Range)| {
        let is_valid = *start >= 100 && *end <= 600 && start <= end;
        let wrong = || CompileError::new(format!("http_success_status[{i}]"), "must be of statuses from 100 to 599");
        if is_valid { Ok(*start..*end) } else { Err(wrong()) }
    };
    http_success_status.iter().enumerate().map(range).collect()
}

fn grpc_successes(criteria: Option<&GrpcCriteria>) -> Result<Box<[u32]>, CompileError> {
    let Some(GrpcCriteria { grpc_success_status }) = criteria else { return Ok(GRPC_SUCCESS.into()) };
    if grpc_success_status.is_empty() {
        return Err(CompileError::missing("grpc_success_status"));
    }
    match grpc_success_status.iter().position(|status| *status > 16) {
        Some(i) => Err(CompileError::new(format!("grpc_success_status[{i}]"), "must be from 0 to 16")),
        None => Ok(grpc_success_status.as_slice().into()),
    }
}

impl AdmissionPolicy {
    /// Whether a request is refused; `random` is what chance gave it.
    pub fn refuses(&self, window: &mut Window, now: Duration, random: u64) -> bool {
        let (requests, successes) = window.counts(now, self.window);
        if requests / self.window.as_secs_f64() < self.spared {
            return false;
        }
        let probability = ((requests - successes / self.threshold) / (requests + 1.0)).max(0.0);
        let probability = if self.aggression > 1.0 { probability.powf(1.0 / self.aggression) } else { probability };
        ACCURACY as f64 * probability.min(self.most) > (random % ACCURACY) as f64
    }

    /// Takes note of what became of a request.
    pub fn note(&self, window: &mut Window, now: Duration, succeeded: bool) {
        window.forget(now, self.window);
        if window.seconds.back().is_none_or(|(since, ..)| now.saturating_sub(*since) >= Duration::from_secs(1)) {
            window.seconds.push_back((now, 0, 0));
        }
        if let Some((_, requests, successes)) = window.seconds.back_mut() {
            *requests += 1;
            *successes += u64::from(succeeded);
        }
    }

    /// Whether an answer of HTTP is a success.
    pub fn is_success(&self, status: u16) -> bool {
        self.http.iter().any(|range| range.contains(&status.into()))
    }

    /// Whether one of gRPC is.
    pub fn is_grpc_success(&self, status: u32) -> bool {
        self.grpc.contains(&status)
    }
}

impl Window {
    fn forget(&mut self, now: Duration, window: Duration) {
        while self.seconds.front().is_some_and(|(since, ..)| now.saturating_sub(*since) >= window) {
            self.seconds.pop_front();
        }
    }

    fn counts(&mut self, now: Duration, window: Duration) -> (f64, f64) {
        self.forget(now, window);
        let sum = |(requests, successes): (u64, u64), (_, more, good): &(Duration, u64, u64)| (requests + more, successes + good);
        let (requests, successes) = self.seconds.iter().fold((0, 0), sum);
        (requests as f64, successes as f64)
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::RuntimeFeatureFlag;

    use super::*;

    fn message() -> AdmissionControl {
        AdmissionControl {
            evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria::default())),
            ..Default::default()
        }
    }

    fn compile(message: &AdmissionControl) -> AdmissionPolicy {
        AdmissionPolicy::compile(message).expect("valid")
    }

    fn of_percent(value: f64) -> Option<RuntimePercent> {
        Some(RuntimePercent { default_value: Some(Percent { value }), ..Default::default() })
    }

    /// How many of ten thousand requests are refused after so many that failed and succeeded.
    fn refused(policy: &AdmissionPolicy, failures: u32, successes: u32, after: Duration) -> usize {
        let mut window = Window::default();
        (0..failures).for_each(|_| policy.note(&mut window, Duration::ZERO, false));
        (0..successes).for_each(|_| policy.note(&mut window, Duration::ZERO, true));
        (0..ACCURACY).filter(|random| policy.refuses(&mut window, after, *random)).count()
    }

    #[test]
    fn the_more_fail_the_more_are_refused() {
        let usual = compile(&message());
        let half = compile(&AdmissionControl { sr_threshold: of_percent(50.0), ..message() });
        let aggressive = AdmissionControl {
            aggression: Some(RuntimeDouble { default_value: 2.0, ..Default::default() }),
            max_rejection_probability: of_percent(100.0),
            ..message()
        };
        let spared = AdmissionControl { rps_threshold: Some(RuntimeUInt32 { default_value: 4, ..Default::default() }), ..message() };
        let now = Duration::ZERO;
        let cases = [
            (&usual, 0, 0, 0),
            (&usual, 0, 100, 0),
            (&usual, 5, 95, 0),
            (&usual, 99, 0, 8000),
            (&usual, 50, 49, 4747 - 6),
            (&half, 50, 50, 0),
            (&half, 75, 24, 5100),
            (&compile(&aggressive), 99, 0, 9950),
            (&compile(&spared), 119, 0, 0),
            (&compile(&spared), 120, 0, 8000),
        ];
        for (policy, failures, successes, expected) in cases {
            let refused = refused(policy, failures, successes, now);
            assert!(refused.abs_diff(expected) <= 20, "{failures} {successes}: {refused} is not about {expected}");
        }
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let policy = compile(&message());
        assert!(refused(&policy, 99, 0, Duration::from_millis(29_999)) > 0);
        assert_eq!(refused(&policy, 99, 0, Duration::from_secs(30)), 0);
    }

    #[test]
    fn what_is_a_success_can_be_said() {
        let usual = compile(&message());
        assert!(usual.is_success(499) && !usual.is_success(500) && usual.is_grpc_success(5) && !usual.is_grpc_success(14));
        let http_criteria = Some(HttpCriteria { http_success_status: vec![Int32Range { start: 200, end: 300 }] });
        let grpc_criteria = Some(GrpcCriteria { grpc_success_status: vec![14] });
        let criteria = |http_criteria, grpc_criteria| AdmissionControl {
            evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria { http_criteria, grpc_criteria })),
            ..message()
        };
        let own = compile(&criteria(http_criteria, grpc_criteria));
        assert!(own.is_success(200) && !own.is_success(300) && own.is_grpc_success(14) && !own.is_grpc_success(0));
        let status = |start, end| Some(HttpCriteria { http_success_status: vec![Int32Range { start, end }] });
        for message in [
            criteria(Some(HttpCriteria::default()), None),
            criteria(None, Some(GrpcCriteria::default())),
            criteria(status(99, 200), None),
            criteria(status(200, 601), None),
            criteria(None, Some(GrpcCriteria { grpc_success_status: vec![17] })),
            AdmissionControl { evaluation_criteria: None, ..message() },
            AdmissionControl { sr_threshold: of_percent(0.5), ..message() },
            AdmissionControl { max_rejection_probability: of_percent(101.0), ..message() },
            AdmissionControl { sampling_window: Some(Default::default()), ..message() },
            AdmissionControl { enabled: Some(RuntimeFeatureFlag::default()), ..message() },
        ] {
            assert!(AdmissionPolicy::compile(&message).is_err(), "{message:?}");
        }
    }
}
