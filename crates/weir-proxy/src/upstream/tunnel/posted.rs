//! Bytes that travel as the body of a request of HTTP/1.1, and come back as that of its answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_http1::{BodyReader, Case, Length, Limits, Part, encode};

/// What is read at a time.
const READ: usize = 16 << 10;

/// A connection whose heads have passed.
pub(super) struct Posted<S> {
    stream: S,
    input: BytesMut,
    answer: BodyReader,
    unread: Bytes,
    /// A chunk, or the end, on its way.
    out: Vec<u8>,
    written: usize,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Posted<S> {
    /// `length` says where the answer ends.
    pub fn new(stream: S, length: Length) -> Self {
        let answer = BodyReader::new(length, Limits { bytes: READ, fields: 100 });
        Self { stream, input: BytesMut::new(), answer, unread: Bytes::new(), out: vec![], written: 0, ended: false }
    }

    /// Writes what is on its way.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = self.out.get(self.written..).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads more of the answer; whether there was any.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Posted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match this.answer.read(&mut this.input) {
                Ok(Some(Part::Data(data))) => this.unread = data,
                Ok(Some(Part::Trailers(_))) => {}
                Ok(None) if this.answer.is_done() => return Poll::Ready(Ok(())),
                Ok(None) => {
                    if !ready!(this.poll_fill(cx))? && this.answer.end().is_err() {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
                Err(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
        }
        let length = this.unread.len().min(buffer.remaining());
        buffer.put_slice(this.unread.get(..length).unwrap_or_default());
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Posted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        if bytes.is_empty() {
            // An empty chunk would be the last.
            return Poll::Ready(Ok(0));
        }
        encode::chunk_size(bytes.len(), &mut self.out);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(encode::CHUNK_END);
        // What is not written now is when the next is, or when it is flushed.
        let _ = self.poll_out(cx)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// The request ends; its connection does not, for the answer may go on.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.poll_out(cx))?;
            encode::last_chunk(None, Case::default(), &mut self.out);
            self.ended = true;
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
