//! The body of an instance's answer. It drives the connection that it comes from, and gives it back when it has ended.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::exchange::failure::{Expired, Failure, FailureKind};
use crate::io::client::{ByteStream, Left};
use crate::io::http2::bytes::StreamBytes;
use crate::io::http2::receiving::Receiving;
use crate::io::response::Parts;
use crate::stats::cluster::Tally;
use crate::upstream::host::{BusyGuard, HostRuntime};
use crate::upstream::http1::{self, Http1Connection};
use crate::upstream::http2::{self, StreamGuard};

/// Smaller parts would cost more than what is saved.
const SMALLEST_PART: usize = 4 << 10;

/// Resolves when a limit of time is reached.
pub type Expiry = Pin<Box<dyn Future<Output = Expired>>>;

/// An instance's answer: its head, until somebody takes that, and then its body. It is large, so it is made where it arrives, and
/// stays in its place.
pub struct UpstreamBody {
    /// The head.
    pub head: Parts,
    /// When the request was sent.
    pub sent: Instant,
    /// Where it arrives.
    pub origin: Origin,
    /// Counts the request as long as its answer streams.
    pub busy: Option<BusyGuard>,
    /// Says when it is to break off.
    pub expiry: Option<Expiry>,
    ended: bool,
    /// Why it breaks off, once that is known; told when what came before has gone out.
    broken: Option<BrokenOff>,
}

/// The connection that a body arrives on.
pub enum Origin {
    /// HTTP/1.1: this body drives it, and gives it back.
    Http1(Option<Box<Http1Connection>>, Rc<HostRuntime>),
    /// HTTP/2: a task of its own drives it.
    Http2(StreamGuard, Receiving),
}

/// What counts a connection, or a stream, as open that carries another protocol.
pub enum StillOpen {
    /// A connection.
    Http1(http1::StillOpen),
    /// A stream, and how the instance leaves it, if it does.
    Http2(StreamGuard, Rc<Cell<Left>>),
}

impl StillOpen {
    /// What it says of the instance that the other protocol has ended, `broken` off or in good order; none where nothing is to be said.
    pub fn failure(&self, broken: bool) -> Option<Failure> {
        let kind = match self {
            Self::Http2(..) if !broken => return None,
            Self::Http2(_, left) if left.get() != Left::Connection => FailureKind::Reset,
            Self::Http1(_) | Self::Http2(..) => FailureKind::Closed,
        };
        Some(Failure::of_answer(kind))
    }

    /// Both sides have said all.
    pub fn finish(self) {
        match self {
            Self::Http1(connection) => connection.finish(),
            Self::Http2(mut stream, _) => stream.ended(),
        }
    }
}

/// A body breaks off: the client's connection, or its stream, is closed then, for there is no other way to say it.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0:?}")]
pub struct BrokenOff(pub Failure);

impl UpstreamBody {
    /// An answer whose head has just come.
    pub fn new(head: Parts, sent: Instant, origin: Origin) -> Box<Self> {
        Box::new(Self { head, sent, origin, busy: None, expiry: None, ended: false, broken: None })
    }

    /// Reads no more than this of it at once, where it comes by HTTP/1.1, and not less than a page.
    pub fn read_at_most(&mut self, bytes: usize) {
        if let Origin::Http1(Some(connection), _) = &mut self.origin {
            connection.part = bytes.clamp(SMALLEST_PART, http1::LARGEST_PART);
        }
    }

    /// Whether all of it has passed.
    pub fn has_ended(&self) -> bool {
        self.ended || self.origin.has_ended()
    }

    /// How long it will be, as far as that is known.
    pub fn size_hint(&self) -> SizeHint {
        self.origin.size_hint()
    }

