//! A stream of HTTP/2 whose frames are looked at as they pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frame, Frames};
use crate::io::fairness::spend;

/// Looks at frames.
pub trait Watch: Unpin {
    /// One came.
    ///
    /// # Errors
    /// If the connection is to end for it.
    fn heard(&mut self, frame: Frame) -> io::Result<()>;

    /// So much has come for now; whether it is the whole of the last frame of which the head came.
    fn rests(&mut self, _is_whole: bool) {}

    /// One was sent.
    fn said(&mut self, frame: Frame);

    /// So much was sent for now.
    ///
    /// # Errors
    /// If the connection is to end for it.
    fn has_said(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The other side takes what is sent, or does not take it any more for now.
    fn is_taken(&mut self, _taken: bool) {}
}

/// A stream of which somebody sees each frame.
#[derive(Debug)]
pub struct Watched<S, W> {
    stream: S,
    incoming: Frames,
    outgoing: Frames,
    watch: W,
}

impl<S, W: Watch> Watched<S, W> {
    /// A stream, with what is said in either direction before the first frame.
    pub fn new(stream: S, incoming: Frames, outgoing: Frames, watch: W) -> Self {
        Self { stream, incoming, outgoing, watch }
    }

    fn said(&mut self, bytes: &[u8]) {
        let Self { outgoing, watch, .. } = self;
        outgoing.pass(bytes, |frame| watch.said(frame));
    }

    fn note_progress(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.watch.is_taken(false),
            Poll::Ready(Ok(1..)) => self.watch.is_taken(true),
            Poll::Ready(_) => {}
        }
    }
}

impl<S: AsyncRead + Unpin, W: Watch> AsyncRead for Watched<S, W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Self { incoming, watch, .. } = &mut *self;
        let mut judged = Ok(());
        incoming.pass(buffer.filled().get(before..).unwrap_or_default(), |frame| {
            if judged.is_ok() {
                judged = watch.heard(frame);
            }
        });
        watch.rests(incoming.is_behind_frame());
        spend(cx, buffer.filled().len() - before);
        match judged {
            Ok(()) => result,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncWrite + Unpin, W: Watch> AsyncWrite for Watched<S, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_progress(&result);
        if let Poll::Ready(Ok(written)) = &result {
            self.said(bytes.get(..*written).unwrap_or_default());
            self.watch.has_said()?;
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_progress(&result);
        if let Poll::Ready(Ok(mut written)) = result {
            for part in parts {
                let of_part = written.min(part.len());
                self.said(part.get(..of_part).unwrap_or_default());
                written -= of_part;
            }
            self.watch.has_said()?;
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
