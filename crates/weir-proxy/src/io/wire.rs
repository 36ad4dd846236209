//! The bytes of a connection of HTTP/1.1: what was read and not used yet, and what is still to be written.
//!
//! A connection that is idle holds none: heads are read into a buffer that all connections of a worker share, and what has gone out
//! is given back. What waits to be written is bounded: whoever has more asks first whether there is [room](Wire::has_room).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::fairness::spend;
use super::spare;

/// What is read at a time where a head is waited for.
const HEAD: usize = 16 << 10;
/// What is read at a time of a body.
const BODY: usize = 64 << 10;
/// So much may wait to be written before whoever has more is to wait.
const MOST: usize = 32 << 10;
/// A part of a body up to this size is copied behind what goes before it, so that both go out as one.
const SMALL: usize = 8 << 10;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD].into_boxed_slice());
}

/// What is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A head, which is small, and may not come for long.
    Head,
    /// A body, of which so much is missing, where that is known.
    Body(Option<u64>),
}

/// A stream with its bytes.
#[derive(Debug)]
pub struct Wire<S> {
    /// The stream.
    pub stream: S,
    /// What was read and is not used yet.
    pub input: BytesMut,
    /// Whether the other side has said all.
    pub ended: bool,
    output: Output,
}

/// What is to be written, in this order.
#[derive(Debug, Default)]
struct Output {
    first: Vec<u8>,
    /// How much of `first` has gone out.
    at: usize,
    /// A large part of a body, which is not copied.
    large: Bytes,
    last: Vec<u8>,
    /// Whether something was written that the stream may hold back.
    held: bool,
    /// Whether the stream has taken anything since somebody asked.
    moved: bool,
}

impl<S> Wire<S> {
    /// A stream of which these bytes were read already.
    pub fn new(stream: S, input: BytesMut) -> Self {
        Self { stream, input, ended: false, output: Output::default() }
    }

