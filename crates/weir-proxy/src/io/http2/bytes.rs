//! A stream of HTTP/2 that carries another protocol's bytes, such as WebSocket's (RFC 8441).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::client::Left;

/// So much is copied at a time of what is written.
const MOST: usize = 16 << 10;

/// A stream as bytes.
#[derive(Debug)]
pub struct StreamBytes {
    receiving: RecvStream,
    /// What was received and is not read yet.
    unread: Bytes,
    sending: SendStream<Bytes>,
    /// How the other side leaves, if it does.
    left: Rc<Cell<Left>>,
    /// Whether the other side has been told that nothing more comes.
    ended: bool,
}

impl StreamBytes {
    /// A stream whose heads have passed.
    pub fn new(receiving: RecvStream, sending: SendStream<Bytes>, left: Rc<Cell<Left>>) -> Self {
        Self { receiving, unread: Bytes::new(), sending, left, ended: false }
    }

    fn broken(&self, error: h2::Error) -> io::Error {
        self.left.set(Left::of(&error));
        error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for StreamBytes {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receiving.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(self.broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        let _ = self.receiving.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamBytes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.sending.reserve_capacity(bytes.len().min(MOST));
        while self.sending.capacity() == 0 {
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = self.sending.capacity().min(bytes.len()).min(MOST);
        let now = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
        Poll::Ready(self.sending.send_data(now, false).map(|()| length).map_err(|error| self.broken(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what was handed over.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.sending.send_data(Bytes::new(), true).map_err(|error| self.broken(error))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamBytes {
    fn drop(&mut self) {
        if !self.ended {
            // As Envoy says it of whatever does not come to its end.
            self.sending.send_reset(Reason::INTERNAL_ERROR);
        } else if !self.receiving.is_end_stream() {
            self.sending.send_reset(Reason::NO_ERROR);
        }
    }
}