    /// Reads it to its end, for nobody.
    pub async fn discard(mut self: Box<Self>) {
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return,
                None => break,
            }
        }
        self.give_back();
    }

    /// Once it has ended, its connection can take another request.
    pub fn give_back(&mut self) {
        if let Origin::Http1(connection, host) = &mut self.origin
            && let Some(connection) = connection.take()
        {
            self.ended = true;
            host.keep(connection);
        }
        if let Origin::Http2(stream, _) = &mut self.origin {
            stream.answered();
        }
    }

    /// The next part.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = ready!(self.poll_part(cx));
        self.ended |= !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(frame)
    }

    /// Whether a limit of its time has passed.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<BrokenOff> {
        let Some(expiry) = &mut self.expiry else { return Poll::Pending };
        let expired = ready!(expiry.as_mut().poll(cx));
        self.expiry = None;
        if let Some(tally) = self.origin.tally() {
            expired.count(tally);
        }
        self.origin.abandon();
        Poll::Ready(BrokenOff(Failure::of_answer(FailureKind::Expired(expired))))
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Poll::Ready(broken) = self.poll_expired(cx) {
            return Poll::Ready(Some(Err(broken)));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        match self.origin.poll(cx) {
            Poll::Ready(Some(Err(kind))) => {
                self.origin.abandon();
                tracing::debug!(?kind, "an answer broke off");
                // An error would overtake what the client's connection holds and has not yet sent.
                self.broken = Some(BrokenOff(Failure::of_answer(kind)));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && !self.origin.passes_trailers() => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Origin {
    /// The next part; or how it broke off, which is counted.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FailureKind>>> {
        match self {
            Self::Http1(Some(connection), _) => {
                let part = ready!(connection.poll_body(cx));
                Poll::Ready(part.map(|part| part.map_err(|broken| broke_off(connection, broken))))
            }
            Self::Http1(None, _) => Poll::Ready(None),
            Self::Http2(stream, receiving) => {
                Poll::Ready(ready!(receiving.poll(cx)).map(|frame| frame.map_err(|error| was_reset(stream, &error))))
            }
        }
    }

    /// Whether nothing more comes, as far as is known.
    fn has_ended(&self) -> bool {
        match self {
            Self::Http1(connection, _) => connection.as_ref().is_some_and(|connection| connection.has_ended()),
            Self::Http2(_, receiving) => receiving.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(connection, _) => {
                let missing = connection.as_ref().and_then(|connection| connection.missing());
                missing.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Self::Http2(_, receiving) => receiving.size_hint(),
        }
    }

    /// Where it is counted.
    fn tally(&self) -> Option<&Tally> {
        match self {
            Self::Http1(connection, _) => connection.as_ref().map(|connection| connection.counted.tally()),
            Self::Http2(stream, _) => Some(stream.tally()),
        }
    }

    /// Whether trailers pass on it.
    fn passes_trailers(&self) -> bool {
        match self {
            Self::Http1(connection, _) => connection.as_ref().is_some_and(|connection| connection.trailers),
            Self::Http2(..) => true,
        }
    }

    /// What carries the other protocol that an instance has agreed to, as bytes.
    pub fn into_stream(self) -> Option<(Box<dyn ByteStream>, StillOpen)> {
        match self {
            Self::Http1(connection, _) => {
                let (stream, open) = connection?.into_stream();
                Some((Box::new(stream), StillOpen::Http1(open)))
            }
            Self::Http2(mut guard, receiving) => {
                let sending = guard.take_upload()?.into_stream()?;
                let left = Rc::<Cell<Left>>::default();
                Some((Box::new(StreamBytes::new(receiving.into_inner(), sending, left.clone())), StillOpen::Http2(guard, left)))
            }
        }
    }

    /// A connection of HTTP/1.1 that has not come to the end of its answer is of no more use.
    fn abandon(&mut self) {
        if let Self::Http1(connection, _) = self {
            *connection = None;
        }
    }
}

/// How an answer of HTTP/1.1 broke off: against the rules of HTTP, which is all that they let an instance do.
fn broke_off(connection: &mut Http1Connection, broken: http1::BrokenOff) -> FailureKind {
    match broken {
        http1::BrokenOff::Request => return FailureKind::ClientGone,
        http1::BrokenOff::Closed => connection.counted.ended_by_peer(),
        http1::BrokenOff::Malformed => {}
    }
    connection.counted.tally().cx_protocol_error.add(1);
    FailureKind::Protocol
}

/// How a stream of HTTP/2 broke off.
fn was_reset(stream: &mut StreamGuard, error: &h2::Error) -> FailureKind {
    stream.ended();
    let tally = stream.tally();
    if error.is_io() {
        tally.rq_pending_failure_eject.add(1);
        return FailureKind::Closed;
    }
    if error.is_remote() {
        tally.rq_rx_reset.add(1);
        return FailureKind::Reset;
    }
    tally.rq_tx_reset.add(1);
    if http2::was_given_up(error) { FailureKind::ClientGone } else { FailureKind::Protocol }
}
