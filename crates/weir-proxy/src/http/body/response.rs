//! The body of an answer on its way to the client. It ends the exchange when it is done or dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use weir_config::head::trailers;

use crate::exchange::{Ending, Exchange};
use crate::upstream::body::UpstreamBody;
use crate::upstream::body::answer::BrokenOff;

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
            Source::Upstream(body) => ready!(body.poll(cx)),
        };
        let Some(ending) = &mut this.ending else { return Poll::Ready(frame) };
        note(&frame, ending);
        match frame {
            Some(Ok(frame)) if frame.is_trailers() => Poll::Ready(trailers(frame, &ending.exchange).map(Ok)),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Local(body) => body.is_empty(),
            Source::Upstream(body) => body.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Local(body) => SizeHint::with_exact(body.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

/// The trailers that pass, if any do.
fn trailers(frame: Frame<Bytes>, exchange: &Exchange) -> Option<Frame<Bytes>> {
    let mut trailers = frame.into_trailers().ok().filter(|_| exchange.passes_trailers.get())?;
    trailers::strip(&mut trailers);
    (!trailers.is_empty()).then(|| Frame::trailers(trailers))
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
        Some(Err(BrokenOff(failure))) => {
            let told = failure.told(false);
            exchange.flag(told.flag);
            exchange.detail(told.details);
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
