//! An instance as one worker uses it: the connections to it that are kept and shared, and who waits for one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};
use weir_config::cluster::ClusterPolicy;
use weir_routing::action::{PRIORITIES, Priority};

use super::cluster::ClusterRuntime;
use super::http1::Http1Connection;
use super::http2::{Http2Connection, StreamGuard};
use super::lane::{ConnectionPermit, Lane, Waiting};
use super::opening::{Claim, Opened, Opening};
use super::pool::Pool;
use super::transport::TransportKey;
use crate::cluster::host::Host;
use crate::cluster::resources::Permit;
use crate::exchange::failure::{ConnectError, Failure, FailureKind};
use crate::exchange::{LastHeard, Target};
use crate::stats::cluster::WorkerClusterStats;
use crate::tls::transports::Way;

/// A connection that may be idle for less is looked at when it is to be used, and not only by the sweep.
const SHORT_IDLE: Duration = Duration::from_secs(60);
/// Connections of one instance that a worker keeps without use.
const MAX_IDLE: usize = 256;

/// An instance, for one worker.
pub struct HostRuntime {
    /// The instance.
    pub host: Arc<Host>,
    /// Requests of different priorities share no connection, as each priority has limits of its own.
    lanes: [Lane; PRIORITIES],
    /// How it is spoken to.
    way: RefCell<Way>,
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

/// What a cluster says of the connections to an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways {
    /// When one is not used again.
    pub limits: ConnectionLimits,
    /// How it is spoken to.
    pub way: Way,
}

impl ConnectionLimits {
    pub(super) fn new(policy: &ClusterPolicy) -> Self {
        Self {
            requests: policy.max_requests_per_connection,
            age: policy.max_connection_duration,
            idle: policy.idle_timeout.filter(|idle| *idle < SHORT_IDLE),
        }
    }

    pub(super) fn is_worn(self, requests: u32, opened: Instant) -> bool {
        self.requests.is_some_and(|limit| requests >= limit) || self.age.is_some_and(|limit| opened.elapsed() >= limit)
    }

    /// Counts a connection that is closed because it is worn.
    fn count_worn(self, requests: u32, stats: &WorkerClusterStats) {
        if self.requests.is_some_and(|limit| requests >= limit) {
            stats.cx_max_requests.add(1);
        }
    }

    pub(super) fn allows_idle(self, connection: &Http1Connection) -> bool {
        !self.is_worn(connection.requests, connection.opened)
            && self.idle.is_none_or(|limit| connection.idle_since.is_none_or(|since| since.elapsed() < limit))
    }
}

impl HostRuntime {
    pub(super) fn new(host: Arc<Host>) -> Self {
        let target = Target {
            address: Some(host.address),
            hostname: host.hostname.clone(),
            workload: host.workload.clone(),
            series: RefCell::default(),
            heard: LastHeard::default(),
        };
        Self {
            target: Rc::new(target),
            host,
            lanes: Default::default(),
            way: RefCell::default(),
            gone: Cell::new(false),
            limits: Cell::default(),
        }
    }

    /// An instance that is in no cluster's list: the original destination of a connection.
    pub(super) fn of_destination(host: Arc<Host>, ways: Ways) -> Rc<Self> {
        let runtime = Self::new(host);
        runtime.tell(ways);
        Rc::new(runtime)
    }

    /// Says how it is spoken to, and when connections are not used again.
    pub(super) fn tell(&self, ways: Ways) {
        self.limits.set(ways.limits);
        let before = self.way.replace(ways.way);
        if !before.is(&self.way.borrow()) {
            // Nothing is sent any more by the way that it was.
            self.lanes.iter().for_each(|lane| lane.pools.clear());
        }
    }

    /// How it is spoken to.
    pub fn way(&self) -> Way {
        self.way.borrow().clone()
    }

    /// Closes connections that nobody used for too long, or that the other side closed.
    pub(super) fn sweep(&self, limit: Option<Duration>, now: Instant) {
        self.lanes.iter().for_each(|lane| lane.pools.sweep(limit, now));
    }

    /// Whether it keeps connections or is busy.
    pub(super) fn is_in_use(&self) -> bool {
        self.host.load() > 0 || self.lanes.iter().any(|lane| !lane.pools.are_empty())
    }

