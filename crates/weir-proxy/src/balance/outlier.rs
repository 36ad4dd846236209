//! Instances that fail again and again are left out for a while: Envoy's outlier detection
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>), counted by all workers together.
//!
//! What every request does is a few atomic operations on its instance; everything else happens when one is left out, or
//! comes back. Nothing of it is done for clusters without outlier detection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_xds::cluster::OutlierDetection;
use weir_xds::values::std_duration;

use crate::config::host::{Host, Hosts};

/// When instances are left out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierPolicy {
    server_errors: Limit,
    gateway_errors: Limit,
    local_failures: Limit,
    /// Whether failures to connect are counted apart from answers.
    split: bool,
    interval: Duration,
    base: Duration,
    longest: Duration,
    /// So many percent of the instances may be left out at once.
    max_percent: u32,
}

/// So many in a row, and in how many of a hundred cases that has consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    in_a_row: u32,
    percent: u32,
}

impl Limit {
    fn new(in_a_row: Option<u32>, percent: Option<u32>, usual_percent: u32) -> Self {
        Self { in_a_row: in_a_row.unwrap_or(5), percent: percent.unwrap_or(usual_percent) }
    }
}

impl OutlierPolicy {
    /// Compiles Envoy's settings, with its defaults. Success rates and failure percentages are not looked at.
    pub fn compile(detection: &OutlierDetection) -> Self {
        let time = |time: &Option<_>, usual| time.as_ref().map_or(usual, std_duration);
        let base = time(&detection.base_ejection_time, Duration::from_secs(30));
        Self {
            server_errors: Limit::new(detection.consecutive_5xx, detection.enforcing_consecutive_5xx, 100),
            gateway_errors: Limit::new(detection.consecutive_gateway_failure, detection.enforcing_consecutive_gateway_failure, 0),
            local_failures: Limit::new(
                detection.consecutive_local_origin_failure,
                detection.enforcing_consecutive_local_origin_failure,
                100,
            ),
            split: detection.split_external_local_origin_errors,
            interval: time(&detection.interval, Duration::from_secs(10)).max(Duration::from_millis(1)),
            base,
            longest: time(&detection.max_ejection_time, Duration::from_secs(300)).max(base),
            max_percent: detection.max_ejection_percent.unwrap_or(10).min(100),
        }
    }
}

/// How an attempt at an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With this status.
    Status(u16),
    /// Without an answer.
    Failed,
    /// Not in time.
    TimedOut,
}

/// What is known of one instance.
#[derive(Debug, Default)]
pub struct HostHealth {
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    /// When it was left out, in milliseconds of [`Health`]'s time, counted from 1; 0 if it is not.
    ejected: AtomicU64,
    /// How often it was left out lately.
    times: AtomicU32,
    /// Whether it fails its active health checks.
    failing: AtomicBool,
}

impl HostHealth {
    /// Whether it is left out.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed) != 0
    }

    /// Whether it may be chosen: neither left out nor failing its checks.
    pub fn is_usable(&self) -> bool {
        !self.is_ejected() && !self.failing.load(Ordering::Relaxed)
    }

    /// Whether it fails its active health checks.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Counts an outcome; the reason to leave the instance out, if it is one.
    fn count(&self, outcome: Outcome, policy: &OutlierPolicy) -> Option<(&'static str, u32)> {
        let status = match outcome {
            Outcome::Status(status) => {
                self.local_failures.store(0, Ordering::Relaxed);
                status
            }
            Outcome::Failed | Outcome::TimedOut if policy.split => {
                return reached(&self.local_failures, policy.local_failures, "local failures");
            }
            Outcome::Failed => 503,
            Outcome::TimedOut => 504,
        };
        if !(500..600).contains(&status) {
            self.server_errors.store(0, Ordering::Relaxed);
            self.gateway_errors.store(0, Ordering::Relaxed);
            return None;
        }
        let gateway = match status {
            502..=504 => reached(&self.gateway_errors, policy.gateway_errors, "gateway errors"),
            _ => {
                self.gateway_errors.store(0, Ordering::Relaxed);
                None
            }
        };
        gateway.or(reached(&self.server_errors, policy.server_errors, "5xx"))
    }
}

