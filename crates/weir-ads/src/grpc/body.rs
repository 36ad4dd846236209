//! The body of a response to a client's call: one message after the other, for as long as the stream lives.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::message::Message;
use crate::push::Push;
use crate::stream::Ending;

/// Writes a server's responses as the connection takes them.
pub(super) struct Responses {
    pushes: mpsc::Receiver<Push>,
    /// The one that is being written.
    current: Option<Message>,
    /// Why it ends, once nothing more comes.
    ending: Ending,
    ended: bool,
}

impl Responses {
    pub fn new(pushes: mpsc::Receiver<Push>, ending: Ending) -> Self {
        Self { pushes, current: None, ending, ended: false }
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        self.pushes.close();
        let mut trailers = HeaderMap::new();
        // What cannot stand in a header has no words here either: the code says enough.
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", HeaderValue::from(i32::from(Code::Internal)));
        }
        Frame::trailers(trailers)
    }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(piece) = self.current.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.current = None;
            let Some(push) = ready!(self.pushes.poll_recv(cx)) else {
                let status = self.ending.get().cloned().unwrap_or_else(|| Status::ok(""));
                return Poll::Ready(Some(Ok(self.end(&status))));
            };
            let (kind, count) = (push.kind, push.resources.len());
            self.current = Message::new(push);
            if self.current.is_none() {
                let message = format!("{count} resources ({}) are more than a message can carry", kind.name());
                tracing::error!("{message}");
                return Poll::Ready(Some(Ok(self.end(&Status::resource_exhausted(message)))));
            }
        }
    }
}
