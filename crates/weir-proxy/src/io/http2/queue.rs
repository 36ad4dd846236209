//! What a connection of HTTP/2 has been handed and not sent: bounded for all of its streams together, so that a client that takes
//! nothing from its socket makes us hold the same for a thousand streams as for a few.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

use super::frames::Frame;

/// So much may wait for a socket: Envoy's usual `per_connection_buffer_limit_bytes`. What waits has windows, so that nothing but the
/// socket holds it up.
const MOST: usize = 1 << 20;

/// What waits to be sent on a connection.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Cell<usize>,
    streams: RefCell<HashMap<u32, usize>>,
    /// Streams that wait until there is room.
    waiting: RefCell<HashMap<u32, Waker>>,
}

impl Queue {
    /// Whether a stream may hand over more; it is woken when it may.
    pub fn poll_room(&self, stream: u32, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes.get() < MOST {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().insert(stream, cx.waker().clone());
        Poll::Pending
    }

    /// A stream has handed over so much.
    pub fn hand_over(&self, stream: u32, bytes: usize) {
        if bytes > 0 {
            self.bytes.set(self.bytes.get() + bytes);
            *self.streams.borrow_mut().entry(stream).or_default() += bytes;
        }
    }

    /// A frame has come.
    pub fn heard(&self, frame: Frame) {
        if frame.kind == Frame::RST_STREAM {
            self.forget(frame.stream);
        }
    }

    /// A frame has been sent.
    pub fn said(&self, frame: Frame) {
        self.heard(frame);
        if frame.kind != Frame::DATA || frame.length == 0 {
            return;
        }
        let mut streams = self.streams.borrow_mut();
        let Some(waits) = streams.get_mut(&frame.stream) else { return };
        let sent = (*waits).min(frame.length as usize);
        *waits -= sent;
        if *waits == 0 {
            streams.remove(&frame.stream);
        }
        drop(streams);
        self.give_room(sent);
    }

    /// Nothing more of a stream will be sent.
    pub fn forget(&self, stream: u32) {
        self.waiting.borrow_mut().remove(&stream);
        let waits = self.streams.borrow_mut().remove(&stream).unwrap_or(0);
        self.give_room(waits);
    }

    fn give_room(&self, bytes: usize) {
        let before = self.bytes.replace(self.bytes.get() - bytes);
        // Not for each frame: who is woken is to find room for more than one.
        if before > MOST / 2 && self.bytes.get() <= MOST / 2 {
            self.waiting.borrow_mut().drain().for_each(|(_, waker)| waker.wake());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u32, length: u32) -> Frame {
        Frame { kind: Frame::DATA, flags: 0, stream, length, increment: 0 }
    }

    #[test]
    fn all_streams_together_may_hand_over_so_much() {
        let (queue, mut cx) = (Queue::default(), Context::from_waker(Waker::noop()));
        let mut has_room = |stream| queue.poll_room(stream, &mut cx).is_ready();
        assert!(has_room(1));
        queue.hand_over(1, MOST / 2);
        queue.hand_over(3, MOST / 2);
        assert!(!has_room(1) && !has_room(5));
        // Frames of others, and more than is known, change nothing that is wrong.
        queue.said(Frame { kind: Frame::HEADERS, ..data(1, 100) });
        queue.said(data(7, 100));
        assert!(!has_room(5));
        queue.said(data(3, u32::MAX));
        assert!(has_room(5) && queue.waiting.borrow().is_empty());
        queue.heard(Frame { kind: Frame::RST_STREAM, ..data(1, 4) });
        queue.forget(1);
        assert_eq!((queue.bytes.get(), queue.streams.borrow().len()), (0, 0));
    }
}
