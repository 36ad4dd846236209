//! Bodies of any size, which are made while they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The largest piece of a body.
const PIECE: u64 = 64 * 1024;
static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];

/// So many zeros, of known length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payload {
    rest: u64,
}

impl Payload {
    /// No body at all.
    pub const EMPTY: Self = Self { rest: 0 };

    /// A body of so many bytes.
    pub fn of(length: u64) -> Self {
        Self { rest: length }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.min(PIECE);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.rest -= length;
        let piece = usize::try_from(length).map_or(&ZEROS[..], |length| &ZEROS[..length]);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}

/// How many bytes a body has; none if it ends before its end.
pub(crate) async fn length<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Option<u64> {
    use http_body_util::BodyExt;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Some(length)
}
