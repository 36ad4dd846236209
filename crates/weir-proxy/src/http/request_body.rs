//! The body of a request on its way to an instance.
//!
//! An attempt may fail after part of the body has gone out. Where a route retries, what has gone out is kept, up
//! to a limit, so that the next attempt can begin anew; the parts are shared, not copied. Beyond the limit
//! nothing is kept and nothing retried, so that a body of any size passes in constant memory.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::log::exchange::Exchange;

/// What is kept of a body: Envoy's `per_connection_buffer_limit_bytes`.
pub const REPLAY_LIMIT: usize = 1 << 20;

/// The body of one attempt.
pub struct RequestBody(Option<Attempt>);

struct Attempt {
    source: Rc<Source>,
    /// How many of the kept parts this attempt has sent.
    position: usize,
}

/// The client's body, shared by the attempts.
pub struct Source {
    state: RefCell<State>,
    exchange: Rc<Exchange>,
}

struct State {
    incoming: Incoming,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Whether parts are kept; not if no retry can need them, nor beyond the limit.
    keep: bool,
    ended: bool,
    /// Whether anything has gone out that is not kept.
    lost: bool,
}

impl Source {
    /// A client's body; `None` if it is empty. With `keep` it can be sent more than once.
    pub fn new(incoming: Incoming, keep: bool, exchange: Rc<Exchange>) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            exchange.request_end.set(Some(exchange.start));
            return None;
        }
        let state = State { incoming, kept: vec![], kept_bytes: 0, keep, ended: false, lost: false };
        Some(Rc::new(Self { state: RefCell::new(state), exchange }))
    }

    /// Whether another attempt can send all of it.
    pub fn can_replay(&self) -> bool {
        !self.state.borrow().lost
    }
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }

    /// The body of one attempt, from the start.
    pub fn attempt(source: Option<&Rc<Source>>) -> Self {
        Self(source.map(|source| Attempt { source: source.clone(), position: 0 }))
    }
}

impl State {
    fn keep(&mut self, part: &Bytes) {
        self.kept_bytes += part.len();
        if self.keep && self.kept_bytes <= REPLAY_LIMIT {
            self.kept.push(part.clone());
            return;
        }
        self.keep = false;
        self.lost = true;
        self.kept = vec![];
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(attempt) = &mut self.0 else { return Poll::Ready(None) };
        let mut state = attempt.source.state.borrow_mut();
        if let Some(part) = state.kept.get(attempt.position) {
            attempt.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut state.incoming).poll_frame(cx) else { return Poll::Pending };
        let exchange = &attempt.source.exchange;
        match frame {
            Some(Ok(frame)) => {
                if let Some(part) = frame.data_ref() {
                    exchange.bytes_received.set(exchange.bytes_received.get() + part.len() as u64);
                    state.keep(part);
                    attempt.position += 1;
                }
                // Trailers are not kept: requests hardly ever have any.
                state.lost |= frame.is_trailers();
                if frame.is_trailers() || state.incoming.is_end_stream() {
                    exchange.request_end.set(Some(std::time::Instant::now()));
                    state.ended = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                state.lost = true;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                exchange.request_end.set(Some(std::time::Instant::now()));
                state.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            None => true,
            Some(attempt) => {
                let state = attempt.source.state.borrow();
                attempt.position >= state.kept.len() && (state.ended || state.incoming.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            // For the first attempt; later ones say how long they are in their head, or are chunked.
            Some(Attempt { source, position: 0 }) if source.state.borrow().kept.is_empty() => source.state.borrow().incoming.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
