//! A socket to an instance. What the instance said before it ended the connection is read before anybody is told of the
//! end: an instance that refuses an upload, or that does not understand HTTP/2, answers and hangs up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;

/// A socket that counts what passes.
#[derive(Debug)]
pub struct Socket {
    stream: Transport,
    /// How many bytes came in.
    pub read: u64,
    /// How many bytes went out.
    pub written: u64,
}

impl Socket {
    /// A new connection.
    pub fn new(stream: Transport) -> Self {
        Self { stream, read: 0, written: 0 }
    }

    /// Whether the other side has not closed it, nor sent what nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// An error of writing is not told while there is something to read; the end comes with that.
    fn noted(&mut self, result: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(written)) => self.written += written as u64,
            Poll::Ready(Err(_)) if matches!(self.stream.peek(), Ok(1..)) => return Poll::Ready(Ok(length)),
            _ => {}
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.read += (buffer.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(result, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.noted(result, parts.iter().map(|part| part.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
