//! The body of an answer on its way to the client. It drives the connection that it comes from, and ends the
//! exchange when it is done or dropped.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::finish::Ending;
use super::forward::limits::{Expired, Expiry, count_expired};
use crate::log::flags::ResponseFlags;
use crate::stats::cluster::Tally;
use crate::upstream::http1::Http1Connection;
use crate::upstream::http2::StreamGuard;
use crate::worker::host::{BusyGuard, HostRuntime};

/// The body of an answer.
pub struct ResponseBody {
    source: Source,
    /// Ends the exchange; none where that is somebody else's task.
    ending: Option<Ending>,
}

enum Source {
    /// One of ours.
    Local(Bytes),
    /// One of an instance's.
    Upstream(Box<UpstreamBody>),
}

/// The body of an instance's answer.
pub struct UpstreamBody {
    /// What arrives.
    pub incoming: Incoming,
    /// Where it arrives.
    pub origin: Origin,
    /// Counts the request as long as its answer streams.
    pub busy: BusyGuard,
    /// Says when it is to break off.
    pub expiry: Option<Expiry>,
    /// Whether it has ended.
    pub ended: bool,
    /// Why it breaks off, once that is known; told when what came before has gone out.
    pub broken: Option<BrokenOff>,
}

/// The connection that a body arrives on.
#[expect(clippy::large_enum_variant, reason = "it lives in a box already, and the large variant is the common one")]
pub enum Origin {
    /// HTTP/1.1: this body drives it, and gives it back.
    Http1(Option<Http1Connection>, Rc<HostRuntime>),
    /// HTTP/2: a task of its own drives it.
    Http2(StreamGuard),
}

impl ResponseBody {
    /// A body of ours.
    pub fn local(body: Bytes, ending: Ending) -> Self {
        Self { source: Source::Local(body), ending: Some(ending) }
    }

    /// No body: the connection changes to another protocol.
    pub fn of_upgrade() -> Self {
        Self { source: Source::Local(Bytes::new()), ending: None }
    }

    /// A body of an instance's.
    pub fn upstream(body: UpstreamBody, ending: Ending) -> Self {
        Self { source: Source::Upstream(Box::new(body)), ending: Some(ending) }
    }
}

/// Why a body breaks off: the client's connection is closed then, for there is no other way to say it.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The instance broke it off.
    #[error("the instance broke off: {1}")]
    Upstream(How, hyper::Error),
    /// It took too long.
    #[error("the answer took too long: {0:?}")]
    Expired(Expired),
}

/// How an instance breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Against the rules of HTTP: all that HTTP/1.1 lets it do.
    Wrongly,
    /// It reset the stream.
    Reset,
    /// Its connection ended.
    Closed,
}

impl How {
    /// Envoy's flag, and its words.
    fn describe(self) -> (ResponseFlags, &'static str) {
        match self {
            Self::Wrongly => (ResponseFlags::UPSTREAM_PROTOCOL_ERROR, "upstream_reset_after_response_started{protocol_error}"),
            Self::Reset => (ResponseFlags::UPSTREAM_RESET, "upstream_reset_after_response_started{remote_reset}"),
            Self::Closed => (ResponseFlags::UPSTREAM_TERMINATED, "upstream_reset_after_response_started{connection_termination}"),
        }
    }
}

