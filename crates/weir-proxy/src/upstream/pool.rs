//! Connections to one instance that may carry the same requests: of one transport, for one host.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::host::ConnectionLimits;
use super::http1::Http1Connection;
use super::http2::Http2Connection;
use super::opening::Opening;
use super::transport::TransportKey;

/// Connections that are kept and shared.
pub(super) struct Pool {
    key: TransportKey,
    idle: Idle,
    shared: RefCell<Vec<Http2Connection>>,
    /// How many wait for room on a shared connection.
    pub(super) waiting: Cell<u32>,
    /// How many shared connections are being opened.
    pub(super) opening: Cell<u32>,
    /// How many streams the last one that was used took at once; none before there was one.
    pub(super) room: Cell<Option<usize>>,
    /// Told when a shared connection has been opened, or could not be.
    pub(super) changed: Notify,
    /// How often a shared connection could not be opened.
    pub(super) failures: Cell<u64>,
    /// Connections that are being opened, and that nobody waits for any more.
    abandoned: RefCell<Vec<Rc<Opening>>>,
    /// Connections that are open under a limit.
    pub(super) open: Rc<Cell<u32>>,
    /// Whether the last handshake agreed on HTTP/1.1, where both were offered.
    pub(super) agreed_on_http1: Cell<bool>,
}

impl Pool {
    fn new(key: &TransportKey, kept: &Rc<Cell<usize>>) -> Self {
        Self {
            key: key.clone(),
            idle: Idle { connections: RefCell::default(), kept: kept.clone() },
            shared: RefCell::default(),
            waiting: Cell::new(0),
            opening: Cell::new(0),
            room: Cell::new(None),
            changed: Notify::new(),
            failures: Cell::new(0),
            abandoned: RefCell::default(),
            open: Rc::default(),
            agreed_on_http1: Cell::new(false),
        }
    }

    /// A kept connection that is still good, the last used first.
    pub(super) fn take_idle(&self, limits: ConnectionLimits) -> Option<Box<Http1Connection>> {
        loop {
            let mut connection = self.idle.pop()?;
            if limits.allows_idle(&connection) && connection.is_alive() && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    /// A shared connection with room for one more stream, which no others hold up. Those that are worn end with their last stream.
    pub(super) fn shared(&self, limits: ConnectionLimits) -> Option<Http2Connection> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| connection.is_open() && !limits.is_worn(connection.requests(), connection.opened));
        let found = shared.iter().find(|connection| connection.has_room() && !connection.is_held_up()).cloned();
        self.room.set(found.as_ref().map(Http2Connection::room).or(self.room.get()));
        found
    }

    /// Whether those that are being opened will not have room for all who wait; `most` is what one may carry at the most.
    pub(super) fn is_short(&self, most: Option<usize>) -> bool {
        let room = self.room.get().unwrap_or(usize::MAX).min(most.unwrap_or(usize::MAX)).max(1);
        (self.opening.get() as usize).saturating_mul(room) < self.waiting.get() as usize
    }

    /// Counts a shared connection that is being opened, and tells those who wait when it is not any more, whatever became of it.
    pub(super) fn opens(self: &Rc<Self>) -> Opens {
        self.opening.set(self.opening.get() + 1);
        Opens(self.clone())
    }

    /// Somebody who has asked for a connection has gone before it was open.
    pub(super) fn abandon(&self, opening: Rc<Opening>) {
        self.abandoned.borrow_mut().push(opening);
    }

    /// A connection that is being opened for nobody.
    pub(super) fn abandoned(&self) -> Option<Rc<Opening>> {
        self.abandoned.borrow_mut().pop()
    }

    /// It is abandoned no longer.
    pub(super) fn forget(&self, opening: &Rc<Opening>) {
        self.abandoned.borrow_mut().retain(|known| !Rc::ptr_eq(known, opening));
    }

    /// The same where no other connection may be opened: to wait with others is better than to wait for them.
    pub(super) fn shared_though_held_up(&self) -> Option<Http2Connection> {
        self.shared.borrow().iter().find(|connection| connection.has_room()).cloned()
    }

