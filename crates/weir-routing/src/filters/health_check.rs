//! Health checks of whoever stands before this proxy, answered here: Envoy's health check filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/health_check_filter>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_xds::health_check_filter::HealthCheck;
use weir_xds::values::std_duration;

use super::Policy;
use crate::condition::HeaderCondition;
use crate::error::CompileError;
use crate::request::RequestHead;

/// How health checks are answered.
#[derive(Debug, Clone)]
pub struct HealthCheckPolicy {
    /// What a request must be to be one.
    conditions: Box<[HeaderCondition]>,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    /// Here, if of these clusters so many in a hundred instances are healthy.
    Here(Box<[(Box<str>, u64)]>),
    /// By the instance.
    Passed,
    /// By the instance, and then by what it said, until this much time has passed.
    Cached(Duration, Arc<Cache>),
}

/// What an instance said last, for all who hold the policy.
#[derive(Debug, Default)]
struct Cache(AtomicU64);

/// What a health check is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The status.
    pub status: u16,
    /// Whether requests better go elsewhere.
    pub degraded: bool,
}

/// What becomes of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It is answered here; why so, in Envoy's words.
    Answered(Health, &'static str),
    /// It goes on.
    Passed,
}

impl Policy for HealthCheckPolicy {
    type Message = HealthCheck;

    fn compile(message: &HealthCheck) -> Result<Self, CompileError> {
        let HealthCheck { pass_through_mode, cache_time, cluster_min_healthy_percentages, headers } = message;
        let passes = pass_through_mode.ok_or_else(|| CompileError::missing("pass_through_mode"))?;
        let cache_time = cache_time.as_ref().map(std_duration).filter(|time| !time.is_zero());
        let how = match (passes, cache_time) {
            (true, Some(time)) => How::Cached(time, Arc::default()),
            (true, None) => How::Passed,
            (false, Some(_)) => return Err(CompileError::new("cache_time", "is for health checks that pass through")),
            // What stands behind the point does not count.
            (false, None) => How::Here(
                cluster_min_healthy_percentages.iter().map(|(name, percent)| (name.as_str().into(), percent.value as u64)).collect(),
            ),
        };
        let compile = |(i, matcher)| HeaderCondition::compile(matcher).map_err(|error| error.within(&format!("headers[{i}]")));
        Ok(Self { conditions: headers.iter().enumerate().map(compile).collect::<Result<_, _>>()?, how })
    }
}

impl HealthCheckPolicy {
    /// Whether a request is a health check.
    pub fn is_check(&self, head: &RequestHead<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(head))
    }

    /// What becomes of one. `now` is the time since any moment; `healthy` tells how many instances of a cluster are healthy, and how
    /// many there are.
    pub fn check(&self, now: Duration, healthy: impl Fn(&str) -> Option<(usize, usize)>) -> Check {
        match &self.how {
            How::Passed => Check::Passed,
            How::Cached(time, cache) => match cache.get(period(now, *time)) {
                Some(health) => Check::Answered(health, "health_check_cached"),
                None => Check::Passed,
            },
            How::Here(least) => {
                let failed = least.iter().find_map(|(name, percent)| lacks(healthy(name), *percent));
                let details = failed.unwrap_or(if least.is_empty() { "health_check_ok" } else { "health_check_ok_cluster_healthy" });
                Check::Answered(Health { status: if failed.is_some() { 503 } else { 200 }, degraded: false }, details)
            }
        }
    }

    /// Takes note of what an instance said.
    pub fn note(&self, now: Duration, health: Health) {
        if let How::Cached(time, cache) = &self.how {
            cache.set(period(now, *time), health);
        }
    }
}

/// What a cluster lacks whose healthy and whose other instances are so many, if there is one.
fn lacks(counted: Option<(usize, usize)>, percent: u64) -> Option<&'static str> {
    match counted {
        None => Some("health_check_failed_no_cluster_found"),
        Some((_, 0)) => (percent > 0).then_some("health_check_failed_cluster_empty"),
        Some((healthy, all)) => {
            let is_enough = healthy as u64 * 100 >= (all as u64).saturating_mul(percent);
            (!is_enough).then_some("health_check_failed_cluster_unhealthy")
        }
    }
}

