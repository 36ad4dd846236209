//! A cluster as one worker uses it: its balancer, and for each instance the connections that are kept.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::balance::outlier::{self, Outcome};
use crate::balance::{Balancer, Wish};
use crate::config::cluster::{Cluster, ClusterPolicy};
use crate::config::host::{Host, Hosts};
use crate::stats::cluster::{Tally, WorkerClusterStats};
use crate::stats::requests::Known;
use crate::upstream::http1::Http1Connection;
use crate::upstream::http2::{Http2Connection, StreamGuard};
use crate::upstream::resources::{Overflow, Permit, Resource};

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
struct Limits {
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
            usable: RefCell::new(Usable::new(&cluster, &[])),
            series: RefCell::default(),
            current: RefCell::new(cluster),
        };
        runtime.take_over();
        let cluster = runtime.current.borrow().clone();
        runtime.tell_limits(&cluster);
        runtime.choose_usable(&cluster);
        runtime
    }

    /// Follows a change of the cluster. Connections to instances that stay are kept.
    pub fn update(&self, cluster: &Arc<Cluster>) {
        let old = self.current.replace(cluster.clone());
        self.tell_limits(cluster);
        let same_hosts = Arc::ptr_eq(&old.hosts.list, &cluster.hosts.list);
        if same_hosts && old.policy.balance == cluster.policy.balance && old.policy.outlier == cluster.policy.outlier {
            return;
        }
        if !same_hosts {
            self.take_over();
            self.tell_limits(cluster);
        }
        self.choose_usable(cluster);
    }

    fn choose_usable(&self, cluster: &Cluster) {
        *self.usable.borrow_mut() = Usable::new(cluster, &self.hosts.borrow());
    }

    fn tell_limits(&self, cluster: &Cluster) {
        let limits = Limits::new(&cluster.policy);
        self.hosts.borrow().iter().for_each(|host| host.limits.set(limits));
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

    /// The instance for the next attempt. `avoid` says which ones earlier attempts used; if it is chosen again after
    /// `tries` more choices, it is taken after all. Where the balancer goes by hashes, `hash` decides.
    pub fn pick(&self, avoid: &[SocketAddr], tries: u32, hash: Option<u64>) -> Option<Rc<HostRuntime>> {
        let current = self.current.borrow();
        if let Some(policy) = &current.policy.outlier {
            current.health.look(&current.policy.name, &current.hosts, policy);
            if self.usable.borrow().version != current.health.version() {
                self.choose_usable(&current);
            }
        }
        let Usable { hosts, runtimes, balancer, .. } = &mut *self.usable.borrow_mut();
        let mut chosen = None;
        for attempt in 0..=tries {
            let position = balancer.pick(hosts, Wish { hash, attempt }, || fastrand::u64(..))?;
            chosen = runtimes.get(position);
            if chosen.is_none_or(|runtime| !avoid.contains(&runtime.host.address)) {
                break;
            }
        }
        chosen.cloned()
    }

    /// Takes note of how an attempt at an instance ended.
    pub fn report(&self, host: &Host, outcome: Outcome) {
        let current = self.current.borrow();
        if let Some(policy) = &current.policy.outlier {
            current.health.report(&current.policy.name, &current.hosts, host, outcome, policy);
        }
    }

    /// Closes connections that nobody used for too long, or that the other side closed.
    pub fn sweep(&self, now: Instant) {
        let limit = self.current.borrow().policy.idle_timeout;
        for runtime in self.hosts.borrow().iter() {
            runtime
                .idle
                .borrow_mut()
                .retain(|connection| connection.is_alive() && limit.is_none_or(|limit| now.duration_since(connection.idle_since) < limit));
            runtime
                .shared
                .borrow_mut()
                .retain(|connection| connection.is_open() && limit.is_none_or(|limit| !connection.is_idle(now, limit)));
        }
    }
}

/// The instances that may be chosen now: all but those that failed too often.
struct Usable {
    hosts: Hosts,
    /// In the same order.
    runtimes: Vec<Rc<HostRuntime>>,
    balancer: Balancer,
    /// Of the cluster's health when this was made.
    version: u64,
}

impl Usable {
    fn new(cluster: &Cluster, runtimes: &[Rc<HostRuntime>]) -> Self {
        // Read first: what changes meanwhile is seen at the next choice.
        let version = cluster.health.version();
        let (hosts, runtimes) = match cluster.policy.outlier {
            None => (cluster.hosts.clone(), runtimes.to_vec()),
            Some(_) => {
                let good = outlier::usable(&cluster.hosts, cluster.policy.panic_percent);
                let list: Arc<[_]> = good.iter().map(|position| cluster.hosts.list[*position].clone()).collect();
                let equal = list.windows(2).all(|pair| pair[0].weight == pair[1].weight);
                (Hosts { list, equal }, good.iter().filter_map(|position| runtimes.get(*position).cloned()).collect())
            }
        };
        let balancer = Balancer::new(cluster.policy.balance, &hosts, fastrand::u64(..));
        Self { hosts, runtimes, balancer, version }
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
    pub fn of_destination(host: Arc<Host>) -> Rc<Self> {
        Rc::new(Self::new(host))
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