impl UpstreamBody {
    /// Reads it to its end, for nobody.
    pub async fn discard(mut self) {
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
    fn give_back(&mut self) {
        if let Origin::Http1(connection, host) = &mut self.origin
            && let Some(connection) = connection.take()
        {
            host.keep(connection);
        }
        if let Origin::Http2(stream) = &mut self.origin {
            stream.ended();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(expiry) = &mut self.expiry
            && let Poll::Ready(expired) = expiry.as_mut().poll(cx)
        {
            self.expiry = None;
            if let Some(tally) = self.origin.tally() {
                count_expired(expired, tally);
            }
            self.origin.abandon();
            return Poll::Ready(Some(Err(BrokenOff::Expired(expired))));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let frame = match &mut self.origin {
            Origin::Http2(_) => Pin::new(&mut self.incoming).poll_frame(cx),
            Origin::Http1(connection, _) => {
                // Asking first tells the driver that more is wanted; then the driver may have more.
                let mut unwoken = Context::from_waker(Waker::noop());
                match (Pin::new(&mut self.incoming).poll_frame(&mut unwoken), connection) {
                    (Poll::Pending, Some(connection)) => {
                        connection.drive(cx);
                        Pin::new(&mut self.incoming).poll_frame(&mut unwoken)
                    }
                    (ready, _) => ready,
                }
            }
        };
        match frame {
            Poll::Ready(Some(Err(error))) => {
                let how = self.origin.broke_off(&error);
                self.origin.abandon();
                // An error would overtake what the client's connection holds and has not yet sent.
                self.broken = Some(BrokenOff::Upstream(how, error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Origin {
    /// Where it is counted.
    fn tally(&self) -> Option<&Tally> {
        match self {
            Self::Http1(connection, _) => connection.as_ref().map(|connection| connection.counted.tally()),
            Self::Http2(stream) => Some(stream.tally()),
        }
    }

    /// Takes note of an answer that broke off.
    fn broke_off(&mut self, error: &hyper::Error) -> How {
        match self {
            Self::Http1(connection, _) => {
                if let Some(connection) = connection {
                    if !error.is_parse() {
                        connection.counted.ended_by_peer();
                    }
                    connection.counted.tally().cx_protocol_error.add(1);
                }
                How::Wrongly
            }
            Self::Http2(stream) => {
                stream.ended();
                let how = how(error);
                match how {
                    How::Reset => stream.tally().rq_rx_reset.add(1),
                    How::Wrongly => stream.tally().rq_tx_reset.add(1),
                    How::Closed => stream.tally().rq_pending_failure_eject.add(1),
                }
                how
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

/// How a stream of HTTP/2 broke off.
fn how(error: &hyper::Error) -> How {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    match source {
        Some(error) if error.is_io() => How::Closed,
        Some(error) if error.is_remote() => How::Reset,
        Some(_) => How::Wrongly,
        None => How::Closed,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Local(body) => {
                let body = std::mem::take(body);
                (!body.is_empty()).then(|| Ok(Frame::data(body)))
            }
            Source::Upstream(body) => match body.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => {
                    body.ended |= !matches!(&frame, Some(Ok(frame)) if frame.is_data());
                    frame
                }
            },
        };
        if let Some(ending) = &mut this.ending {
            note(&frame, ending);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(body) => body.is_empty(),
            Source::Upstream(body) => body.ended || body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(body) => SizeHint::with_exact(body.len() as u64),
            Source::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

/// Notes what passes.
fn note(frame: &Option<Result<Frame<Bytes>, BrokenOff>>, ending: &mut Ending) {
    let exchange = &ending.exchange;
    exchange.is_active();
    match frame {
        Some(Ok(frame)) => {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            exchange.bytes_sent.set(exchange.bytes_sent.get() + length);
            if let Some(status) = frame.trailers_ref().and_then(|trailers| trailers.get("grpc-status")) {
                exchange.grpc_status.set(status.to_str().ok().and_then(|status| status.parse().ok()));
            }
        }
        Some(Err(BrokenOff::Expired(expired))) => {
            let (flag, words) = expired.describe();
            exchange.flag(flag);
            exchange.detail(words);
        }
        Some(Err(BrokenOff::Upstream(how, _))) => {
            let (flag, words) = how.describe();
            exchange.flag(flag);
            exchange.detail(words);
        }
        None => ending.complete(),
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            return;
        }
        // An answer of known length ends without another word.
        if let Some(ending) = &mut self.ending {
            ending.complete();
        }
        if let Source::Upstream(body) = &mut self.source {
            body.give_back();
        }
    }
}
