//! A cluster as one worker uses it: its balancer, and for each instance the connections that are kept.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::balance::Wish;
use crate::balance::outlier::Outcome;
use crate::config::cluster::{Cluster, ClusterPolicy, Discovery};
use crate::config::host::Host;
use crate::stats::cluster::{Tally, WorkerClusterStats};
use crate::stats::requests::Known;
use crate::upstream::http1::Http1Connection;
use crate::upstream::http2::{Http2Connection, StreamGuard};
use crate::upstream::resources::{Overflow, Permit, Resource};
pub use crate::worker::choice::LbContext;
use crate::worker::choice::{Usable, priorities};
use crate::worker::destinations::Destinations;

/// A connection that may be idle for less is looked at when it is to be used, and not only by the sweep.
const SHORT_IDLE: Duration = Duration::from_secs(60);
/// Connections of one instance that a worker keeps without use.
const MAX_IDLE: usize = 256;

/// A cluster, for one worker.
pub struct ClusterRuntime {
    worker: usize,
    current: RefCell<Arc<Cluster>>,
    hosts: RefCell<Vec<Rc<HostRuntime>>>,
    usable: RefCell<Usable>,
    /// Instances that are in no list: where connections were going to.
    destinations: Destinations,
    /// What was counted of requests that found no instance.
    pub series: RefCell<Known>,
}

impl std::fmt::Debug for ClusterRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClusterRuntime").field(&self.current.borrow().policy.name).finish()
    }
}

/// An instance, for one worker.
pub struct HostRuntime {
    /// The instance.
    pub host: Arc<Host>,
    idle: RefCell<Vec<Http1Connection>>,
    shared: RefCell<Vec<Http2Connection>>,
    /// Held by who opens a shared connection, so that many requests at once open one and not many.
    opening: AsyncMutex<()>,
    /// How often a shared connection could not be opened.
    failures: Cell<u64>,
    /// Connections that are open under a limit, and who waits for one.
    open: Rc<Cell<u32>>,
    waiting: Cell<u32>,
    freed: Rc<Notify>,
    /// Whether the instance is still in the cluster.
    gone: Cell<bool>,
    limits: Cell<Limits>,
    /// What was counted of requests that it answered.
    pub series: RefCell<Known>,
}

/// When a connection is not used again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    requests: Option<u32>,
    age: Option<Duration>,
    /// Set only if it is so short that the sweep would come too late.
    idle: Option<Duration>,
}

impl Limits {
    fn new(policy: &ClusterPolicy) -> Self {
        Self {
            requests: policy.max_requests_per_connection,
            age: policy.max_connection_duration,
            idle: policy.idle_timeout.filter(|idle| *idle < SHORT_IDLE),
        }
    }

    fn is_worn(self, requests: u32, opened: Instant) -> bool {
        self.requests.is_some_and(|limit| requests >= limit) || self.age.is_some_and(|limit| opened.elapsed() >= limit)
    }

    /// Counts a connection that is closed because it is worn.
    fn count_worn(self, requests: u32, stats: &WorkerClusterStats) {
        if self.requests.is_some_and(|limit| requests >= limit) {
            stats.cx_max_requests.add(1);
        }
    }

