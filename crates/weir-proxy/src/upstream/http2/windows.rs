//! How much both sides of an HTTP/2 connection may still send on all its streams together, as they have told each other.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::io::http2::flood::Budget;
use crate::io::http2::frames::Frame;
use crate::io::http2::watched::Watch;
use crate::stats::cluster::Tally;
use crate::stats::http2::Traffic;

/// What each side may send before it has been told anything (RFC 9113, 6.9.2).
const INITIAL: i64 = 65_535;
/// Less than one frame may be long is as good as nothing.
const LOW: i64 = 16 << 10;
/// A window is empty for a moment whenever much is sent; only when it stays so, nobody reads.
const PATIENCE: Duration = Duration::from_millis(100);

/// The windows of a connection.
#[derive(Debug)]
pub(super) struct Windows {
    /// What we may send.
    sending: Cell<i64>,
    /// What we are willing to take.
    receiving: Cell<i64>,
    /// Since when one of them is as good as empty.
    empty_since: Cell<Option<Instant>>,
    /// Whether we have acted upon the first settings of the other side, or the connection has ended before.
    agreed: Cell<bool>,
    agreeing: Notify,
}

impl Windows {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            sending: Cell::new(INITIAL),
            receiving: Cell::new(INITIAL),
            empty_since: Cell::default(),
            agreed: Cell::default(),
            agreeing: Notify::new(),
        })
    }

    /// Whether streams that nobody reads have taken what there is for all of them: another one would wait with them.
    pub(super) fn are_taken(&self) -> bool {
        self.empty_since.get().is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Waits until what the other side takes is known.
    pub(super) async fn agreed(&self) {
        while !self.agreed.get() {
            self.agreeing.notified().await;
        }
    }

    /// Nothing more is to be waited for: the other side's settings are in force, or it is gone.
    pub(super) fn agree(&self) {
        if !self.agreed.replace(true) {
            self.agreeing.notify_waiters();
        }
    }

    /// `sender` has sent a frame: it takes from its own window, or adds to that of the other side.
    fn passed(&self, frame: Frame, sender: &Cell<i64>, other: &Cell<i64>) {
        match frame.kind {
            Frame::DATA => sender.set(sender.get() - i64::from(frame.length)),
            Frame::WINDOW_UPDATE if frame.stream == 0 => other.set(other.get() + i64::from(frame.increment)),
            _ => return,
        }
        let empty = self.sending.get() < LOW || self.receiving.get() < LOW;
        match (empty, self.empty_since.get()) {
            (true, None) => self.empty_since.set(Some(Instant::now())),
            (false, Some(_)) => self.empty_since.set(None),
            _ => {}
        }
    }
}

/// Keeps the windows of a connection to an instance, and what the instance wastes of our time.
#[derive(Debug)]
pub(super) struct Watcher {
    windows: Rc<Windows>,
    budget: Budget,
    traffic: Rc<Traffic>,
    tally: Tally,
}

impl Watcher {
    pub(super) fn new(windows: Rc<Windows>, traffic: Rc<Traffic>, tally: Tally) -> Self {
        Self { windows, budget: Budget::of_instance(), traffic, tally }
    }
}

impl Watch for Watcher {
    fn heard(&mut self, frame: Frame) -> io::Result<()> {
        self.windows.passed(frame, &self.windows.receiving, &self.windows.sending);
        self.traffic.heard(frame, &self.tally.http2);
        self.budget.hear(frame).inspect_err(|_| self.traffic.note_flood(&self.tally.http2))
    }

    fn said(&mut self, frame: Frame) {
        self.windows.passed(frame, &self.windows.sending, &self.windows.receiving);
        if frame.is_ack_of_settings() {
            self.windows.agree();
        }
        self.traffic.said(frame, &self.tally.http2);
        self.budget.say(frame);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stats::cluster::ClusterStats;

    fn frame(kind: u8, stream: u32, amount: u32) -> Frame {
        let (length, increment) = if kind == Frame::DATA { (amount, 0) } else { (4, amount) };
        Frame { kind, flags: 0, stream, length, increment }
    }

    #[test]
    fn a_window_is_taken_when_it_stays_empty() {
        let windows = Windows::new();
        let tally = Tally::new(Arc::new(ClusterStats::new(1)), 0);
        let mut watcher = Watcher::new(windows.clone(), Rc::default(), tally);
        let is_empty = || windows.empty_since.get().is_some();
        watcher.said(frame(Frame::DATA, 1, 40_000));
        assert!(!is_empty());
        watcher.said(frame(Frame::DATA, 3, 10_000));
        assert!(is_empty() && !windows.are_taken());
        windows.empty_since.set(Some(Instant::now() - PATIENCE));
        assert!(windows.are_taken());
        // A stream's own window is another matter.
        watcher.heard(frame(Frame::WINDOW_UPDATE, 1, 60_000)).expect("it is legal");
        assert!(windows.are_taken());
        watcher.heard(frame(Frame::WINDOW_UPDATE, 0, 60_000)).expect("it is legal");
        assert!(!windows.are_taken() && !is_empty());
        // The same in the other direction.
        watcher.said(frame(Frame::WINDOW_UPDATE, 0, 1000));
        watcher.heard(frame(Frame::DATA, 1, 50_000)).expect("it is legal");
        assert!(!is_empty());
        watcher.heard(frame(Frame::DATA, 1, 1000)).expect("it is legal");
        assert!(is_empty());
    }
}
