//! A body as it arrives on a stream of HTTP/2. What is handed on is given back to the windows, so that a sender may be ahead of who
//! takes its parts by no more than they are large.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

/// A body as it arrives.
#[derive(Debug)]
pub struct Receiving {
    stream: RecvStream,
    /// How much is missing of the length that was told, where one was.
    missing: Option<u64>,
    /// Whether only trailers may follow.
    data_is_over: bool,
}

impl Receiving {
    /// What follows a head.
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        // The library has refused lengths that are none, or contradict each other.
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let missing = told.or_else(|| stream.is_end_stream().then_some(0));
        Self { stream, missing, data_is_over: false }
    }

    /// The next part; none behind the last.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while !self.data_is_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // A stream that was reset meanwhile has no window any more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.missing = self.missing.map(|missing| missing.saturating_sub(data.len() as u64));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_is_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    /// Whether nothing more comes, as far as is known.
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// How much is missing, where that was told.
    pub fn size_hint(&self) -> SizeHint {
        self.missing.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The stream itself, of which nothing has been read.
    pub fn into_inner(self) -> RecvStream {
        self.stream
    }
}
