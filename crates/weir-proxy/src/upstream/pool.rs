//! Connections to one instance that may carry the same requests: of one transport, for one host.

use std::cell::{Cell, RefCell};
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
    #[expect(clippy::vec_box, reason = "each goes on to a request and its answer, and comes back: all pass it on without moving it")]
    pub(super) idle: RefCell<Vec<Box<Http1Connection>>>,
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
    fn new(key: &TransportKey) -> Self {
        Self {
            key: key.clone(),
            idle: RefCell::default(),
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
            let mut connection = self.idle.borrow_mut().pop()?;
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
        self.idle.borrow_mut().retain_mut(|connection| connection.is_alive() && is_fresh(*connection.idle_since.get_or_insert(now)));
        self.shared.borrow_mut().retain(|connection| connection.is_open() && limit.is_none_or(|limit| !connection.is_idle(now, limit)));
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// Whether somebody has one of its connections, or waits for one.
    fn is_in_use(&self) -> bool {
        self.open.get() > 0 || self.opening.get() > 0 || !self.abandoned.borrow().is_empty()
    }

    /// Closes a connection that is kept without use; whether there was one.
    fn close_idle(&self) -> bool {
        let kept = self.idle.borrow_mut().pop();
        if kept.is_some() {
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

/// The pools of one instance. As a rule there is one.
#[derive(Default)]
pub(super) struct Pools(RefCell<Vec<Rc<Pool>>>);

impl Pools {
    /// The pool of a key, made if there is none.
    pub(super) fn of(&self, key: &TransportKey) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        if let Some(known) = pools.iter().find(|pool| pool.key == *key) {
            return known.clone();
        }
        let pool = Rc::new(Pool::new(key));
        pools.push(pool.clone());
        pool
    }

    /// Keeps a connection for later, unless so many are kept that `most` is reached.
    pub(super) fn keep(&self, connection: Box<Http1Connection>, most: usize) {
        if self.idle() >= most {
            return;
        }
        // As a rule there is one pool, and it is this connection's: each answer ends with this.
        match &**self.0.borrow() {
            [only] if only.key == connection.key => return only.idle.borrow_mut().push(connection),
            _ => {}
        }
        self.of(&connection.key).idle.borrow_mut().push(connection);
    }

    /// How many connections are kept without use.
    fn idle(&self) -> usize {
        self.0.borrow().iter().map(|pool| pool.idle.borrow().len()).sum()
    }

    /// Closes a connection that is kept for other requests than those of `pool`; whether there was one.
    pub(super) fn close_other(&self, pool: &Rc<Pool>) -> bool {
        let others: Vec<Rc<Pool>> = self.0.borrow().iter().filter(|other| !Rc::ptr_eq(other, pool)).cloned().collect();
        others.iter().any(|other| other.close_idle())
    }

    /// Closes what nobody used for too long, or what the other side closed, and forgets pools that nobody needs.
    pub(super) fn sweep(&self, limit: Option<Duration>, now: Instant) {
        self.0.borrow_mut().retain(|pool| {
            pool.sweep(limit, now);
            !pool.is_empty() || pool.is_in_use() || Rc::strong_count(pool) > 1
        });
    }

    /// Whether any connection is kept or shared.
    pub(super) fn are_empty(&self) -> bool {
        self.0.borrow().iter().all(|pool| pool.is_empty() && !pool.is_in_use())
    }

    /// Keeps none any more. Shared ones end with their last stream.
    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.0.borrow_mut());
        for pool in gone {
            pool.idle.borrow_mut().clear();
            pool.shared.borrow_mut().clear();
        }
    }
}
