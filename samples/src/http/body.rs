//! Answer bodies: whole ones, and ones that are made while they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::time::Interval;

/// What every HTTP application answers with.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that is made chunk by chunk, no faster than the peer reads it.
pub(crate) struct Chunks<I> {
    chunks: I,
    left: Option<u64>,
    pace: Option<Interval>,
}

impl<I> Chunks<I>
where
    I: Iterator<Item = Bytes> + Send + Unpin + 'static,
{
    /// A body of unknown length: HTTP/1.1 sends it chunked.
    pub(crate) fn new(chunks: I) -> Self {
        Chunks { chunks, left: None, pace: None }
    }

    /// Says how long it is, for the `content-length`. The chunks must add up to it.
    pub(crate) fn of_length(self, length: u64) -> Self {
        Chunks { left: Some(length), ..self }
    }

    /// Waits for a tick before each chunk.
    pub(crate) fn paced(self, pace: Option<Interval>) -> Self {
        Chunks { pace, ..self }
    }

    /// The same as a [`Body`].
    pub(crate) fn boxed(self) -> Body {
        self.boxed_unsync()
    }
}

impl<I> http_body::Body for Chunks<I>
where
    I: Iterator<Item = Bytes> + Send + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_tick(cx));
        }
        let Some(chunk) = self.chunks.next() else { return Poll::Ready(None) };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
