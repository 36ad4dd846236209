//! A stream of HTTP/2 that carries another protocol's bytes, such as WebSocket's (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is copied at a time of what is written.
const MOST: usize = 16 << 10;

/// A stream as bytes.
#[derive(Debug)]
pub struct StreamBytes {
    receiving: RecvStream,
    /// What was received and is not read yet.
    unread: Bytes,
    sending: SendStream<Bytes>,
    /// Whether the other side has been told that nothing more comes.
    ended: bool,
}

impl StreamBytes {
    /// A stream whose heads have passed.
    pub fn new(receiving: RecvStream, sending: SendStream<Bytes>) -> Self {
        Self { receiving, unread: Bytes::new(), sending, ended: false }
    }
}

fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

impl AsyncRead for StreamBytes {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receiving.poll_data(cx)) {
                Some(data) => self.unread = data.map_err(broken)?,
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
                Some(granted) => drop(granted.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = self.sending.capacity().min(bytes.len()).min(MOST);
        let now = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
        Poll::Ready(self.sending.send_data(now, false).map(|()| length).map_err(broken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what was handed over.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.sending.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamBytes {
    fn drop(&mut self) {
        if !self.ended || !self.receiving.is_end_stream() {
            // As Envoy says it of whatever does not come to its end.
            self.sending.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