    pub(super) fn share(&self, connection: Http2Connection) {
        self.shared.borrow_mut().push(connection);
        self.changed.notify_waiters();
    }

    /// It is shared no longer.
    pub(super) fn retire(&self, connection: &Http2Connection) {
        self.shared.borrow_mut().retain(|known| !known.is(connection));
    }

    fn sweep(&self, limit: Option<Duration>, now: Instant) {
        let is_fresh = |since: Instant| limit.is_none_or(|limit| now.duration_since(since) < limit);
        self.idle.retain(|connection| connection.is_alive() && is_fresh(*connection.idle_since.get_or_insert(now)));
        self.shared.borrow_mut().retain(|connection| connection.is_open() && limit.is_none_or(|limit| !connection.is_idle(now, limit)));
    }

    fn is_empty(&self) -> bool {
        self.idle.connections.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// Whether somebody has one of its connections, or waits for one.
    fn is_in_use(&self) -> bool {
        self.open.get() > 0 || self.opening.get() > 0 || !self.abandoned.borrow().is_empty()
    }

    /// Whether a shared connection is kept without use.
    fn has_unused(&self) -> bool {
        self.shared.borrow().iter().any(Http2Connection::is_unused)
    }

    /// Closes a connection that is kept without use; whether there was one.
    fn close_idle(&self) -> bool {
        if self.idle.pop().is_some() {
            return true;
        }
        let mut shared = self.shared.borrow_mut();
        let unused = shared.iter().position(Http2Connection::is_unused);
        unused.map(|at| shared.swap_remove(at)).is_some()
    }
}

/// A shared connection that is being opened.
pub(super) struct Opens(Rc<Pool>);

impl Drop for Opens {
    fn drop(&mut self) {
        let Self(pool) = self;
        pool.opening.set(pool.opening.get().saturating_sub(1));
        pool.changed.notify_waiters();
    }
}

/// Connections that are kept without use, and counted among those of all pools of their instance.
struct Idle {
    #[expect(clippy::vec_box, reason = "each goes on to a request and its answer, and comes back: all pass it on without moving it")]
    connections: RefCell<Vec<Box<Http1Connection>>>,
    kept: Rc<Cell<usize>>,
}

impl Idle {
    fn push(&self, connection: Box<Http1Connection>) {
        self.connections.borrow_mut().push(connection);
        self.kept.set(self.kept.get() + 1);
    }

    fn pop(&self) -> Option<Box<Http1Connection>> {
        let connection = self.connections.borrow_mut().pop()?;
        self.kept.set(self.kept.get() - 1);
        Some(connection)
    }

