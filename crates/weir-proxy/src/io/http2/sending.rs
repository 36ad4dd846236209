//! A body on its way out on a stream of HTTP/2, as far as the windows of the other side go. No window is held for what is not there
//! yet: others on the connection may need it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

use super::fields;
use super::queue::Queue;

/// A body on its way out.
pub struct Sending<B> {
    stream: SendStream<Bytes>,
    /// None where nothing is to be handed over, or not any more.
    body: Option<B>,
    /// What has no window yet.
    part: Bytes,
    /// Whether the body ends with that.
    is_last: bool,
    /// Whether the other side has been told that nothing more comes.
    ended: bool,
    /// Where it is counted what has not gone out yet.
    queue: Option<Rc<Queue>>,
}

/// Why a body does not go out to its end.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The other side does not take it, or is gone; with its reason, if it has reset the stream.
    ByPeer(Option<Reason>),
    /// It breaks off.
    ByBody(E),
}

/// The other side is at fault where the library takes no more.
fn by_peer<E>(error: h2::Error) -> Stopped<E> {
    Stopped::ByPeer(error.reason().filter(|_| error.is_reset() && error.is_remote()))
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// A body behind a head; none where nothing follows, be it that the head has `ended` the stream, or not.
    pub fn new(stream: SendStream<Bytes>, body: Option<B>, ended: bool) -> Self {
        Self { stream, body, part: Bytes::new(), is_last: false, ended, queue: None }
    }

    /// Takes no more of a body than its connection has room for.
    #[must_use]
    pub fn within(self, queue: Rc<Queue>) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Whether all has been handed over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What has not been handed over, while the other side takes no more: where it comes from may have its limits of time.
    pub fn held_up(&mut self) -> Option<&mut B> {
        self.body.as_mut().filter(|_| !self.part.is_empty())
    }

    /// Hands over what there is; ready when that was all.
    ///
    /// # Errors
    /// If it does not go out to its end. The stream is then to be [stopped](Self::stop).
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<B::Error>>> {
        loop {
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
                return Poll::Ready(Err(Stopped::ByPeer(reset.ok())));
            }
            if !self.part.is_empty() {
                ready!(self.poll_part(cx)).map_err(by_peer)?;
                continue;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let is_last = body.is_end_stream();
                    self.hand_over(frame, is_last).map_err(by_peer)?;
                }
                Some(Err(error)) => return Poll::Ready(Err(Stopped::ByBody(error))),
                None => self.end(Bytes::new()).map_err(by_peer)?,
            }
        }
    }

    fn hand_over(&mut self, frame: Frame<Bytes>, is_last: bool) -> Result<(), h2::Error> {
        match frame.into_data() {
            Ok(part) if part.is_empty() && is_last => self.end(part),
            Ok(part) => {
                (self.part, self.is_last) = (part, is_last);
                Ok(())
            }
            Err(frame) => {
                (self.body, self.ended) = (None, true);
                let mut trailers = frame.into_trailers().unwrap_or_default();
                fields::strip(&mut trailers);
                self.stream.send_trailers(trailers)
            }
        }
    }

    /// Hands over as much of a part as there is a window for.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let id = self.stream.stream_id().as_u32();
        if let Some(queue) = &self.queue {
            ready!(queue.poll_room(id, cx));
        }
        self.stream.reserve_capacity(self.part.len());
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(granted) => drop(granted?),
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        let now = self.part.split_to(self.stream.capacity().min(self.part.len()));
        if let Some(queue) = &self.queue {
            queue.hand_over(id, now.len());
        }
        Poll::Ready(if self.is_last && self.part.is_empty() { self.end(now) } else { self.stream.send_data(now, false) })
    }

    fn end(&mut self, last: Bytes) -> Result<(), h2::Error> {
        (self.body, self.ended) = (None, true);
        self.stream.send_data(last, true)
    }

    /// Ends the stream as it is, whatever was still to come.
    pub fn stop(&mut self, reason: Reason) {
        (self.body, self.part) = (None, Bytes::new());
        if let Some(queue) = &self.queue {
            queue.forget(self.stream.stream_id().as_u32());
        }
        self.stream.send_reset(reason);
    }

    /// The stream itself, of which nothing but the head has gone out.
    pub fn into_inner(self) -> SendStream<Bytes> {
        self.stream
    }
}
