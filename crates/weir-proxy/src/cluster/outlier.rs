//! Instances that fail again and again are left out for a while: Envoy's outlier detection
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>), counted by all workers together.
//!
//! What every request does is a few atomic operations on its instance; everything else happens when one is left out, or
//! comes back. Nothing of it is done for clusters without outlier detection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_config::outlier::{OutlierPolicy, Reason};

use super::host::{Host, Hosts};
use crate::exchange::failure::Outcome;

/// What is known of one instance. Times are in milliseconds of [`Health`]'s time, counted from 1; 0 is never.
#[derive(Debug, Default)]
pub struct HostHealth {
    /// How often in a row, for each [`Reason`].
    counts: [AtomicU32; 3],
    /// When it was left out; 0 if it is not.
    ejected: AtomicU64,
    /// When it last came back.
    returned: AtomicU64,
    /// By how many milliseconds it is left out longer than others.
    jitter: AtomicU64,
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

    /// Whether it fails its active health checks.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Whether it may be chosen: neither left out nor failing its checks.
    pub fn is_usable(&self) -> bool {
        !self.is_ejected() && !self.is_failing()
    }

    fn reset(&self, reasons: &[Reason]) {
        reasons.iter().for_each(|reason| self.counts[*reason as usize].store(0, Ordering::Relaxed));
    }

    /// Counts an outcome; the reasons that there now are to leave the instance out, and after how many.
    fn count(&self, outcome: Outcome, policy: &OutlierPolicy) -> [Option<(Reason, u32)>; 2] {
        let status = match outcome {
            Outcome::Status(status) => {
                self.reset(&[Reason::LocalFailures]);
                status
            }
            Outcome::Failed | Outcome::TimedOut if policy.split => return [self.one_more(Reason::LocalFailures, policy), None],
            Outcome::Failed => 503,
            Outcome::TimedOut => 504,
        };
        match status {
            502..=504 => [self.one_more(Reason::GatewayErrors, policy), self.one_more(Reason::ServerErrors, policy)],
            500..=599 => {
                self.reset(&[Reason::GatewayErrors]);
                [self.one_more(Reason::ServerErrors, policy), None]
            }
            _ => {
                self.reset(&[Reason::GatewayErrors, Reason::ServerErrors]);
                [None, None]
            }
        }
    }

    /// Counts one more; at the limit the count begins anew.
    fn one_more(&self, reason: Reason, policy: &OutlierPolicy) -> Option<(Reason, u32)> {
        let (counter, limit) = (&self.counts[reason as usize], policy.limit(reason).in_a_row);
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if limit == 0 || count < limit {
            return None;
        }
        counter.store(0, Ordering::Relaxed);
        Some((reason, count))
    }
}

/// What is known of a cluster's instances together.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// Changes whenever an instance is left out or comes back.
    version: AtomicU64,
    /// When it is next looked whose time is over.
    next_look: AtomicU64,
    /// Whether instances are left out, and whether they are checked: who learns late of a change must not act on what was.
    ejects: AtomicBool,
    checks: AtomicBool,
    /// Whether a passed active health check brings back who is left out.
    returns_when_checked: AtomicBool,
    /// Held by who leaves an instance out or brings it back: not too many are out at once.
    deciding: Mutex<()>,
    /// How often instances were left out.
    pub stats: OutlierStats,
}

/// Envoy's statistics `outlier_detection.ejections_…`. They change seldom, so that all workers share them.
#[derive(Debug, Default)]
pub struct OutlierStats {
    /// For each [`Reason`] how often it was there.
    pub detected: [AtomicU64; 3],
    /// How often it had consequences.
    pub enforced: [AtomicU64; 3],
    /// How often it had none because too many were left out already.
    pub overflow: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            version: AtomicU64::new(0),
            next_look: AtomicU64::new(0),
            ejects: AtomicBool::new(true),
            checks: AtomicBool::new(true),
            returns_when_checked: AtomicBool::new(false),
            deciding: Mutex::new(()),
            stats: OutlierStats::default(),
        }
    }
}