/// How often so much time has passed: as with Envoy, what is kept goes then, however new it is.
fn period(now: Duration, time: Duration) -> u64 {
    u64::try_from(now.as_nanos() / time.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl Cache {
    fn get(&self, period: u64) -> Option<Health> {
        let kept = self.0.load(Ordering::Relaxed);
        // The period is one more than its number: nothing is kept before the first.
        (kept >> 16 == period.wrapping_add(1) & (u64::MAX >> 16))
            .then_some(Health { status: (kept >> 1) as u16 & 0x3ff, degraded: kept & 1 == 1 })
    }

    fn set(&self, period: u64, health: Health) {
        let kept = (period.wrapping_add(1) << 16) | u64::from(health.status & 0x3ff) << 1 | u64::from(health.degraded);
        self.0.store(kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::Headers;
    use weir_xds::prost_types;
    use weir_xds::route::HeaderMatcher;
    use weir_xds::route::header_matcher::HeaderMatchSpecifier;
    use weir_xds::types::Percent;

    use super::*;

    type Least<'l> = &'l [(&'l str, f64)];

    fn compile(message: &HealthCheck) -> HealthCheckPolicy {
        HealthCheckPolicy::compile(message).expect("valid")
    }

    fn here(least: Least<'_>) -> HealthCheck {
        let percentages = least.iter().map(|(name, value)| ((*name).to_owned(), Percent { value: *value })).collect();
        HealthCheck { pass_through_mode: Some(false), cluster_min_healthy_percentages: percentages, ..Default::default() }
    }

    #[test]
    fn a_health_check_is_what_meets_all_conditions() {
        #[allow(deprecated)]
        let exact = |name: &str, value: &str| HeaderMatcher {
            name: name.into(),
            header_match_specifier: Some(HeaderMatchSpecifier::ExactMatch(value.into())),
            ..Default::default()
        };
        let policy = compile(&HealthCheck { headers: vec![exact(":path", "/healthz"), exact(":method", "GET")], ..here(&[]) });
        let headers = Headers::new();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/healthz", headers: &headers, random: 0 };
        assert!(policy.is_check(&head));
        assert!(!policy.is_check(&RequestHead { path: "/healthz?a", ..head }));
        assert!(!policy.is_check(&RequestHead { method: "POST", ..head }));
        assert!(compile(&here(&[])).is_check(&head), "every request is one where nothing is said");
    }

    #[test]
    fn clusters_must_have_so_many_healthy_instances() {
        let clusters = |name: &str| match name {
            "half" => Some((1, 2)),
            "none" => Some((0, 0)),
            _ => None,
        };
        let cases: [(Least<'_>, u16, &str); 8] = [
            (&[], 200, "health_check_ok"),
            (&[("half", 50.9)], 200, "health_check_ok_cluster_healthy"),
            (&[("half", 51.0)], 503, "health_check_failed_cluster_unhealthy"),
            (&[("half", 0.0), ("none", 0.0)], 200, "health_check_ok_cluster_healthy"),
            (&[("none", 1.0)], 503, "health_check_failed_cluster_empty"),
            (&[("unknown", 0.0)], 503, "health_check_failed_no_cluster_found"),
            (&[("half", 10.0), ("none", 10.0)], 503, "health_check_failed_cluster_empty"),
            (&[("half", 1e300)], 503, "health_check_failed_cluster_unhealthy"),
        ];
        for (least, status, details) in cases {
            let expected = Check::Answered(Health { status, degraded: false }, details);
            assert_eq!(compile(&here(least)).check(Duration::ZERO, clusters), expected, "{least:?}");
        }
    }

    #[test]
    fn what_an_instance_said_counts_for_a_while() {
        let cached = HealthCheck {
            pass_through_mode: Some(true),
            cache_time: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        let at = Duration::from_millis;
        let (policy, nobody) = (compile(&cached), |_: &str| None);
        assert_eq!(policy.check(at(0), nobody), Check::Passed);
        let said = Health { status: 599, degraded: true };
        policy.note(at(100), said);
        assert_eq!(policy.clone().check(at(999), nobody), Check::Answered(said, "health_check_cached"));
        assert_eq!(policy.check(at(1000), nobody), Check::Passed);
        let passed = compile(&HealthCheck { cache_time: None, ..cached });
        passed.note(at(0), said);
        assert_eq!(passed.check(at(0), nobody), Check::Passed);
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let cached = HealthCheck { cache_time: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..here(&[]) };
        assert_eq!(HealthCheckPolicy::compile(&cached).expect_err("it does not pass").path, "cache_time");
        assert!(HealthCheckPolicy::compile(&HealthCheck::default()).is_err());
    }
}
