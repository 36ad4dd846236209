//! What others can tell a client's connection.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::Extensions;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep_until};
use weir_config::budget::Permit;
use weir_config::head;
use weir_config::http::HttpConfig;

/// What others can tell a connection: flags, so that a connection that nobody tells anything pays nothing.
#[derive(Default)]
pub struct Control {
    finish: Cell<bool>,
    ended: Cell<bool>,
    /// The connection's own task.
    waker: RefCell<Option<Waker>>,
    /// Told when it is to end now: also what has become of its streams.
    ends: Notify,
    /// What filters remember of it.
    pub extensions: RefCell<Extensions>,
    /// Its places among the connections that may be open at once.
    pub permits: RefCell<Vec<Permit>>,
    /// What the rules of heads look at of it.
    pub client: OnceCell<head::Client>,
    /// How many requests are being handled.
    pub streams: Cell<usize>,
    /// How many requests have come.
    pub requests: Cell<u32>,
    /// When it was opened.
    pub opened: Cell<Option<Instant>>,
    /// When its last request began.
    pub last_request: Cell<Option<Instant>>,
    /// Since when the head of a request has begun and is not complete.
    pub head_since: Cell<Option<Instant>>,
    /// Whether that is given up.
    pub head_is_late: Cell<bool>,
    /// Whether the client is given time to read the answer, and to end the connection itself, before it is ended.
    pub lingers: Cell<bool>,
    /// Since when the client has not read what waits for it.
    pub stalled_since: Cell<Option<Instant>>,
    /// Until when requests are still taken, where it ends for its age or its silence.
    expires: Cell<Option<Instant>>,
}

/// So far away that nobody sees it, where what is asked for is further than clocks go.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Control {
    /// It is to end when it has finished what it is doing.
    pub fn finish(&self) {
        if !self.finish.replace(true) {
            self.wake();
        }
    }

    /// It is too old, or was silent for too long: it is told to finish, and takes requests for so long (Envoy's `drain_timeout`).
    pub fn expire(&self, drain: Duration) {
        if !self.is_finishing() {
            let now = Instant::now();
            self.expires.set(now.checked_add(drain).or_else(|| now.checked_add(FAR)));
            self.finish();
        }
    }

    /// Whether it ends for its age or its silence, and has carried requests before.
    pub fn has_expired(&self) -> bool {
        self.expires.get().is_some() && self.requests.get() > 0
    }

    /// When a connection that is told to finish takes no more requests.
    fn last_call(&self) -> Instant {
        match self.expires.get() {
            // Nobody was understood to begin one.
            Some(_) if self.requests.get() == 0 => Instant::now(),
            Some(expires) => expires,
            None => self.last_request.get().unwrap_or_else(Instant::now) + LAST_CALL,
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The head that has begun is not waited for any longer.
    pub fn give_up_head(&self) {
        self.head_is_late.set(true);
        self.wake();
    }

    /// Counts a request; a connection that may carry no more is told to end.
    pub fn count(&self, config: &HttpConfig) {
        let count = self.requests.get().saturating_add(1);
        self.requests.set(count);
        if config.max_requests_per_connection.is_some_and(|most| count >= most) {
            self.finish();
        }
    }

    /// It is to end now, whatever it is doing.
    pub fn end(&self) {
        self.ended.set(true);
        self.ends.notify_waiters();
    }

    /// Does something, unless the connection is to end before it is done. It stays where it is: moved in here it would take its room
    /// twice.
    pub async fn unless_ended<T>(&self, mut act: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut ends = pin!(self.ends.notified());
        let mut told: Option<Waker> = None;
        poll_fn(|cx| {
            // Who is to be told need not be said again each time.
            if !told.as_ref().is_some_and(|told| told.will_wake(cx.waker())) {
                told = Some(cx.waker().clone());
                if ends.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
            }
            if self.ended.get() { Poll::Ready(None) } else { act.as_mut().poll(cx).map(Some) }
        })
        .await
    }

    /// Whether it is to end.
    pub fn is_finishing(&self) -> bool {
        self.finish.get()
    }

    /// Waits until it is told to finish.
    pub async fn finishing(&self) {
        let told = |cx: &mut Context<'_>| {
            self.watch(cx.waker());
            if self.is_finishing() { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(told).await;
    }

    /// Whom to wake: the connection's own task, and nobody else's.
    pub fn watch(&self, waker: &Waker) {
        let mut watching = self.waker.borrow_mut();
        if !watching.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *watching = Some(waker.clone());
        }
    }
}

/// How long a connection that is told to finish waits for a request that may be on its way: HTTP/1.1 knows no other
/// way to say that no more are welcome than the answer to one. Whoever has been silent for longer is not waited for.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Waits for the last request of a connection that is told to finish.
#[derive(Default)]
pub(super) enum LastCall {
    #[default]
    NotYet,
    Until(Pin<Box<Sleep>>),
    Over,
}

impl LastCall {
    /// Whether the connection is told to finish and nothing is on its way. Wakes when this may change.
    pub(super) fn is_over(&mut self, control: &Control, cx: &mut Context<'_>) -> bool {
        control.watch(cx.waker());
        if !control.is_finishing() {
            return false;
        }
        if let Self::NotYet = self {
            *self = Self::Until(Box::pin(sleep_until(control.last_call().into())));
        }
        if let Self::Until(sleep) = self
            && sleep.as_mut().poll(cx).is_ready()
        {
            *self = Self::Over;
        }
        matches!(self, Self::Over)
    }
}
