//! A client, as those see it who handle a request: the body that follows its head, and a way to give interim answers, whatever protocol
//! it speaks.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use weir_http1::Headers;

use super::http2::receiving::{Receiving, is_too_large};

/// Why a client's body breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// What it sent is not HTTP.
    Malformed,
    /// Its trailers are larger than they may be.
    TooLarge,
    /// It went away, or reset its stream.
    Gone,
}

/// How a client leaves that does not wait for the end of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Left {
    /// With its connection.
    #[default]
    Connection,
    /// It resets its stream of HTTP/2.
    Reset,
    /// The same, but in good order (`NO_ERROR`): it has what it wants.
    Content,
}

impl Left {
    /// By this reset.
    pub fn by(reason: h2::Reason) -> Self {
        if reason == h2::Reason::NO_ERROR { Self::Content } else { Self::Reset }
    }

    /// What an error of its stream says of that.
    pub fn of(error: &h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => Self::by(reason),
            _ => Self::Connection,
        }
    }
}

/// A client that waits for an answer.
pub trait Waiting {
    /// Gives an interim answer, unless the answer has begun.
    fn interim(&self, status: StatusCode, headers: &Headers);
}

/// A client's connection of HTTP/1.1, while it waits for an answer.
pub trait Client: Waiting {
    /// The next part of the request's body; none behind the last.
    fn poll_part(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>>;

    /// Whether all of the body has been read.
    fn is_done(&self) -> bool;

    /// How much of the body is missing, where that is known.
    fn missing(&self) -> Option<u64>;
}

/// The body of a request as it arrives.
pub enum Incoming {
    /// By HTTP/1.1.
    Http1(Rc<dyn Client>),
    /// By HTTP/2.
    Http2(Http2Stream),
}

/// A stream of HTTP/2 on which a request arrives.
pub struct Http2Stream {
    /// What follows the head; none where that is for another protocol.
    pub body: Option<Receiving>,
    /// Who waits for the answer.
    pub client: Weak<dyn Waiting>,
    /// How it leaves, if it does.
    pub left: Rc<Cell<Left>>,
}

impl Http2Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Self { body: Some(body), left, .. } = self else { return Poll::Ready(None) };
        let frame = ready!(body.poll(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                left.set(Left::of(&error));
                fault(&error)
            })
        }))
    }
}

impl Incoming {
    /// Who waits for the answer.
    pub fn client(&self) -> Weak<dyn Waiting> {
        match self {
            Self::Http1(client) => Rc::downgrade(client) as Weak<dyn Waiting>,
            Self::Http2(stream) => stream.client.clone(),
        }
    }

    /// The next frame; none behind the last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self {
            Self::Http1(client) => client.poll_part(cx),
            Self::Http2(stream) => stream.poll_frame(cx),
        }
    }

    /// Whether nothing more comes, as far as is known.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_done(),
            Self::Http2(stream) => stream.body.as_ref().is_none_or(Receiving::is_end_stream),
        }
    }

    /// How much is missing, as far as is known.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(client) => client.missing().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(stream) => stream.body.as_ref().map_or(SizeHint::with_exact(0), Receiving::size_hint),
        }
    }
}

/// What is wrong with a body of HTTP/2: it ends by a reset, whoever was wrong.
fn fault(error: &h2::Error) -> BodyFault {
    if is_too_large(error) { BodyFault::TooLarge } else { BodyFault::Gone }
}

/// A stream of bytes, of whatever kind.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

/// Brings what the client speaks the other protocol on, its connection or its stream (RFC 8441), once the answer that it changes to
/// that has gone out.
pub type OnUpgrade = oneshot::Receiver<Box<dyn ByteStream>>;