/// Counts one more; at the limit the count begins anew, and the name of what was counted comes back.
fn reached(counter: &AtomicU32, limit: Limit, what: &'static str) -> Option<(&'static str, u32)> {
    let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
    if limit.in_a_row == 0 || count < limit.in_a_row {
        return None;
    }
    counter.store(0, Ordering::Relaxed);
    (fastrand::u32(..100) < limit.percent).then_some((what, count))
}

/// What is known of a cluster's instances together.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// Changes whenever an instance is left out or comes back.
    version: AtomicU64,
    /// When it is next looked whose time is over.
    next_look: AtomicU64,
    /// Held by who leaves an instance out: not too many at once.
    deciding: Mutex<()>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), version: AtomicU64::new(0), next_look: AtomicU64::new(0), deciding: Mutex::new(()) }
    }
}

impl Health {
    /// Changes whenever an instance is left out or comes back.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    /// Takes note of whether an instance passes its active health checks. Whether that is new.
    pub fn checked(&self, host: &Host, passes: bool) -> bool {
        let is_new = host.health.failing.swap(!passes, Ordering::Relaxed) == passes;
        if is_new {
            self.version.fetch_add(1, Ordering::Release);
        }
        is_new
    }

    /// Takes note of how an attempt ended; says so if the instance is left out for it.
    pub fn report(&self, cluster: &str, hosts: &Hosts, host: &Host, outcome: Outcome, policy: &OutlierPolicy) {
        let Some((what, count)) = host.health.count(outcome, policy) else { return };
        let _deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let out = hosts.list.iter().filter(|other| other.host.health.is_ejected()).count() as u64;
        let would_be_out = 100 * (out + 1);
        if host.health.is_ejected() || would_be_out > u64::from(policy.max_percent) * hosts.list.len() as u64 {
            return;
        }
        host.health.ejected.store(self.now(), Ordering::Relaxed);
        let times = host.health.times.fetch_add(1, Ordering::Relaxed) + 1;
        self.version.fetch_add(1, Ordering::Release);
        let time = time_out(policy, times);
        tracing::warn!(cluster, instance = %host.address, "left out for {time:?}, after {count} {what} in a row");
    }

    /// Brings instances back whose time is over; looked at once in an interval, whoever asks.
    pub fn look(&self, cluster: &str, hosts: &Hosts, policy: &OutlierPolicy) {
        let (now, next) = (self.now(), self.next_look.load(Ordering::Relaxed));
        let interval = policy.interval.as_millis() as u64;
        // From the first look on, at whole intervals.
        let following = next.max(now.saturating_sub(now.saturating_sub(next) % interval.max(1))) + interval;
        if now < next || self.next_look.compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        for weighted in hosts.list.iter() {
            let (health, address) = (&weighted.host.health, weighted.host.address);
            let (since, times) = (health.ejected.load(Ordering::Relaxed), health.times.load(Ordering::Relaxed));
            if since == 0 {
                // Who behaves is trusted more from interval to interval.
                health.times.store(times.saturating_sub(1), Ordering::Relaxed);
            } else if now.saturating_sub(since) >= time_out(policy, times).as_millis() as u64 {
                health.ejected.store(0, Ordering::Relaxed);
                self.version.fetch_add(1, Ordering::Release);
                tracing::info!(cluster, instance = %address, "used again");
            }
        }
    }
}

/// How long an instance is left out that was so many times.
fn time_out(policy: &OutlierPolicy, times: u32) -> Duration {
    policy.base.saturating_mul(times.max(1)).min(policy.longest)
}

