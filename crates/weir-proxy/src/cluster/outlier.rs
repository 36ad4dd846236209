//! Instances that fail again and again are left out for a while: Envoy's outlier detection
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>), counted by all workers together.
//!
//! What every request does is a few atomic operations on its instance; everything else happens when one is left out, or
//! comes back. Nothing of it is done for clusters without outlier detection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// How many of the instances are left out; counted anew at each look, for instances come and go.
    out: AtomicUsize,
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
            out: AtomicUsize::new(0),
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
        self.out.store(ejected(hosts), Ordering::Relaxed);
        self.changed();
    }

    /// Counts anew how many are left out: the instances are others now.
    pub fn recount(&self, hosts: &Hosts) {
        let _deciding = self.deciding();
        self.out.store(ejected(hosts), Ordering::Relaxed);
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
        if host.health.is_ejected() || !self.ejects.load(Ordering::Relaxed) || !hosts.contains(host) {
            return None;
        }
        self.stats.detected[reason as usize].fetch_add(1, Ordering::Relaxed);
        if !policy.allows_one_more(self.out.load(Ordering::Relaxed), hosts.list.len()) {
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
        self.out.fetch_add(1, Ordering::Relaxed);
        self.changed();
        Some(policy.time_out(times) + Duration::from_millis(jitter))
    }

    /// The instance is used again. What it was charged with is forgotten.
    fn bring_back(&self, host: &Host, time: u64) {
        host.health.ejected.store(0, Ordering::Relaxed);
        // One that is no longer among the instances was not counted.
        let _ = self.out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |out| out.checked_sub(1));
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
        self.out.store(ejected(hosts), Ordering::Relaxed);
    }
}

/// How many instances are left out.
pub fn ejected(hosts: &Hosts) -> usize {
    hosts.list.iter().filter(|weighted| weighted.host.health.is_ejected()).count()
}

#[cfg(test)]
mod tests;