impl Health {
    /// Changes whenever an instance is left out or comes back.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn time(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64 + 1
    }

    /// Follows a change of the cluster: what nothing watches any more is forgotten.
    pub fn follow(&self, policy: Option<&OutlierPolicy>, has_checks: bool, hosts: &Hosts) {
        let _deciding = self.deciding();
        self.ejects.store(policy.is_some(), Ordering::Relaxed);
        self.checks.store(has_checks, Ordering::Relaxed);
        self.returns_when_checked.store(policy.is_some_and(|policy| policy.returns_when_checked), Ordering::Relaxed);
        for health in hosts.list.iter().map(|weighted| &weighted.host.health) {
            if policy.is_none() {
                health.ejected.store(0, Ordering::Relaxed);
                health.times.store(0, Ordering::Relaxed);
            }
            if !has_checks {
                health.failing.store(false, Ordering::Relaxed);
            }
        }
        self.changed();
    }

    /// Takes note of whether an instance passes its active health checks; to be told of every check. Whether that is new.
    pub fn checked(&self, host: &Host, passes: bool) -> bool {
        self.checked_at(host, passes, Instant::now())
    }

    /// The same, at a time.
    pub fn checked_at(&self, host: &Host, passes: bool, now: Instant) -> bool {
        let _deciding = self.deciding();
        if !self.checks.load(Ordering::Relaxed) {
            return false;
        }
        let is_new = host.health.failing.swap(!passes, Ordering::Relaxed) == passes;
        if is_new {
            if passes {
                host.set_healthy_from(now);
            }
            self.changed();
        }
        if passes && host.health.is_ejected() && self.returns_when_checked.load(Ordering::Relaxed) {
            self.bring_back(host, self.time(now));
            tracing::info!(instance = %host.address, "used again: it passes its health check");
        }
        is_new
    }

    /// Takes note of how an attempt ended; says so if the instance is left out for it.
    pub fn report(&self, cluster: &str, hosts: &Hosts, host: &Host, outcome: Outcome, policy: &OutlierPolicy) {
        self.report_at(cluster, hosts, host, outcome, policy, Instant::now);
    }

    /// The same; the clock is read only if something happens.
    fn report_at(&self, cluster: &str, hosts: &Hosts, host: &Host, outcome: Outcome, policy: &OutlierPolicy, now: impl Fn() -> Instant) {
        for (reason, count) in host.health.count(outcome, policy).into_iter().flatten() {
            if let Some(time) = self.eject(hosts, host, reason, policy, &now) {
                tracing::warn!(cluster, instance = %host.address, "left out for {time:?}, after {count} in a row of {}", reason.name());
            }
        }
    }

    /// Leaves an instance out, if that may be; for how long.
    fn eject(&self, hosts: &Hosts, host: &Host, reason: Reason, policy: &OutlierPolicy, now: impl Fn() -> Instant) -> Option<Duration> {
        let _deciding = self.deciding();
        let is_known = hosts.list.iter().any(|known| std::ptr::eq(Arc::as_ptr(&known.host), host));
        if host.health.is_ejected() || !is_known || !self.ejects.load(Ordering::Relaxed) {
            return None;
        }
        self.stats.detected[reason as usize].fetch_add(1, Ordering::Relaxed);
        if !policy.allows_one_more(ejected(hosts), hosts.list.len()) {
            self.stats.overflow.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if fastrand::u32(..100) >= policy.limit(reason).percent {
            return None;
        }
        self.stats.enforced[reason as usize].fetch_add(1, Ordering::Relaxed);
        let health = &host.health;
        let (before, jitter) = (health.times.load(Ordering::Relaxed), fastrand::u64(0..=policy.jitter.as_millis() as u64));
        let times = before + u32::from(policy.grows(before));
        health.times.store(times, Ordering::Relaxed);
        health.jitter.store(jitter, Ordering::Relaxed);
        health.ejected.store(self.time(now()), Ordering::Relaxed);
        self.changed();
        Some(policy.time_out(times) + Duration::from_millis(jitter))
    }

    /// The instance is used again. What it was charged with is forgotten.
    fn bring_back(&self, host: &Host, time: u64) {
        host.health.ejected.store(0, Ordering::Relaxed);
        host.health.returned.store(time, Ordering::Relaxed);
        host.health.reset(&Reason::ALL);
        self.changed();
    }

    /// Brings instances back whose time is over; looked at once in an interval, whoever asks.
    pub fn look(&self, cluster: &str, hosts: &Hosts, policy: &OutlierPolicy) {
        self.look_at(cluster, hosts, policy, Instant::now());
    }

    /// The same, at a time.
    fn look_at(&self, cluster: &str, hosts: &Hosts, policy: &OutlierPolicy, now: Instant) {
        let (now, next) = (self.time(now), self.next_look.load(Ordering::Relaxed));
        let interval = policy.interval.as_millis() as u64;
        // From the first look on, at whole intervals.
        let following = next.max(now.saturating_sub(now.saturating_sub(next) % interval.max(1))) + interval;
        if now < next || self.next_look.compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let _deciding = self.deciding();
        for host in hosts.list.iter().map(|weighted| &weighted.host) {
            let health = &host.health;
            let (since, times) = (health.ejected.load(Ordering::Relaxed), health.times.load(Ordering::Relaxed));
            let (returned, jitter) = (health.returned.load(Ordering::Relaxed), health.jitter.load(Ordering::Relaxed));
            if since == 0 {
                // Who behaves is trusted more from interval to interval.
                if returned != 0 && now.saturating_sub(returned) >= interval {
                    health.times.store(times.saturating_sub(1), Ordering::Relaxed);
                }
            } else if now.saturating_sub(since) >= policy.time_out(times).as_millis() as u64 + jitter {
                self.bring_back(host, now);
                tracing::info!(cluster, instance = %host.address, "used again");
            }
        }
    }
}