    /// A kept connection that is still good, the last used first, nobody waiting for it.
    pub fn take_idle(&self, key: &TransportKey) -> Option<Box<Http1Connection>> {
        let lane = self.lane(key);
        if lane.waiting.get() > 0 { None } else { lane.pools.of(key).take_idle(self.limits.get()) }
    }

    /// Whether the last handshake agreed on HTTP/1.1, where both were offered.
    pub fn agreed_on_http1(&self, key: &TransportKey) -> bool {
        self.pool(key).agreed_on_http1.get()
    }

    /// Takes note of what a handshake has agreed on.
    pub fn note_agreement(&self, key: &TransportKey, http1: bool) {
        self.pool(key).agreed_on_http1.set(http1);
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, mut connection: Box<Http1Connection>) {
        connection.counted.finish();
        if self.gone.get() || !connection.key.is_of(&self.way.borrow()) || !connection.is_reusable() {
            return;
        }
        if self.limits.get().is_worn(connection.requests, connection.opened) {
            self.limits.get().count_worn(connection.requests, connection.counted.tally());
            return;
        }
        connection.idle_since = self.limits.get().idle.map(|_| Instant::now());
        connection.rest();
        let limited = connection.permit.is_some();
        let lane = self.lane(&connection.key);
        lane.pools.keep(connection, MAX_IDLE);
        if limited {
            lane.freed.notify_one();
        }
    }

    /// Waits until a connection may be opened, or one has been given back. One that is being opened for nobody is taken over.
    pub async fn turn(&self, cluster: &ClusterRuntime, key: &TransportKey) -> Turn {
        let lane = self.lane(key);
        let pool = lane.pools.of(key);
        if let Some(opening) = pool.abandoned() {
            return Turn::TakeOver(opening);
        }
        if !cluster.limits_connections(key.priority) {
            return Turn::Open(None);
        }
        let _waiting = Waiting::new(&lane.waiting);
        loop {
            if let Some(permit) = lane.may_open(cluster, key.priority, &pool) {
                return Turn::Open(Some(permit));
            }
            lane.freed.notified().await;
            if let Some(connection) = pool.take_idle(self.limits.get()) {
                return Turn::Reuse(connection);
            }
        }
    }

    /// A stream of a shared connection. After the last one that it may carry, it ends when its streams have.
    pub fn stream(&self, connection: &Http2Connection) -> StreamGuard {
        let stream = connection.stream();
        if self.limits.get().requests.is_some_and(|limit| connection.requests() >= limit) {
            stream.tally().cx_max_requests.add(1);
            self.pool(&connection.key).retire(connection);
        }
        stream
    }

    /// A shared connection with room for one more stream, nobody waiting for it: as a rule.
    pub fn shared_at_once(&self, key: &TransportKey) -> Option<Http2Connection> {
        let lane = self.lane(key);
        if lane.waiting.get() > 0 { None } else { lane.pools.of(key).shared(self.limits.get()) }
    }

