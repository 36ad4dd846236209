//! A client's body as the filters have left it: what arrives, what one of them held back, and what others make of it on its way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::request::fault;
use super::step::{BodyStep, Steps};
use crate::exchange::failure::FailureKind;

/// A client's body.
pub struct Inbound {
    /// What was held back, or made of it, and comes first.
    held: VecDeque<Frame<Bytes>>,
    incoming: Option<Incoming>,
    steps: Steps,
}

/// What came of holding a body back.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it is there, so many bytes.
    All(usize),
    /// It is larger than allowed.
    TooLarge,
}

impl Inbound {
    /// What arrives on the client's connection.
    pub fn new(incoming: Incoming) -> Self {
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        Self { held: VecDeque::new(), incoming, steps: Steps::default() }
    }

    /// Lets something be made of it on its way.
    pub fn push_step(&mut self, step: Box<dyn BodyStep>) {
        self.steps.push(step);
    }

    /// Waits until all of it is there, unless that is more than `limit` bytes.
    ///
    /// # Errors
    /// If it breaks off.
    pub async fn hold(&mut self, limit: usize) -> Result<Held, FailureKind> {
        let (mut frames, mut size) = (VecDeque::new(), 0);
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                None => break,
                Some(frame) => {
                    let frame = frame?;
                    size += frame.data_ref().map_or(0, Bytes::len);
                    frames.push_back(frame);
                }
            }
            if size > limit {
                return Ok(Held::TooLarge);
            }
        }
        (self.held, self.steps) = (frames, Steps::default());
        Ok(Held::All(size))
    }

    /// The next part.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FailureKind>>> {
        loop {
            if let Some(frame) = self.held.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
            let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
            let is_over = incoming.is_end_stream();
            match frame {
                Some(Err(error)) => {
                    self.incoming = None;
                    return Poll::Ready(Some(Err(fault(&error))));
                }
                Some(Ok(frame)) if self.steps.is_empty() => {
                    if is_over {
                        self.incoming = None;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                frame => self.pass(frame.and_then(Result::ok), is_over)?,
            }
        }
    }

    /// Takes a part through the steps.
    fn pass(&mut self, frame: Option<Frame<Bytes>>, is_over: bool) -> Result<(), FailureKind> {
        let (data, trailers) = match frame.map(Frame::into_data) {
            None => (None, None),
            Some(Ok(data)) => (Some(data), None),
            Some(Err(frame)) => (None, frame.into_trailers().ok()),
        };
        let is_over = is_over || data.is_none();
        if let Some(data) = data {
            let data = self.steps.data(data).map_err(FailureKind::Refused)?;
            self.hold_data(data);
        }
        if is_over {
            self.incoming = None;
            let (last, trailers): (Bytes, Option<HeaderMap>) = self.steps.end(trailers).map_err(FailureKind::Refused)?;
            self.hold_data(last);
            self.held.extend(trailers.map(Frame::trailers));
        }
        Ok(())
    }

    fn hold_data(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.held.push_back(Frame::data(data));
        }
    }

    /// Whether nothing more comes.
    pub fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.incoming.as_ref().is_none_or(|incoming| self.steps.is_empty() && incoming.is_end_stream())
    }

    /// How long it will be, as far as that is known.
    pub fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            None => SizeHint::with_exact(self.held.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()),
            Some(incoming) if self.steps.is_empty() && self.held.is_empty() => incoming.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