/// How many instances are left out.
pub fn ejected(hosts: &Hosts) -> usize {
    hosts.list.iter().filter(|weighted| weighted.host.health.is_ejected()).count()
}

#[cfg(test)]
mod tests {
    use weir_xds::cluster::OutlierDetection;
    use weir_xds::values::duration;

    use super::*;
    use crate::cluster::balance::tests::hosts;

    const BAD: Outcome = Outcome::Status(500);

    /// The instances that are not left out.
    fn usable(hosts: &Hosts) -> Vec<usize> {
        (0..hosts.list.len()).filter(|position| hosts.list[*position].host.health.is_usable()).collect()
    }

    fn policy(detection: OutlierDetection) -> OutlierPolicy {
        OutlierPolicy::compile(&detection).expect("valid")
    }

    fn report(health: &Health, hosts: &Hosts, position: usize, outcomes: &[Outcome], policy: &OutlierPolicy) {
        for outcome in outcomes {
            health.report("test", hosts, &hosts.list[position].host, *outcome, policy);
        }
    }

    #[test]
    fn five_errors_in_a_row_and_no_fewer() {
        let (health, all) = (Health::default(), hosts(&[1; 10]));
        let policy = policy(OutlierDetection::default());
        report(&health, &all, 3, &[BAD, BAD, BAD, BAD, Outcome::Status(404), BAD, BAD, BAD, BAD], &policy);
        assert_eq!(usable(&all).len(), 10);
        report(&health, &all, 3, &[Outcome::Failed], &policy);
        assert_eq!(usable(&all), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(health.version(), 1);
        // A tenth of the instances is out: no more may be.
        report(&health, &all, 4, &[BAD; 20], &policy);
        assert_eq!(usable(&all).len(), 9);
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
        assert_eq!(usable(&all), [0, 1]);
        report(&health, &all, 0, &[Outcome::Status(503), Outcome::TimedOut], &gateway);
        assert_eq!(usable(&all), [1]);
        let split = policy(OutlierDetection {
            split_external_local_origin_errors: true,
            consecutive_local_origin_failure: Some(2),
            max_ejection_percent: Some(100),
            ..Default::default()
        });
        let all = hosts(&[1; 2]);
        report(&health, &all, 0, &[Outcome::Failed, Outcome::Status(200), Outcome::Failed], &split);
        assert_eq!(usable(&all), [0, 1]);
        report(&health, &all, 0, &[Outcome::Failed], &split);
        assert_eq!(usable(&all), [1]);
    }

    #[test]
    fn who_is_left_out_comes_back_and_is_left_out_longer_the_next_time() {
        let seconds = |seconds| Some(duration(Duration::from_secs(seconds)));
        let policy = policy(OutlierDetection {
            consecutive_5xx: Some(2),
            max_ejection_percent: Some(100),
            base_ejection_time: seconds(30),
            max_ejection_time: seconds(70),
            interval: seconds(10),
            ..Default::default()
        });
        let (health, all) = (Health::default(), hosts(&[1; 2]));
        let (start, mut now) = (health.started, 0);
        // For how many seconds it is left out, in intervals of 10.
        let mut left_out = |pause: u64| {
            now += pause;
            (0..2).for_each(|_| health.report_at("test", &all, &all.list[1].host, BAD, &policy, || start + Duration::from_secs(now)));
            let since = now;
            while usable(&all) == [0] {
                now += 10;
                health.look_at("test", &all, &policy, start + Duration::from_secs(now));
            }
            now - since
        };
        assert_eq!([left_out(0), left_out(0), left_out(0), left_out(0)], [30, 60, 70, 70]);
        // What it was charged with before does not count.
        health.report("test", &all, &all.list[1].host, BAD, &policy);
        assert_eq!(usable(&all), [0, 1]);
        // Well for some intervals: it is trusted more.
        (1..4).for_each(|interval| health.look_at("test", &all, &policy, start + Duration::from_secs(1000 + 10 * interval)));
        assert_eq!(all.list[1].host.health.times.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn chance_makes_the_time_longer_if_that_is_wanted() {
        let jitter = Some(duration(Duration::from_secs(1000)));
        let policy = policy(OutlierDetection {
            consecutive_5xx: Some(1),
            max_ejection_percent: Some(100),
            max_ejection_time_jitter: jitter,
            ..Default::default()
        });
        let (health, all) = (Health::default(), hosts(&[1; 50]));
        (0..50).for_each(|position| report(&health, &all, position, &[BAD], &policy));
        health.look_at("test", &all, &policy, health.started + Duration::from_secs(29));
        assert_eq!(usable(&all).len(), 0);
        health.look_at("test", &all, &policy, health.started + Duration::from_secs(530));
        assert!((5..45).contains(&usable(&all).len()), "{:?}", usable(&all));
        health.look_at("test", &all, &policy, health.started + Duration::from_secs(1040));
        assert_eq!(usable(&all).len(), 50);
    }

    #[test]
    fn so_many_may_be_left_out_and_no_more() {
        // Percent, whether one always may, instances, and how many of them are left out.
        let cases = [(None, None, 4, 0), (None, None, 10, 1), (Some(50), None, 4, 2), (None, Some(true), 4, 1), (Some(100), None, 4, 4)];
        for (max_ejection_percent, always_eject_one_host, instances, out) in cases {
            let policy = policy(OutlierDetection { max_ejection_percent, always_eject_one_host, ..Default::default() });
            let (health, all) = (Health::default(), hosts(&vec![1; instances]));
            (0..instances).for_each(|position| report(&health, &all, position, &[BAD; 5], &policy));
            assert_eq!(ejected(&all), out, "{policy:?}");
            let count = |counters: &[AtomicU64]| counters.iter().map(|counter| counter.load(Ordering::Relaxed) as usize).sum::<usize>();
            assert_eq!(count(&health.stats.detected), instances);
            assert_eq!(count(&health.stats.enforced), out);
            assert_eq!(count(std::slice::from_ref(&health.stats.overflow)), instances - out);
        }
    }

    #[test]
    fn a_passed_health_check_brings_back_unless_that_is_not_wanted() {
        for wanted in [None, Some(false)] {
            let policy = policy(OutlierDetection {
                max_ejection_percent: Some(100),
                successful_active_health_check_uneject_host: wanted,
                ..Default::default()
            });
            let (health, all) = (Health::default(), hosts(&[1; 2]));
            health.follow(Some(&policy), true, &all);
            report(&health, &all, 0, &[BAD; 5], &policy);
            let before = health.version();
            assert!(!health.checked(&all.list[0].host, true));
            assert_eq!((usable(&all).len() == 2, health.version() != before), (wanted.is_none(), wanted.is_none()));
        }
    }

    #[test]
    fn without_a_policy_nobody_stays_left_out() {
        let (health, all) = (Health::default(), hosts(&[1; 2]));
        report(&health, &all, 0, &[BAD; 5], &policy(OutlierDetection { max_ejection_percent: Some(100), ..Default::default() }));
        health.checked(&all.list[1].host, false);
        health.follow(None, true, &all);
        assert_eq!(usable(&all), [0]);
        health.follow(None, false, &all);
        assert_eq!(usable(&all), [0, 1]);
        // Who has not heard of the change yet changes nothing.
        report(&health, &all, 0, &[BAD; 5], &policy(OutlierDetection { max_ejection_percent: Some(100), ..Default::default() }));
        assert!(!health.checked(&all.list[1].host, false));
        assert_eq!(usable(&all), [0, 1]);
    }

    #[test]
    fn a_longest_time_below_the_shortest_is_refused() {
        let max_ejection_time = Some(duration(Duration::from_secs(29)));
        assert!(OutlierPolicy::compile(&OutlierDetection { max_ejection_time, ..Default::default() }).is_err());
        let base_ejection_time = Some(duration(Duration::from_secs(400)));
        let policy = policy(OutlierDetection { base_ejection_time, ..Default::default() });
        assert_eq!(policy.time_out(2).as_secs(), 400);
    }
}
