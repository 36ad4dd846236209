//! A cluster as one worker uses it: its instances, and which of them is next.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::{ClusterPolicy, Discovery};
use weir_http1::Headers;
use weir_routing::action::Priority;

pub use super::choice::{LbContext, Wanted};
use super::choice::{Usable, priorities};
use super::destinations::Destinations;
use super::host::{ConnectionLimits, HostRuntime, Ways};
use crate::cluster::Cluster;
use crate::cluster::balance::Wish;
use crate::cluster::balance::priority::Level;
use crate::cluster::balance::selector::health_of;
use crate::cluster::host::{CoarseHealth, Host};
use crate::cluster::resources::{Overflow, Permit};
use crate::exchange::Destination;
use crate::exchange::failure::Outcome;
use crate::stats::cluster::{Tally, WorkerClusterStats};
use crate::stats::requests::Known;
use crate::tls::transports::Said;

/// A cluster, for one worker.
pub struct ClusterRuntime {
    worker: usize,
    current: RefCell<Arc<Cluster>>,
    hosts: RefCell<Vec<Rc<HostRuntime>>>,
    usable: RefCell<Usable>,
    /// Instances that are in no list: where connections were going to.
    destinations: Destinations,
    /// What was counted of requests that found no instance.
    series: Rc<RefCell<Known>>,
    /// Whether there may be connections. To look after each of thousands of clusters that nobody uses would take the caches away from those that
    /// are used.
    is_used: Cell<bool>,
}

impl std::fmt::Debug for ClusterRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClusterRuntime").field(&self.current.borrow().policy.name).finish()
    }
}

impl ClusterRuntime {
    /// For a worker.
    pub fn new(cluster: Arc<Cluster>, worker: usize) -> Self {
        let runtime = Self {
            worker,
            hosts: RefCell::default(),
            usable: RefCell::new(Usable::new(&cluster)),
            destinations: Destinations::default(),
            series: Rc::default(),
            is_used: Cell::new(true),
            current: RefCell::new(cluster),
        };
        runtime.take_over();
        let cluster = runtime.current.borrow().clone();
        runtime.tell_ways(&cluster);
        runtime
    }

    /// Follows a change of the cluster. Connections to instances that stay are kept.
    pub fn update(&self, cluster: &Arc<Cluster>) {
        let old = self.current.replace(cluster.clone());
        if Arc::ptr_eq(&old, cluster) {
            return;
        }
        self.is_used.set(true);
        let same_hosts = Arc::ptr_eq(&old.hosts.list, &cluster.hosts.list);
        if !same_hosts {
            self.take_over();
        }
        let same_policy = Arc::ptr_eq(&old.policy, &cluster.policy) && Arc::ptr_eq(&old.transports, &cluster.transports);
        if !same_hosts || !same_policy {
            self.tell_ways(cluster);
        }
        if !same_hosts || old.policy.lb != cluster.policy.lb || old.policy.watches_health != cluster.policy.watches_health {
            self.choose_usable(cluster);
        }
    }

    fn choose_usable(&self, cluster: &Cluster) {
        *self.usable.borrow_mut() = Usable::new(cluster);
    }

    fn tell_ways(&self, cluster: &Cluster) {
        self.hosts.borrow().iter().for_each(|runtime| runtime.tell(ways(cluster, &runtime.host)));
        self.destinations.for_each(|runtime| runtime.tell(ways(cluster, &runtime.host)));
    }

    /// Brings the instances in line with the cluster.
    fn take_over(&self) {
        let current = self.current.borrow();
        let mut hosts = self.hosts.borrow_mut();
        let old = std::mem::take(&mut *hosts);
        let known: HashMap<*const Host, &Rc<HostRuntime>> = old.iter().map(|runtime| (Arc::as_ptr(&runtime.host), runtime)).collect();
        hosts.extend(current.hosts.list.iter().map(|weighted| match known.get(&Arc::as_ptr(&weighted.host)) {
            Some(same) => Rc::clone(same),
            None => Rc::new(HostRuntime::new(weighted.host.clone())),
        }));
        let kept: HashSet<SocketAddr> = hosts.iter().map(|runtime| runtime.host.address).collect();
        old.iter().filter(|runtime| !kept.contains(&runtime.host.address)).for_each(|runtime| runtime.leave());
    }

