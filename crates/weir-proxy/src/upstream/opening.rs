//! Connections that are being opened. Each is opened by a task of its own, so that whoever asked for it may leave: who comes next
//! takes it over, and an instance that is slow to shake hands is reached in the end, however short the patience of its clients.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;

use super::host::HostRuntime;
use super::http1::Http1Connection;
use super::http2::Http2Connection;
use super::pool::Pool;
use crate::exchange::failure::Failure;

/// What was opened.
pub enum Opened {
    /// A connection for one request at a time.
    Own(Box<Http1Connection>),
    /// One that many share; it is in its pool.
    Shared(Http2Connection),
}

/// A connection that is being opened.
pub struct Opening {
    outcome: RefCell<Option<Result<Opened, Failure>>>,
    done: Notify,
    /// Whether somebody waits for it.
    wanted: Cell<bool>,
}

/// The claim on a connection that is being opened. Whoever gives it up leaves the connection to others.
pub(super) struct Claim {
    opening: Rc<Opening>,
    pool: Rc<Pool>,
    target: Rc<HostRuntime>,
}

impl Claim {
    /// Begins to open a connection.
    pub(super) fn begin(pool: Rc<Pool>, target: Rc<HostRuntime>, open: impl Future<Output = Result<Opened, Failure>> + 'static) -> Self {
        let opening = Rc::new(Opening { outcome: RefCell::default(), done: Notify::new(), wanted: Cell::new(true) });
        let (begun, its_pool, its_target) = (opening.clone(), pool.clone(), target.clone());
        tokio::task::spawn_local(async move {
            let outcome = open.await;
            begun.settle(outcome, &its_pool, &its_target);
        });
        Self { opening, pool, target }
    }

    /// Takes over a connection that somebody else has asked for, and gone.
    pub(super) fn take_over(opening: Rc<Opening>, pool: Rc<Pool>, target: Rc<HostRuntime>) -> Self {
        opening.wanted.set(true);
        Self { opening, pool, target }
    }

    /// Waits for it.
    ///
    /// # Errors
    /// If it could not be opened.
    pub(super) async fn opened(self) -> Result<Opened, Failure> {
        loop {
            if let Some(outcome) = self.opening.outcome.take() {
                self.opening.wanted.set(false);
                return outcome;
            }
            self.opening.done.notified().await;
        }
    }
}

impl Opening {
    fn settle(self: &Rc<Self>, outcome: Result<Opened, Failure>, pool: &Pool, target: &HostRuntime) {
        if self.wanted.get() {
            self.outcome.replace(Some(outcome));
            self.done.notify_one();
            return;
        }
        pool.forget(self);
        if let Ok(Opened::Own(connection)) = outcome {
            target.keep(connection);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.opening.outcome.take() {
            Some(Ok(Opened::Own(connection))) => self.target.keep(connection),
            Some(_) => {}
            None if self.opening.wanted.replace(false) => self.pool.abandon(self.opening.clone()),
            None => {}
        }
    }
}