    fn allows_idle(self, connection: &Http1Connection) -> bool {
        !self.is_worn(connection.requests, connection.opened) && self.idle.is_none_or(|limit| connection.idle_since.elapsed() < limit)
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
            series: RefCell::default(),
            current: RefCell::new(cluster),
        };
        runtime.take_over();
        let cluster = runtime.current.borrow().clone();
        runtime.tell_limits(&cluster);
        runtime
    }

    /// Follows a change of the cluster. Connections to instances that stay are kept.
    pub fn update(&self, cluster: &Arc<Cluster>) {
        let old = self.current.replace(cluster.clone());
        self.tell_limits(cluster);
        let same_hosts = Arc::ptr_eq(&old.hosts.list, &cluster.hosts.list);
        if same_hosts && old.policy.lb == cluster.policy.lb && old.policy.watches_health == cluster.policy.watches_health {
            return;
        }
        if !same_hosts {
            self.take_over();
            self.tell_limits(cluster);
        }
        self.choose_usable(cluster);
    }

    fn choose_usable(&self, cluster: &Cluster) {
        *self.usable.borrow_mut() = Usable::new(cluster);
    }

    fn tell_limits(&self, cluster: &Cluster) {
        let limits = Limits::new(&cluster.policy);
        self.hosts.borrow().iter().for_each(|host| host.limits.set(limits));
        self.destinations.for_each(|host| host.limits.set(limits));
    }

    /// Brings the instances in line with the cluster.
    fn take_over(&self) {
        let current = self.current.borrow();
        let mut hosts = self.hosts.borrow_mut();
        let known = std::mem::take(&mut *hosts);
        for weighted in current.hosts.list.iter() {
            let same = known.iter().find(|runtime| Arc::ptr_eq(&runtime.host, &weighted.host));
            hosts.push(same.cloned().unwrap_or_else(|| Rc::new(HostRuntime::new(weighted.host.clone()))));
        }
        let kept: std::collections::HashSet<SocketAddr> = hosts.iter().map(|runtime| runtime.host.address).collect();
        known.iter().filter(|runtime| !kept.contains(&runtime.host.address)).for_each(|runtime| runtime.leave());
    }

    /// What does not depend on the instances.
    pub fn policy(&self) -> Arc<ClusterPolicy> {
        self.current.borrow().policy.clone()
    }

    /// Takes one of what the cluster limits; `None` where there is no limit.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn take(&self, resource: Resource) -> Result<Option<Permit>, Overflow> {
        let current = self.current.borrow();
        current.resources.take(&current.policy.circuit_breakers, resource)
    }

    /// Whether the number of connections is limited.
    pub fn limits_connections(&self) -> bool {
        self.current.borrow().policy.circuit_breakers.limit(Resource::Connections).is_some()
    }

    /// This worker's counts, for a connection to keep.
    pub fn tally(&self) -> Tally {
        Tally::new(self.current.borrow().stats.clone(), self.worker)
    }

    /// This worker's counts.
    pub fn with_stats<R>(&self, read: impl FnOnce(&WorkerClusterStats) -> R) -> R {
        read(self.current.borrow().stats.of(self.worker))
    }

    /// The instance for the next attempt; none if there is none that may be used.
    pub fn pick(&self, context: &LbContext<'_>) -> Option<Rc<HostRuntime>> {
        let current = self.current.borrow();
        if current.policy.watches_health {
            self.follow_health(&current);
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
            let Some(choice) = selector.pick(&wish, || fastrand::u64(..)) else { return self.destination(&current, context) };
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
    fn destination(&self, current: &Cluster, context: &LbContext<'_>) -> Option<Rc<HostRuntime>> {
        if !matches!(current.policy.discovery, Discovery::OriginalDestination | Discovery::OfRequest) {
            return None;
        }
        Some(self.destinations.get(context.destination?, || Limits::new(&current.policy)))
    }

    /// What an answer counts as, where the cluster has a rule of its own for what is an error.
    pub fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Option<Outcome> {
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

    /// Takes note of an answer by which an instance says that it is to be left out at once, if its health is checked:
    /// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking#passive-health-checking>.
    pub fn heed(&self, host: &Host, answer: &http::HeaderMap) {
        const FAIL: http::HeaderName = http::HeaderName::from_static("x-envoy-immediate-health-check-fail");
        let current = self.current.borrow();
        if current.policy.health_check.is_none() || !host.is_checked() || !answer.contains_key(FAIL) {
            return;
        }
        let stats = &current.stats.health_checks;
        stats.failure.fetch_add(1, Ordering::Relaxed);
        stats.passive_failure.fetch_add(1, Ordering::Relaxed);
        if current.health.checked(host, false) {
            tracing::warn!(cluster = &*current.policy.name, instance = %host.address, "says that it fails its health checks");
        }
    }

    /// Closes connections that nobody used for too long, or that the other side closed.
    pub fn sweep(&self, now: Instant) {
        let current = self.current.borrow();
        let limit = current.policy.idle_timeout;
        if current.policy.watches_health {
            // Also where nobody asks it is seen who is used again.
            self.follow_health(&current);
        }
        self.hosts.borrow().iter().for_each(|runtime| runtime.sweep(limit, now));
        self.destinations.sweep(limit, now);
    }
}

impl HostRuntime {
    fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: AsyncMutex::new(()),
            failures: Cell::new(0),
            open: Rc::default(),
            waiting: Cell::new(0),
            freed: Rc::default(),
            gone: Cell::new(false),
            limits: Cell::default(),
            series: RefCell::default(),
        }
    }

    /// An instance that is in no cluster's list: the original destination of a connection.
    pub(super) fn of_destination(host: Arc<Host>, limits: Limits) -> Rc<Self> {
        let runtime = Self::new(host);
        runtime.limits.set(limits);
        Rc::new(runtime)
    }

    /// Closes connections that nobody used for too long, or that the other side closed.
    pub(super) fn sweep(&self, limit: Option<Duration>, now: Instant) {
        self.idle
            .borrow_mut()
            .retain(|connection| connection.is_alive() && limit.is_none_or(|limit| now.duration_since(connection.idle_since) < limit));
        self.shared.borrow_mut().retain(|connection| connection.is_open() && limit.is_none_or(|limit| !connection.is_idle(now, limit)));
    }

    /// Whether it keeps connections or is busy.
    pub(super) fn is_in_use(&self) -> bool {
        self.host.load() > 0 || !self.idle.borrow().is_empty() || !self.shared.borrow().is_empty()
    }

    /// A kept connection that is still good, the last used first.
    pub fn take_idle(&self) -> Option<Http1Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if self.limits.get().allows_idle(&connection) && connection.is_alive() && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, mut connection: Http1Connection) {
        connection.counted.finish();
        if self.gone.get() || !connection.is_reusable() {
            return;
        }
        if self.limits.get().is_worn(connection.requests, connection.opened) {
            self.limits.get().count_worn(connection.requests, connection.counted.tally());
            return;
        }
        connection.idle_since = Instant::now();
        let limited = connection.permit.is_some();
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        if limited {
            self.freed.notify_one();
        }
    }

    /// Whether others wait for a connection already: who comes now waits behind them.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Waits until a connection may be opened, or one has been given back.
    pub async fn turn(&self, cluster: &ClusterRuntime) -> Turn {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            if let Some(permit) = self.may_open(cluster) {
                return Turn::Open(permit);
            }
            self.freed.notified().await;
            if let Some(connection) = self.take_idle() {
                return Turn::Reuse(Box::new(connection));
            }
        }
    }

    /// Each worker may have one connection to each instance whatever the limit, or its requests would wait for ever.
    fn may_open(&self, cluster: &ClusterRuntime) -> Option<ConnectionPermit> {
        let permit = match cluster.take(Resource::Connections) {
            Ok(permit) => permit,
            Err(Overflow) => {
                cluster.with_stats(|stats| stats.cx_overflow.add(1));
                if self.open.get() > 0 {
                    return None;
                }
                Some(cluster.current.borrow().resources.take_anyway(Resource::Connections))
            }
        };
        self.open.set(self.open.get() + 1);
        Some(ConnectionPermit { _counted: permit, open: self.open.clone(), freed: self.freed.clone() })
    }

    /// A shared connection with room for one more stream. Those that are worn end with their last stream.
    fn shared(&self) -> Option<Http2Connection> {
        let mut shared = self.shared.borrow_mut();
        let limits = self.limits.get();
        shared.retain(|connection| connection.is_open() && !limits.is_worn(connection.requests(), connection.opened));
        shared.iter().find(|connection| connection.has_room()).cloned()
    }

    /// A stream of a shared connection. After the last one that it may carry, it ends when its streams have.
    pub fn stream(&self, connection: &Http2Connection) -> StreamGuard {
        let stream = connection.stream();
        if self.limits.get().requests.is_some_and(|limit| connection.requests() >= limit) {
            stream.tally().cx_max_requests.add(1);
            self.shared.borrow_mut().retain(|known| !known.is(connection));
        }
        stream
    }

    /// A shared connection with room for one more stream, nobody waiting for it: as a rule.
    pub fn shared_at_once(&self) -> Option<Http2Connection> {
        if self.is_waited_for() { None } else { self.shared() }
    }

    /// Waits until a shared connection has room, or `open` has opened one; under the cluster's limit of connections.
    /// Where one cannot be opened, all who wait for it fail.
    ///
    /// # Errors
    /// If no connection can be opened; the error is none where somebody else's attempt failed.
    pub async fn shared_or_opened<E>(
        &self,
        cluster: &ClusterRuntime,
        open: impl AsyncFnOnce(Option<ConnectionPermit>, Rc<Notify>) -> Result<Http2Connection, E>,
    ) -> Result<Http2Connection, Option<E>> {
        let _waiting = Waiting::new(&self.waiting);
        let failures = self.failures.get();
        let _opening = self.opening.lock().await;
        if failures != self.failures.get() {
            return Err(None);
        }
        let permit = loop {
            if let Some(connection) = self.shared() {
                return Ok(connection);
            }
            if !cluster.limits_connections() {
                break None;
            }
            match self.may_open(cluster) {
                Some(permit) => break Some(permit),
                None => self.freed.notified().await,
            }
        };
        match open(permit, self.freed.clone()).await {
            Ok(connection) => {
                self.share(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                self.failures.set(failures + 1);
                Err(Some(error))
            }
        }
    }

    /// Shares a new connection.
    fn share(&self, connection: Http2Connection) {
        if !self.gone.get() {
            self.shared.borrow_mut().push(connection);
        }
    }

    /// Counts a request or connection as long as the guard lives.
    pub fn busy(self: &Rc<Self>, permit: Option<Permit>) -> BusyGuard {
        self.host.active.fetch_add(1, Ordering::Relaxed);
        BusyGuard(self.host.clone(), permit)
    }

    /// The instance has left the cluster: nothing new is sent to it, and nothing is kept.
    fn leave(&self) {
        self.gone.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }
}

/// What a request that waited for a connection may do.
pub enum Turn {
    /// Open one.
    Open(ConnectionPermit),
    /// Use this one.
    Reuse(Box<Http1Connection>),
}

/// A connection that is open under a limit.
#[derive(Debug)]
pub struct ConnectionPermit {
    _counted: Option<Permit>,
    open: Rc<Cell<u32>>,
    freed: Rc<Notify>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        self.freed.notify_one();
    }
}

/// Counts one that waits.
struct Waiting<'w>(&'w Cell<u32>);

impl<'w> Waiting<'w> {
    fn new(waiting: &'w Cell<u32>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A request or connection that an instance is busy with, and what it takes of the cluster's limit.
#[derive(Debug)]
pub struct BusyGuard(Arc<Host>, #[expect(dead_code, reason = "given back when it is dropped")] Option<Permit>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