    fn retain(&self, wanted: impl FnMut(&mut Box<Http1Connection>) -> bool) {
        let mut connections = self.connections.borrow_mut();
        let before = connections.len();
        connections.retain_mut(wanted);
        self.kept.set(self.kept.get() - (before - connections.len()));
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

type PoolsOfClients = HashMap<SocketAddr, Vec<Rc<Pool>>>;

/// The pools of one instance.
#[derive(Default)]
pub(super) struct Pools {
    /// Those for any client. As a rule there is one.
    common: RefCell<Vec<Rc<Pool>>>,
    /// Those for clients of one address each, of which there may be thousands; as a rule there are none.
    of_clients: RefCell<Option<Box<PoolsOfClients>>>,
    /// How many connections they all keep without use.
    kept: Rc<Cell<usize>>,
}

impl Pools {
    /// The pool of a key, made if there is none.
    pub(super) fn of(&self, key: &TransportKey) -> Rc<Pool> {
        match key.client() {
            None => self.among(&mut self.common.borrow_mut(), key),
            Some(client) => self.among(self.of_clients.borrow_mut().get_or_insert_default().entry(client).or_default(), key),
        }
    }

    fn among(&self, pools: &mut Vec<Rc<Pool>>, key: &TransportKey) -> Rc<Pool> {
        if let Some(known) = pools.iter().find(|pool| pool.key == *key) {
            return known.clone();
        }
        let pool = Rc::new(Pool::new(key, &self.kept));
        pools.push(pool.clone());
        pool
    }

    /// Keeps a connection for later, unless so many are kept that `most` is reached.
    pub(super) fn keep(&self, connection: Box<Http1Connection>, most: usize) {
        if self.kept.get() >= most {
            return;
        }
        // As a rule there is one pool, and it is this connection's: each answer ends with this.
        match &**self.common.borrow() {
            [only] if only.key == connection.key => return only.idle.push(connection),
            _ => {}
        }
        self.of(&connection.key).idle.push(connection);
    }

    /// Shares a new connection. Of those that are for one client's requests each, as of others, only so many are kept without use: one goes.
    pub(super) fn share(&self, connection: Http2Connection, most: usize) {
        if connection.key.client().is_some() {
            let unused: Vec<Rc<Pool>> = self.all().into_iter().filter(|pool| pool.has_unused()).collect();
            if unused.len() >= most {
                unused.iter().any(|pool| pool.close_idle());
            }
        }
        self.of(&connection.key).share(connection);
    }

    /// All of them.
    fn all(&self) -> Vec<Rc<Pool>> {
        let of_clients = self.of_clients.borrow();
        let of_clients = of_clients.iter().flat_map(|clients| clients.values().flatten());
        self.common.borrow().iter().chain(of_clients).cloned().collect()
    }

    /// Closes a connection that is kept for other requests than those of `pool`; whether there was one.
    pub(super) fn close_other(&self, pool: &Rc<Pool>) -> bool {
        self.all().iter().filter(|other| !Rc::ptr_eq(other, pool)).any(|other| other.close_idle())
    }

    /// Closes what nobody used for too long, or what the other side closed, and forgets pools that nobody needs.
    pub(super) fn sweep(&self, limit: Option<Duration>, now: Instant) {
        let sweep = |pool: &Rc<Pool>| {
            pool.sweep(limit, now);
            !pool.is_empty() || pool.is_in_use() || Rc::strong_count(pool) > 1
        };
        self.common.borrow_mut().retain(sweep);
        let mut of_clients = self.of_clients.borrow_mut();
        if let Some(clients) = of_clients.as_deref_mut() {
            clients.retain(|_, pools| {
                pools.retain(sweep);
                !pools.is_empty()
            });
        }
        of_clients.take_if(|clients| clients.is_empty());
    }

    /// Whether any connection is kept or shared.
    pub(super) fn are_empty(&self) -> bool {
        self.all().iter().all(|pool| pool.is_empty() && !pool.is_in_use())
    }

    /// Keeps none any more. Shared ones end with their last stream.
    pub(super) fn clear(&self) {
        for pool in self.all() {
            pool.idle.retain(|_| false);
            pool.shared.borrow_mut().clear();
        }
        self.common.borrow_mut().clear();
        self.of_clients.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_no_connections_where_they_are_made_in_their_names() {
        let pools = Pools::default();
        let own = pools.of(&TransportKey::default());
        let of_client = |client: &str| pools.of(&TransportKey::in_the_name_of(client));
        let (one, other) = (of_client("10.0.0.1"), of_client("10.0.0.2"));
        assert!(!Rc::ptr_eq(&one, &other) && !Rc::ptr_eq(&one, &own));
        assert!(Rc::ptr_eq(&one, &of_client("10.0.0.1")) && Rc::ptr_eq(&own, &pools.of(&TransportKey::default())));
    }

    #[test]
    fn pools_of_clients_that_have_gone_are_forgotten() {
        let pools = Pools::default();
        for client in 0..10_000_u32 {
            pools.of(&TransportKey::in_the_name_of(&std::net::Ipv4Addr::from(client).to_string()));
        }
        let held = pools.of(&TransportKey::in_the_name_of("0.0.0.7"));
        assert_eq!(pools.all().len(), 10_000);
        pools.sweep(None, Instant::now());
        assert!(matches!(&*pools.all(), [only] if Rc::ptr_eq(only, &held)));
        drop(held);
        pools.sweep(None, Instant::now());
        assert!(pools.all().is_empty() && pools.of_clients.borrow().is_none() && pools.are_empty());
    }
}