    /// Waits for a connection that is opened, or for one that was to be opened for somebody else.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn opened(
        self: &Rc<Self>,
        key: &TransportKey,
        opening: Asked<impl Future<Output = Result<Opened, Failure>> + 'static>,
    ) -> Result<Opened, Failure> {
        let (pool, target) = (self.pool(key), self.clone());
        let claim = match opening {
            Asked::Anew(open) => Claim::begin(pool, target, open),
            Asked::Before(opening) => Claim::take_over(opening, pool, target),
        };
        claim.opened().await
    }

    /// Waits until a shared connection has room, or another has been opened; under the cluster's limit of connections. `open` opens
    /// one, and is asked where those that are being opened will not have room for all who wait; `most` is what one carries at the
    /// most. Where one cannot be opened, all who wait for it fail; none where what was opened is not to be shared.
    ///
    /// # Errors
    /// If no connection can be opened.
    pub async fn shared_or_opened<F>(
        self: &Rc<Self>,
        cluster: &ClusterRuntime,
        key: &TransportKey,
        most: Option<usize>,
        open: impl Fn(Option<ConnectionPermit>) -> F,
    ) -> Result<Option<Http2Connection>, Failure>
    where
        F: Future<Output = Result<Opened, Failure>> + 'static,
    {
        let lane = self.lane(key);
        let pool = lane.pools.of(key);
        let (_waiting, _of_pool) = (Waiting::new(&lane.waiting), Waiting::new(&pool.waiting));
        let failures = pool.failures.get();
        let mut own: Option<oneshot::Receiver<Result<Http2Connection, Failure>>> = None;
        loop {
            if let Some(connection) = pool.shared(self.limits.get()) {
                return Ok(Some(connection));
            }
            match own.as_mut().map(oneshot::Receiver::try_recv) {
                Some(Ok(Err(failure))) => return Err(failure),
                Some(Ok(Ok(connection))) => {
                    own = None;
                    if !connection.is_open() {
                        // It ended as soon as it was open, and the next would: whoever has sent something on it learns why.
                        pool.failures.set(pool.failures.get() + 1);
                        pool.changed.notify_waiters();
                        return Ok(Some(connection));
                    }
                    if connection.room() == 0 {
                        // Another one would take no more than this one: none at all, for now.
                        return Ok(Some(connection));
                    }
                }
                Some(Err(TryRecvError::Closed)) => own = None,
                _ if failures != pool.failures.get() => return Err(elsewhere(cluster)),
                _ => {}
            }
            if pool.agreed_on_http1.get() {
                return Ok(None);
            }
            if pool.is_short(most) {
                match lane.permit(cluster, key.priority, &pool) {
                    Some(permit) => {
                        own = Some(self.open_shared(pool.clone(), open(permit)));
                        continue;
                    }
                    None => {
                        if let Some(connection) = pool.shared_though_held_up() {
                            return Ok(Some(connection));
                        }
                    }
                }
            }
            tokio::select! {
                () = pool.changed.notified() => {}
                () = lane.freed.notified() => {}
            }
        }
    }

    /// Begins to open a shared connection. Whoever began it learns what came of it.
    fn open_shared(
        self: &Rc<Self>,
        pool: Rc<Pool>,
        open: impl Future<Output = Result<Opened, Failure>> + 'static,
    ) -> oneshot::Receiver<Result<Http2Connection, Failure>> {
        let (told, own) = oneshot::channel();
        let (opens, target) = (pool.opens(), self.clone());
        tokio::task::spawn_local(async move {
            let outcome = open.await;
            match outcome {
                Ok(Opened::Own(connection)) => target.keep(connection),
                // Whoever began it may have gone.
                Ok(Opened::Shared(connection)) => drop(told.send(Ok(connection))),
                Err(failure) => {
                    pool.failures.set(pool.failures.get() + 1);
                    drop(told.send(Err(failure)));
                }
            }
            drop(opens);
        });
        own
    }

    /// Told when there is room for a connection or a stream again.
    pub fn freed(&self, key: &TransportKey) -> Rc<Notify> {
        self.lane(key).freed.clone()
    }

    fn lane(&self, key: &TransportKey) -> &Lane {
        let [usual, high] = &self.lanes;
        match key.priority {
            Priority::Usual => usual,
            Priority::High => high,
        }
    }

    fn pool(&self, key: &TransportKey) -> Rc<Pool> {
        self.lane(key).pools.of(key)
    }

    /// Shares a new connection.
    pub fn share(&self, connection: Http2Connection) {
        if !self.gone.get() && connection.key.is_of(&self.way.borrow()) {
            self.lane(&connection.key).pools.share(connection, MAX_IDLE);
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
        self.lanes.iter().for_each(|lane| lane.pools.clear());
    }
}

/// Somebody else tried to open the connection that this one waited for.
fn elsewhere(cluster: &ClusterRuntime) -> Failure {
    cluster.with_stats(|stats| stats.rq_pending_failure_eject.add(1));
    FailureKind::Connect(ConnectError::Elsewhere).into()
}

/// A connection that is to be opened.
pub enum Asked<F> {
    /// By this.
    Anew(F),
    /// It is on its way already.
    Before(Rc<Opening>),
}

/// What a request that waited for a connection may do.
pub enum Turn {
    /// Open one, under the cluster's limit where there is one.
    Open(Option<ConnectionPermit>),
    /// Wait for one that is being opened already.
    TakeOver(Rc<Opening>),
    /// Use this one.
    Reuse(Box<Http1Connection>),
}

/// A request or connection that an instance is busy with, and what it takes of the cluster's limit.
#[derive(Debug)]
pub struct BusyGuard(Arc<Host>, #[expect(dead_code, reason = "given back when it is dropped")] Option<Permit>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
