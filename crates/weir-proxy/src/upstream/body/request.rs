//! The body of a request on its way to an instance.
//!
//! An attempt may fail after part of the body has gone out. Where a route retries, what has gone out is kept, up
//! to a limit, so that the next attempt can begin anew; the parts are shared, not copied. Beyond the limit
//! nothing is kept and nothing retried, so that a body of any size passes in constant memory.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use weir_config::head::trailers;

use super::arrived::read_arrived;
use super::copies::{self, Copied, Copies};
use super::inbound::Inbound;
use crate::exchange::Exchange;
use crate::exchange::failure::FailureKind;

/// What is kept of a body: Envoy's `per_connection_buffer_limit_bytes`.
pub const REPLAY_LIMIT: usize = 1 << 20;
/// What a part takes that is kept, beside its bytes: parts may be as small as their client wants.
const PART: usize = 96;

/// The body of one attempt, or of a copy of the request.
pub struct RequestBody {
    kind: Kind,
    /// Whether trailers pass on the connection.
    trailers: bool,
}

enum Kind {
    Empty,
    Attempt(Attempt),
    /// With the length of all of it, where that is known.
    Copy(Copied, Option<u64>),
    /// What is left of one that is there as a whole.
    Whole(Bytes),
    /// It is never sent; its length, where that is known.
    Withheld(Option<u64>),
}

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The client broke it off.
    #[error("the client broke off")]
    Client,
    /// It is a copy, and the original did not reach its end, or ran ahead too far.
    #[error("the copy is given up")]
    Copy,
}

struct Attempt {
    source: Rc<ClientBody>,
    /// How many of the kept parts this attempt has sent.
    position: usize,
}

/// The client's body, shared by the attempts.
pub struct ClientBody {
    state: RefCell<State>,
    /// How long it will be in all, if that was known at its beginning.
    length: Option<u64>,
    exchange: Rc<Exchange>,
    /// Told when the body has come to its end.
    ended: Notify,
}

struct State {
    incoming: Inbound,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Whether parts are kept; not if no retry can need them, nor beyond the limit.
    keep: bool,
    ended: bool,
    /// Whether anything has gone out that is not kept.
    lost: bool,
    /// Why the client's body broke off, if it did.
    failed: Option<FailureKind>,
    /// Where copies of the parts go, as they first go out.
    copies: Vec<Copies>,
}

impl ClientBody {
    /// A client's body; `None` if it is empty. With `keep` it can be sent more than once.
    pub fn new(incoming: Inbound, keep: bool, exchange: Rc<Exchange>) -> Option<Rc<Self>> {
        if incoming.is_end_stream() {
            exchange.request_end.set(Some(exchange.start));
            return None;
        }
        let length = incoming.size_hint().exact();
        let state = State { incoming, kept: vec![], kept_bytes: 0, keep, ended: false, lost: false, failed: None, copies: vec![] };
        Some(Rc::new(Self { state: RefCell::new(state), length, exchange, ended: Notify::new() }))
    }

    /// Whether another attempt can send all of it.
    pub fn can_replay(&self) -> bool {
        !self.state.borrow().lost
    }

    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// Why it broke off, if it did: then the client failed, whatever else failed for it.
    pub fn failure(&self) -> Option<FailureKind> {
        self.state.borrow_mut().failed.take()
    }

    /// Waits until it has come to its end.
    pub async fn end(&self) {
        while !self.has_ended() {
            self.ended.notified().await;
        }
    }

    /// Reads on what has arrived of it.
    pub async fn take_in(self: &Rc<Self>) {
        let position = self.state.borrow().kept.len();
        let mut rest = RequestBody::of(Kind::Attempt(Attempt { source: self.clone(), position }));
        read_arrived(|cx| match ready!(Pin::new(&mut rest).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(frame.data_ref().map_or(0, Bytes::len))),
            Some(Err(_)) | None => Poll::Ready(None),
        })
        .await;
    }
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// The body of one attempt, from the start.
    pub fn attempt(source: Option<&Rc<ClientBody>>) -> Self {
        Self::of(source.map_or(Kind::Empty, |source| Kind::Attempt(Attempt { source: source.clone(), position: 0 })))
    }

    /// A body that is there as a whole.
    pub fn whole(body: Bytes) -> Self {
        Self::of(Kind::Whole(body))
    }

    /// A body that breaks off at once.
    pub fn broken() -> Self {
        Self::of(Kind::Copy(copies::pair().1, None))
    }

    /// A body that is announced and never comes.
    pub fn withheld(length: Option<u64>) -> Self {
        Self::of(Kind::Withheld(length))
    }

    /// A copy of all that will go out of a body of which nothing has gone out yet.
    pub fn copy(source: Option<&Rc<ClientBody>>) -> Self {
        let Some(source) = source else { return Self::empty() };
        let (copies, copied) = copies::pair();
        source.state.borrow_mut().copies.push(copies);
        Self::of(Kind::Copy(copied, source.length))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, trailers: true }
    }

    /// Leaves out trailers, where the connection takes none.
    pub fn drop_trailers(&mut self) {
        self.trailers = false;
    }
}

