//! A copy of a request's body, for a mirrored request: the original never waits for it. Parts are shared, not copied; a copy
//! that falls behind too far is given up.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;

use super::request::{BrokenOff, REPLAY_LIMIT};

/// What may be under way to one copy.
const LIMIT: usize = REPLAY_LIMIT;

enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// The original's side.
pub struct Copies {
    parts: mpsc::UnboundedSender<Part>,
    under_way: Rc<Cell<usize>>,
}

/// The copy's side.
pub struct Copied {
    parts: mpsc::UnboundedReceiver<Part>,
    under_way: Rc<Cell<usize>>,
    ended: bool,
}

/// Both sides.
pub fn pair() -> (Copies, Copied) {
    let ((to, from), under_way) = (mpsc::unbounded_channel(), Rc::new(Cell::new(0)));
    (Copies { parts: to, under_way: under_way.clone() }, Copied { parts: from, under_way, ended: false })
}

impl Copies {
    /// Passes a part on; false if the copy is given up.
    pub fn part(&self, part: &Bytes) -> bool {
        self.under_way.set(self.under_way.get() + part.len());
        self.under_way.get() <= LIMIT && self.parts.send(Part::Data(part.clone())).is_ok()
    }

    /// Passes on what stands behind the body.
    pub fn trailers(&self, trailers: &HeaderMap) {
        let _ = self.parts.send(Part::Trailers(trailers.clone()));
    }

    /// Says that this was all.
    pub fn end(self) {
        let _ = self.parts.send(Part::End);
    }
}

impl Copied {
    /// The next part.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx));
        Poll::Ready(match part {
            Some(Part::Data(part)) => {
                self.under_way.set(self.under_way.get().saturating_sub(part.len()));
                Some(Ok(Frame::data(part)))
            }
            Some(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Part::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(BrokenOff::Copy)),
        })
    }
}
