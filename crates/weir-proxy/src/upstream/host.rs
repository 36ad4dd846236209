//! An instance as one worker uses it: the connections to it that are kept and shared, and who waits for one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Notify};
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::ClusterPolicy;

use super::cluster::ClusterRuntime;
use super::http1::Http1Connection;
use super::http2::{Http2Connection, StreamGuard};
use crate::cluster::host::Host;
use crate::cluster::resources::{Overflow, Permit};
use crate::exchange::Target;
use crate::stats::cluster::WorkerClusterStats;

/// A connection that may be idle for less is looked at when it is to be used, and not only by the sweep.
const SHORT_IDLE: Duration = Duration::from_secs(60);
/// Connections of one instance that a worker keeps without use.
const MAX_IDLE: usize = 256;

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
    limits: Cell<ConnectionLimits>,
    /// What the exchanges with it know of it.
    pub target: Rc<Target>,
}

/// When a connection is not used again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionLimits {
    requests: Option<u32>,
    age: Option<Duration>,
    /// Set only if it is so short that the sweep would come too late.
    idle: Option<Duration>,
}

impl ConnectionLimits {
    pub(super) fn new(policy: &ClusterPolicy) -> Self {
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

impl HostRuntime {
    pub(super) fn new(host: Arc<Host>) -> Self {
        let target = Target {
            address: Some(host.address),
            hostname: host.hostname.clone(),
            workload: host.workload.clone(),
            series: RefCell::default(),
        };
        Self {
            target: Rc::new(target),
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
        }
    }

    /// An instance that is in no cluster's list: the original destination of a connection.
    pub(super) fn of_destination(host: Arc<Host>, limits: ConnectionLimits) -> Rc<Self> {
        let runtime = Self::new(host);
        runtime.limits.set(limits);
        Rc::new(runtime)
    }

    /// Says when connections are not used again.
    pub(super) fn set_limits(&self, limits: ConnectionLimits) {
        self.limits.set(limits);
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
                Some(cluster.take_anyway(Resource::Connections))
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
    pub(super) fn leave(&self) {
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