impl State {
    fn end(&mut self, exchange: &Exchange) {
        exchange.request_end.set(Some(std::time::Instant::now()));
        self.ended = true;
        self.copies.drain(..).for_each(Copies::end);
    }

    fn keep(&mut self, part: &Bytes) {
        self.kept_bytes += part.len() + PART;
        if self.keep && self.kept_bytes <= REPLAY_LIMIT {
            self.kept.push(part.clone());
            return;
        }
        self.keep = false;
        self.lost = true;
        self.kept = vec![];
    }
}

/// The trailers of a frame that may pass, if there are any.
fn trailers(frame: Frame<Bytes>, exchange: &Exchange) -> Option<HeaderMap> {
    let mut trailers = frame.into_trailers().ok()?;
    trailers::strip(&mut trailers);
    for name in &*exchange.barred_trailers.borrow() {
        trailers.remove(name.as_str());
    }
    (!trailers.is_empty()).then_some(trailers)
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let passes_trailers = self.trailers;
        let attempt = match &mut self.kind {
            Kind::Empty => return Poll::Ready(None),
            Kind::Copy(copied, _) => {
                let frame = ready!(copied.poll(cx));
                let are_trailers = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
                return Poll::Ready(frame.filter(|_| passes_trailers || !are_trailers));
            }
            Kind::Whole(body) => {
                let body = std::mem::take(body);
                return Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))));
            }
            // Whoever waits for it is told by the answer, or runs out of time.
            Kind::Withheld(_) => return Poll::Pending,
            Kind::Attempt(attempt) => attempt,
        };
        let mut state = attempt.source.state.borrow_mut();
        if let Some(part) = state.kept.get(attempt.position) {
            attempt.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = state.incoming.poll(cx) else { return Poll::Pending };
        let exchange = &attempt.source.exchange;
        exchange.is_active();
        match frame {
            Some(Ok(frame)) => {
                let is_over = frame.is_trailers() || state.incoming.is_end_stream();
                let frame = match frame.into_data() {
                    Ok(part) => {
                        exchange.bytes_received.set(exchange.bytes_received.get() + part.len() as u64);
                        state.keep(&part);
                        state.copies.retain(|copies| copies.part(&part));
                        attempt.position += 1;
                        Some(Frame::data(part))
                    }
                    Err(frame) => {
                        // Trailers are not kept: requests hardly ever have any.
                        state.lost = true;
                        let trailers = trailers(frame, exchange).filter(|_| exchange.passes_trailers.get());
                        if let Some(trailers) = &trailers {
                            state.copies.iter().for_each(|copies| copies.trailers(trailers));
                        }
                        trailers.filter(|_| passes_trailers).map(Frame::trailers)
                    }
                };
                if is_over {
                    state.end(exchange);
                    attempt.source.ended.notify_waiters();
                }
                Poll::Ready(frame.map(Ok))
            }
            Some(Err(kind)) => {
                state.lost = true;
                state.failed = Some(kind);
                // Dropped before their end, the copies break off as well.
                state.copies.clear();
                Poll::Ready(Some(Err(BrokenOff::Client)))
            }
            None => {
                state.end(exchange);
                attempt.source.ended.notify_waiters();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(body) => body.is_empty(),
            Kind::Copy(..) | Kind::Withheld(_) => false,
            Kind::Attempt(attempt) => {
                let state = attempt.source.state.borrow();
                attempt.position >= state.kept.len() && (state.ended || state.incoming.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Kind::Withheld(length) => length.map_or_else(SizeHint::default, SizeHint::with_exact),
            // Every attempt and every copy is as long as the first, and says so at its beginning.
            Kind::Attempt(Attempt { source, position: 0 }) => source.length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Attempt(_) => SizeHint::default(),
            Kind::Copy(_, length) => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::super::testing::{chunked, exchange, malformed, sized};
    use super::*;

    async fn next(body: &mut RequestBody) -> Option<Result<Frame<Bytes>, BrokenOff>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    }

    /// Reads so many parts; those of data.
    async fn read(body: &mut RequestBody, parts: usize) -> Vec<u8> {
        let mut data = vec![];
        for _ in 0..parts {
            let Some(frame) = next(body).await else { break };
            data.extend_from_slice(&frame.expect("it comes").into_data().unwrap_or_default());
        }
        data
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_attempt_and_every_copy_says_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8),
            before in prop::collection::vec(0..9_usize, 0..4),
        ) {
            let whole = chunks.concat();
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made").block_on(async {
                let source = ClientBody::new(chunked(&chunks, &[]).await, true, exchange()).expect("it has a body");
                let mut copy = RequestBody::copy(Some(&source));
                for parts in before {
                    let mut attempt = RequestBody::attempt(Some(&source));
                    let said = read(&mut attempt, parts).await;
                    assert!(whole.starts_with(&said) && source.can_replay());
                }
                let mut last = RequestBody::attempt(Some(&source));
                assert_eq!(last.size_hint().exact(), None);
                assert_eq!(read(&mut last, usize::MAX).await, whole);
                assert!(last.is_end_stream() && source.has_ended());
                assert_eq!(read(&mut copy, usize::MAX).await, whole);
                assert_eq!(source.exchange.bytes_received.get(), whole.len() as u64);
            });
        }
    }

    #[tokio::test]
    async fn attempts_and_copies_say_their_length_at_their_beginning() {
        let source = ClientBody::new(sized("hello").await, true, exchange()).expect("it has a body");
        let mut copy = RequestBody::copy(Some(&source));
        for _ in 0..2 {
            let mut attempt = RequestBody::attempt(Some(&source));
            assert_eq!(attempt.size_hint().exact(), Some(5));
            assert_eq!(read(&mut attempt, usize::MAX).await, b"hello");
        }
        assert_eq!((copy.size_hint().exact(), read(&mut copy, usize::MAX).await), (Some(5), b"hello".to_vec()));
        let nothing = RequestBody::attempt(None);
        assert_eq!((nothing.size_hint().exact(), nothing.is_end_stream()), (Some(0), true));
    }

    #[tokio::test]
    async fn what_cannot_be_said_again_is_not_tried_again() {
        let short = vec![b"ab".to_vec()];
        let long = vec![vec![b'x'; 1 << 16]; 17];
        let cases =
            [(&short, &[][..], true, true), (&short, &[], false, false), (&short, &[("x-t", "1")], true, false), (&long, &[], true, false)];
        for (chunks, trailers, keep, again) in cases {
            let source = ClientBody::new(chunked(chunks, trailers).await, keep, exchange()).expect("it has a body");
            assert!(source.can_replay(), "nothing has gone out");
            assert_eq!(read(&mut RequestBody::attempt(Some(&source)), usize::MAX).await, chunks.concat());
            assert_eq!(source.can_replay(), again, "{} chunks, {trailers:?}, {keep}", chunks.len());
        }
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_is_named_and_its_copies_break_off() {
        let source = ClientBody::new(malformed().await, true, exchange()).expect("it has a body");
        let mut copy = RequestBody::copy(Some(&source));
        let mut attempt = RequestBody::attempt(Some(&source));
        assert_eq!(read(&mut attempt, 1).await, b"ok");
        assert!(matches!(next(&mut attempt).await, Some(Err(BrokenOff::Client))));
        assert!(matches!(source.failure(), Some(FailureKind::ClientMalformed)));
        assert!(!source.can_replay() && !source.has_ended());
        assert_eq!(read(&mut copy, 1).await, b"ok");
        assert!(matches!(next(&mut copy).await, Some(Err(BrokenOff::Copy))));
        assert!(matches!(next(&mut RequestBody::broken()).await, Some(Err(BrokenOff::Copy))));
    }
}
