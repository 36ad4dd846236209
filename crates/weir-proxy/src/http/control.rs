//! What others can tell a client's connection.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use http::Extensions;
use weir_config::head::Client;

use crate::io::line::Line;

/// What others can tell a connection: two flags, so that a connection that nobody tells anything pays nothing.
#[derive(Debug, Default)]
pub struct Control {
    finish: Cell<bool>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// What filters remember of it.
    pub extensions: RefCell<Extensions>,
    /// The line to the client, where HTTP/1.1 is spoken.
    pub line: OnceCell<Arc<Line>>,
    /// What the rules of heads look at of it.
    pub client: OnceCell<Client>,
    /// How many requests have come.
    pub requests: Cell<u32>,
    /// When it was opened.
    pub opened: Cell<Option<Instant>>,
    /// When its last request began.
    pub last_request: Cell<Option<Instant>>,
}

impl Control {
    /// It is to end when it has finished what it is doing.
    pub fn finish(&self) {
        if !self.finish.replace(true)
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// It is to end now, whatever it is doing.
    pub fn end(&self) {
        self.ended.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Does something, unless the connection is to end before it is done.
    pub async fn unless_ended<T>(self: Rc<Self>, act: impl Future<Output = T>) -> Option<T> {
        let mut act = pin!(act);
        poll_fn(|cx| {
            self.watch(cx.waker());
            if self.ended.get() { Poll::Ready(None) } else { act.as_mut().poll(cx).map(Some) }
        })
        .await
    }

    /// Whether it is to end.
    pub fn is_finishing(&self) -> bool {
        self.finish.get()
    }

    /// Whom to wake.
    pub fn watch(&self, waker: &Waker) {
        let mut watching = self.waker.borrow_mut();
        if !watching.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *watching = Some(waker.clone());
        }
    }
}