/// The instances that may be chosen, by their positions; all, if so few are left that leaving others out would do more harm.
pub fn usable(hosts: &Hosts, panic_percent: u32) -> Vec<usize> {
    let good: Vec<usize> = (0..hosts.list.len()).filter(|position| hosts.list[*position].host.health.is_usable()).collect();
    let panics = (good.len() as u64 * 100) < u64::from(panic_percent) * hosts.list.len() as u64;
    if panics { (0..hosts.list.len()).collect() } else { good }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::hosts;

    fn policy(detection: OutlierDetection) -> OutlierPolicy {
        OutlierPolicy::compile(&detection)
    }

    fn report(health: &Health, hosts: &Hosts, position: usize, outcomes: &[Outcome], policy: &OutlierPolicy) {
        for outcome in outcomes {
            health.report("test", hosts, &hosts.list[position].host, *outcome, policy);
        }
    }

    #[test]
    fn five_errors_in_a_row_and_no_fewer() {
        const BAD: Outcome = Outcome::Status(500);
        let (health, all) = (Health::default(), hosts(&[1; 10]));
        let policy = policy(OutlierDetection::default());
        report(&health, &all, 3, &[BAD, BAD, BAD, BAD, Outcome::Status(404), BAD, BAD, BAD, BAD], &policy);
        assert_eq!(usable(&all, 0).len(), 10);
        report(&health, &all, 3, &[Outcome::Failed], &policy);
        assert_eq!(usable(&all, 0), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(health.version(), 1);
        // A tenth of the instances is out: no more may be.
        report(&health, &all, 4, &[BAD; 20], &policy);
        assert_eq!(usable(&all, 0).len(), 9);
    }

    #[test]
    fn gateway_errors_and_failures_to_connect_may_be_counted_apart() {
        let gateway = policy(OutlierDetection {
            consecutive_5xx: Some(0),
            consecutive_gateway_failure: Some(2),
            enforcing_consecutive_gateway_failure: Some(100),
            max_ejection_percent: Some(100),
            ..Default::default()
        });
        let (health, all) = (Health::default(), hosts(&[1; 2]));
        report(&health, &all, 0, &[Outcome::Status(500); 9], &gateway);
        assert_eq!(usable(&all, 0), [0, 1]);
        report(&health, &all, 0, &[Outcome::Status(503), Outcome::TimedOut], &gateway);
        assert_eq!(usable(&all, 0), [1]);
        let split = policy(OutlierDetection {
            split_external_local_origin_errors: true,
            consecutive_local_origin_failure: Some(2),
            max_ejection_percent: Some(100),
            ..Default::default()
        });
        let all = hosts(&[1; 2]);
        report(&health, &all, 0, &[Outcome::Failed, Outcome::Status(200), Outcome::Failed], &split);
        assert_eq!(usable(&all, 0), [0, 1]);
        report(&health, &all, 0, &[Outcome::Failed], &split);
        assert_eq!(usable(&all, 0), [1]);
    }

    #[test]
    fn who_is_left_out_comes_back_and_is_left_out_longer_the_next_time() {
        let policy = policy(OutlierDetection {
            consecutive_5xx: Some(1),
            max_ejection_percent: Some(100),
            base_ejection_time: Some(weir_xds::values::duration(Duration::ZERO)),
            interval: Some(weir_xds::values::duration(Duration::from_millis(1))),
            ..Default::default()
        });
        let (health, all) = (Health::default(), hosts(&[1; 2]));
        report(&health, &all, 1, &[Outcome::Status(500)], &policy);
        assert_eq!(usable(&all, 0), [0]);
        health.look("test", &all, &policy);
        assert_eq!(usable(&all, 0), [0, 1]);
        let base = OutlierPolicy { base: Duration::from_secs(30), longest: Duration::from_secs(70), ..policy };
        assert_eq!([1, 2, 3].map(|times| time_out(&base, times).as_secs()), [30, 60, 70]);
    }

    #[test]
    fn too_few_are_worse_than_bad_ones_if_the_policy_says_so() {
        let policy = policy(OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent: Some(100), ..Default::default() });
        let (health, all) = (Health::default(), hosts(&[1; 4]));
        for position in 0..3 {
            report(&health, &all, position, &[Outcome::Status(500)], &policy);
        }
        assert_eq!(usable(&all, 25), [3]);
        assert_eq!(usable(&all, 26), [0, 1, 2, 3]);
        report(&health, &all, 3, &[Outcome::Status(500)], &policy);
        assert_eq!(usable(&all, 0), [0; 0]);
    }
}