    /// Where what goes out next is written to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        let Output { first, large, last, .. } = &mut self.output;
        let out = if large.is_empty() { first } else { last };
        if out.capacity() == 0 {
            *out = spare::buffer();
        }
        out
    }

    /// Writes a part of a body behind all that waits.
    pub fn data(&mut self, data: Bytes) {
        if data.len() <= SMALL || !self.output.large.is_empty() {
            self.out().extend_from_slice(&data);
        } else {
            self.output.large = data;
        }
    }

    /// Whether more may be written.
    pub fn has_room(&self) -> bool {
        self.output.large.is_empty() && self.output.first.len() - self.output.at < MOST
    }

    /// Whether the stream has taken anything since this was asked last.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.output.moved)
    }

    /// Whether nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        let Output { first, large, last, held, .. } = &self.output;
        first.is_empty() && large.is_empty() && last.is_empty() && !held
    }

    /// Gives back all memory that is not needed.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.is_flushed() {
            let Output { first, last, .. } = std::mem::take(&mut self.output);
            spare::give_buffer(first);
            spare::give_buffer(last);
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads once, behind what is there already: how much; nothing at the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, want: Want) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let missing = match want {
            Want::Head => return self.poll_head(cx, |_| None::<((), usize)>).map_ok(|(read, _)| read),
            Want::Body(missing) => missing,
        };
        let read = ready!(self.poll_body(cx, missing));
        self.ended = matches!(read, Ok(0));
        spend(cx, read.as_ref().copied().unwrap_or(0));
        Poll::Ready(read)
    }

    /// Reads once, for a head: how much; nothing at the end. Where nothing came before, `read` may take a head off the front, which then needs
    /// no memory of ours; it says how long that is.
    pub fn poll_head<H>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&[u8]) -> Option<(H, usize)>,
    ) -> Poll<io::Result<(usize, Option<H>)>> {
        if self.ended {
            return Poll::Ready(Ok((0, None)));
        }
        SHARED.with_borrow_mut(|shared| {
            let mut buffer = ReadBuf::new(shared);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled();
            self.ended = filled.is_empty();
            let (head, end) = if self.input.is_empty() { read(filled) } else { None }.unzip();
            let rest = filled.get(end.unwrap_or(0)..).unwrap_or_default();
            match rest {
                [] => {}
                rest if self.input.capacity() == 0 => self.input = BytesMut::from(rest),
                rest => self.input.extend_from_slice(rest),
            }
            Poll::Ready(Ok((filled.len(), head)))
        })
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, missing: Option<u64>) -> Poll<io::Result<usize>> {
        let room = missing.and_then(|missing| usize::try_from(missing).ok()).unwrap_or(BODY).clamp(1, BODY);
        self.input.reserve(room);
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
        if read.is_pending() {
            // No room is held for a body that does not come: only what has come of it, a half of its trailers.
            let come = std::mem::take(&mut self.input);
            self.input.extend_from_slice(&come);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes all that waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, output, .. } = self;
        while let Some(written) = output.poll_write(stream, cx) {
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => output.advance(written),
            }
        }
        if output.held {
            ready!(Pin::new(stream).poll_flush(cx))?;
            output.held = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Output {
    /// Writes once; none if nothing waits.
    fn poll_write<S: AsyncWrite + Unpin>(&self, stream: &mut S, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let first = self.first.get(self.at..).unwrap_or_default();
        let stream = Pin::new(stream);
        match (first, &self.large[..], &self.last[..]) {
            ([], [], []) => None,
            (only, [], []) | ([], only, []) | ([], [], only) => Some(stream.poll_write(cx, only)),
            (first, large, last) => {
                let parts = [IoSlice::new(first), IoSlice::new(large), IoSlice::new(last)];
                let empty = usize::from(first.is_empty());
                Some(stream.poll_write_vectored(cx, parts.get(empty..).unwrap_or_default()))
            }
        }
    }

    fn advance(&mut self, mut written: usize) {
        (self.held, self.moved) = (true, true);
        let of_first = written.min(self.first.len() - self.at);
        self.at += of_first;
        written -= of_first;
        let of_large = written.min(self.large.len());
        self.large.advance(of_large);
        written -= of_large;
        if self.at == self.first.len() && self.large.is_empty() {
            self.first.clear();
            self.at = written;
            if !self.last.is_empty() {
                std::mem::swap(&mut self.first, &mut self.last);
            }
            if self.at == self.first.len() {
                self.first.clear();
                self.at = 0;
            }
        }
        if self.at >= MOST {
            // Who reads slowly, and always a little, would never let it become empty.
            self.first.drain(..self.at);
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_goes_out_in_order_however_little_is_taken() {
        for size in [1, 7, 5000, 1 << 20] {
            let (ours, mut theirs) = tokio::io::duplex(size);
            let mut wire = Wire::new(ours, BytesMut::new());
            let mut expected = vec![];
            for part in [10, 20_000, 30, 9000, 3] {
                let data = vec![b'a' + u8::try_from(expected.len() % 26).expect("small"); part];
                wire.out().extend_from_slice(b"\r\n");
                wire.data(data.clone().into());
                expected.extend_from_slice(b"\r\n");
                expected.extend_from_slice(&data);
            }
            assert!(!wire.has_room() && !wire.is_flushed());
            let reading = tokio::spawn(async move {
                let mut all = vec![];
                theirs.read_to_end(&mut all).await.expect("read");
                all
            });
            poll_fn(|cx| wire.poll_flush(cx)).await.expect("written");
            assert!(wire.has_room() && wire.is_flushed());
            drop(wire);
            assert!(reading.await.expect("read") == expected, "{size}");
        }
    }

    /// What has gone out is not kept, also where a part of it always waits.
    #[tokio::test]
    async fn what_a_slow_reader_has_taken_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let mut wire = Wire::new(ours, BytesMut::new());
        let (mut sent, mut room) = (0, vec![0; 4096]);
        for _ in 0..1000 {
            // Else the runtime would let this task wait once in a while.
            tokio::task::yield_now().await;
            while wire.has_room() {
                wire.data(vec![b'x'; 4096].into());
                sent += 4096;
            }
            let pending = poll_fn(|cx| Poll::Ready(wire.poll_flush(cx).is_pending())).await;
            assert!(pending && wire.has_moved() && !wire.has_moved() && !wire.is_flushed());
            theirs.read_exact(&mut room).await.expect("read");
        }
        assert!(sent > 2 << 20 && wire.output.first.capacity() < 256 << 10, "{}", wire.output.first.capacity());
    }

    #[tokio::test]
    async fn a_head_that_comes_at_once_needs_no_memory() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(ours, BytesMut::new());
        let first = |bytes: &[u8]| Some((bytes.first().copied(), 1));
        theirs.write_all(b"a").await.expect("written");
        assert_eq!(poll_fn(|cx| wire.poll_head(cx, first)).await.expect("read"), (1, Some(Some(b'a'))));
        assert_eq!(wire.input.capacity(), 0);
        theirs.write_all(b"bcd").await.expect("written");
        assert_eq!(poll_fn(|cx| wire.poll_head(cx, first)).await.expect("read"), (3, Some(Some(b'b'))));
        assert_eq!(wire.input, b"cd"[..]);
        // What came before comes first: it is not passed by.
        theirs.write_all(b"e").await.expect("written");
        assert_eq!(poll_fn(|cx| wire.poll_head(cx, first)).await.expect("read"), (1, None));
        assert_eq!(wire.input, b"cde"[..]);
    }

    #[tokio::test]
    async fn one_that_is_idle_holds_nothing() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(ours, BytesMut::new());
        theirs.write_all(b"GET").await.expect("written");
        assert_eq!(poll_fn(|cx| wire.poll_fill(cx, Want::Head)).await.expect("read"), 3);
        assert!(wire.input.capacity() < 100);
        wire.input.clear();
        for want in [Want::Head, Want::Body(None), Want::Body(Some(1 << 40))] {
            let pending = poll_fn(|cx| Poll::Ready(wire.poll_fill(cx, want).is_pending())).await;
            wire.input.extend_from_slice(b"x-half: of a trailer");
            let still = poll_fn(|cx| Poll::Ready(wire.poll_fill(cx, want).is_pending())).await;
            assert!(still && wire.input.capacity() < 100, "{}", wire.input.capacity());
            wire.input.clear();
            wire.rest();
            assert!(pending && wire.input.capacity() == 0 && wire.output.first.capacity() == 0);
        }
        drop(theirs);
        assert_eq!(poll_fn(|cx| wire.poll_fill(cx, Want::Head)).await.expect("read"), 0);
        assert!(wire.ended);
    }
}
