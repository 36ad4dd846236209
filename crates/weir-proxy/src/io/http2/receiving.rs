//! A body as it arrives on a stream of HTTP/2. What is handed on is given back to the windows, so that a sender may be ahead of who
//! takes its parts by no more than they are large.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use weir_http1::header::{CONTENT_LENGTH, Headers};

/// How large trailers may be: as large as heads.
#[derive(Debug, Clone, Copy)]
pub struct TrailerLimits {
    /// How many there may be.
    pub fields: usize,
    /// How long their names and values may be in all.
    pub bytes: usize,
}

impl TrailerLimits {
    fn allow(self, trailers: &HeaderMap) -> bool {
        let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        trailers.len() <= self.fields && bytes <= self.bytes
    }
}

/// Whether a body broke off for its trailers.
pub fn is_too_large(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !error.is_remote() && !error.is_library()
}

/// A body as it arrives.
#[derive(Debug)]
pub struct Receiving {
    stream: RecvStream,
    limits: TrailerLimits,
    /// How much is missing of the length that was told, where one was.
    missing: Option<u64>,
    /// Whether only trailers may follow.
    data_is_over: bool,
}

impl Receiving {
    /// What follows a head.
    pub fn new(stream: RecvStream, headers: &Headers, limits: TrailerLimits) -> Self {
        // The library has refused lengths that are none, or contradict each other.
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let missing = told.or_else(|| stream.is_end_stream().then_some(0));
        Self { stream, limits, missing, data_is_over: false }
    }

    /// Whether an error comes behind all that was told: where a connection ends with the last byte, the library forgets that it was
    /// the last.
    fn is_behind_the_end(&self, error: &h2::Error) -> bool {
        self.missing == Some(0) && (error.is_io() || error.is_go_away())
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
                Some(Err(error)) if self.is_behind_the_end(&error) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_is_over = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            // The library cuts off what is beyond its own limit, and does not say so.
            Ok(Some(trailers)) if !self.limits.allow(&trailers) => Some(Err(Reason::ENHANCE_YOUR_CALM.into())),
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) if self.is_behind_the_end(&error) => None,
            Err(error) => Some(Err(error)),
        })
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
