//! A client's connection of HTTP/1.1, as those see it who handle a request: the body that follows its head, and a way to give interim
//! answers. And the body of a request, whatever protocol it comes by.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

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

/// A client's connection of HTTP/1.1, while it waits for an answer.
pub trait Client {
    /// The next part of the request's body; none behind the last.
    fn poll_part(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>>;

    /// Whether all of the body has been read.
    fn is_done(&self) -> bool;

    /// How much of the body is missing, where that is known.
    fn missing(&self) -> Option<u64>;

    /// Gives an interim answer, unless the answer has begun.
    fn interim(&self, status: StatusCode, headers: &HeaderMap);
}

/// The body of a request as it arrives.
pub enum Incoming {
    /// By HTTP/1.1.
    Http1(Rc<dyn Client>),
    /// By HTTP/2.
    Http2(hyper::body::Incoming),
}

impl Incoming {
    /// The next frame; none behind the last.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self {
            Self::Http1(client) => client.poll_part(cx),
            Self::Http2(body) => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                // A stream ends by a reset, whoever was wrong; the library takes one without an error for the end.
                Some(Err(_)) => Poll::Ready(Some(Err(BodyFault::Gone))),
                None if !body.is_end_stream() => Poll::Ready(Some(Err(BodyFault::Gone))),
                frame => Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFault::Gone))),
            },
        }
    }

    /// Whether nothing more comes, as far as is known.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_done(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    /// How much is missing, as far as is known.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(client) => client.missing().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// A stream of bytes, of whatever kind.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

/// Brings what the client speaks the other protocol on, once the answer that it changes to that has gone out.
pub enum OnUpgrade {
    /// Its connection.
    Http1(oneshot::Receiver<Box<dyn ByteStream>>),
    /// Its stream (RFC 8441).
    Http2(hyper::upgrade::OnUpgrade),
}

impl OnUpgrade {
    /// Waits for it; none if the client is gone before.
    pub async fn stream(self) -> Option<Box<dyn ByteStream>> {
        match self {
            Self::Http1(connection) => connection.await.ok(),
            Self::Http2(stream) => Some(Box::new(TokioIo::new(stream.await.ok()?))),
        }
    }
}