    /// What the exchanges with it know of it.
    pub fn destination(&self) -> Destination {
        Destination { policy: self.policy(), series: self.series.clone() }
    }

    /// What does not depend on the instances.
    pub fn policy(&self) -> Arc<ClusterPolicy> {
        self.current.borrow().policy.clone()
    }

    /// Looks at what does not depend on the instances, for a moment: nothing is counted for that.
    pub fn with_policy<R>(&self, read: impl FnOnce(&ClusterPolicy) -> R) -> R {
        read(&self.current.borrow().policy)
    }

    /// Takes one of what the cluster limits; `None` where there is no limit.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn take(&self, priority: Priority, resource: Resource) -> Result<Option<Permit>, Overflow> {
        let current = self.current.borrow();
        current.resources.take(&current.policy.circuit_breakers, priority, resource)
    }

    /// Takes one of what the cluster limits, even above the limit.
    pub(super) fn take_anyway(&self, priority: Priority, resource: Resource) -> Permit {
        self.current.borrow().resources.take_anyway(priority, resource)
    }

    /// Whether the number of connections is limited.
    pub fn limits_connections(&self, priority: Priority) -> bool {
        self.current.borrow().policy.circuit_breakers.of(priority).limit(Resource::Connections).is_some()
    }

    /// This worker's counts, for a connection to keep.
    pub fn tally(&self) -> Tally {
        Tally::new(self.current.borrow().stats.clone(), self.worker)
    }

    /// This worker's counts.
    pub fn with_stats<R>(&self, read: impl FnOnce(&WorkerClusterStats) -> R) -> R {
        read(self.current.borrow().stats.of(self.worker))
    }

    /// How many of a million requests are to be answered without asking an instance.
    pub fn dropped_millionths(&self) -> u32 {
        self.current.borrow().hosts.dropped_millionths
    }

    /// How many instances are healthy, even if not quite, and how many there are.
    pub fn healthy(&self) -> (usize, usize) {
        let current = self.current.borrow();
        let counted = || current.hosts.list.iter().filter(|host| !host.is_excluded());
        (counted().filter(|host| host.health() != CoarseHealth::Unhealthy).count(), counted().count())
    }

    /// The instance for the next attempt; none if there is none that may be used.
    pub fn pick(&self, context: &LbContext<'_>) -> Option<Rc<HostRuntime>> {
        self.is_used.set(true);
        let current = self.current.borrow();
        if current.policy.watches_health {
            self.follow_health(&current);
        }
        if let Some(wanted) = context.wanted {
            let found = self.wanted(&current, wanted);
            if found.is_some() || wanted.strict {
                return found;
            }
        }
        let now = self.now_while_warming_up(&current);
        let selector = &mut self.usable.borrow_mut().selector;
        let loads = match context.other_priorities {
            Some(frequency) if context.tried.len() >= frequency => selector.loads_without(&priorities(&current, context.tried), frequency),
            _ => None,
        };
        let hosts = self.hosts.borrow();
        let mut chosen = None;
        for attempt in 0..=context.tries {
            let wish = Wish { hash: context.hash, attempt, now, loads: loads.as_ref() };
            let Some(choice) = selector.pick(&wish, || fastrand::u64(..)) else { return self.original_destination(&current, context) };
            if choice.panics && attempt == 0 {
                current.stats.of(self.worker).lb_healthy_panic.add(1);
            }
            chosen = hosts.get(choice.position);
            if chosen.is_none_or(|runtime| !context.avoid.contains(&runtime.host.address)) {
                break;
            }
        }
        chosen.cloned()
    }

    /// The instance that a request names, if it may be used.
    fn wanted(&self, current: &Cluster, wanted: Wanted) -> Option<Rc<HostRuntime>> {
        let position = current.hosts.position(wanted.address?)?;
        current.hosts.list.get(position).filter(|host| host.health() != CoarseHealth::Unhealthy)?;
        self.hosts.borrow().get(position).cloned()
    }

    /// Takes over what is new of the health of instances.
    fn follow_health(&self, current: &Cluster) {
        if let Some(policy) = &current.policy.outlier {
            current.health.look(&current.policy.name, &current.hosts, policy);
        }
        if self.usable.borrow().version != current.health.version() {
            self.choose_usable(current);
        }
    }

    /// The time, as long as it makes a difference.
    fn now_while_warming_up(&self, current: &Cluster) -> Option<Instant> {
        let until = self.usable.borrow().selector.warm_until?;
        let now = Instant::now();
        if now < until {
            return Some(now);
        }
        self.choose_usable(current);
        None
    }

    /// Where a connection or request was going to, if the cluster is of such destinations.
    fn original_destination(&self, current: &Cluster, context: &LbContext<'_>) -> Option<Rc<HostRuntime>> {
        if !matches!(current.policy.discovery, Discovery::OriginalDestination | Discovery::OfRequest) {
            return None;
        }
        Some(self.destinations.get(context.destination?, || ways_of(current, &Said::default())))
    }

    /// How well the priorities of its instances are, the highest first.
    pub fn levels(&self) -> Vec<Level> {
        self.is_used.set(true);
        health_of(&self.current.borrow().hosts)
    }

    /// What an answer counts as, where the cluster has a rule of its own for what is an error.
    pub fn judge(&self, status: StatusCode, headers: &Headers) -> Option<Outcome> {
        let current = self.current.borrow();
        let is_error = current.policy.outlier_errors.as_ref()?.matches(status, headers);
        Some(Outcome::Status(if is_error { 500 } else { 200 }))
    }

    /// Takes note of how an attempt at an instance ended.
    pub fn report(&self, host: &Host, outcome: Outcome) {
        let current = self.current.borrow();
        if let Some(policy) = &current.policy.outlier {
            current.health.report(&current.policy.name, &current.hosts, host, outcome, policy);
        }
    }

    /// The same, of the instance at an address, if it is still there.
    pub fn report_at(&self, address: SocketAddr, outcome: Outcome) {
        let cluster = self.current.borrow().clone();
        if let Some(known) = cluster.hosts.position(address).and_then(|position| cluster.hosts.list.get(position)) {
            self.report(&known.host, outcome);
        }
    }

    /// Takes note of an answer by which an instance says that it is to be left out at once, if its health is checked:
    /// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking#passive-health-checking>.
    pub fn heed(&self, host: &Host, answer: &weir_http1::Headers) {
        static FAIL: weir_http1::HeaderName = weir_http1::HeaderName::from_static("x-envoy-immediate-health-check-fail");
        let current = self.current.borrow();
        if current.policy.health_check.is_none() || !host.is_checked() || !answer.contains_key(&FAIL) {
            return;
        }
        let stats = &current.stats.health_checks;
        stats.failure.fetch_add(1, Ordering::Relaxed);
        stats.passive_failure.fetch_add(1, Ordering::Relaxed);
        if current.health.checked(host, false) {
            tracing::warn!(cluster = &*current.policy.name, instance = %host.address, "says that it fails its health checks");
        }
    }

    /// Closes connections that nobody used for too long, or that the other side closed; or, to `shed` them, all that nobody uses.
    pub fn sweep(&self, now: Instant, shed: bool) {
        if !self.is_used.get() {
            return;
        }
        let current = self.current.borrow();
        let limit = if shed { Some(Duration::ZERO) } else { current.policy.idle_timeout };
        if current.policy.watches_health {
            // Also where nobody asks it is seen who is used again.
            self.follow_health(&current);
        }
        let hosts = self.hosts.borrow();
        hosts.iter().for_each(|runtime| runtime.sweep(limit, now));
        self.destinations.sweep(limit, now);
        let in_use = hosts.iter().any(|runtime| runtime.is_in_use()) || !self.destinations.are_empty();
        self.is_used.set(in_use || current.policy.watches_health);
    }
}

/// What a cluster says of the connections to an instance.
fn ways(cluster: &Cluster, host: &Host) -> Ways {
    ways_of(cluster, &host.transport)
}

fn ways_of(cluster: &Cluster, said: &Said) -> Ways {
    Ways { limits: ConnectionLimits::new(&cluster.policy), way: cluster.transports.of(said) }
}

#[cfg(test)]
mod tests;
