//! The line to a client of HTTP/1.1, below the HTTP library: what that does not write is written here. These are interim answers
//! (RFC 9110, 15.2), and headers of an answer without a body that say how long it would have been. And where a request was not read
//! to its end, the line is not cut before the client has had time to read the answer.
//!
//! Something is added only between two answers, when all that the library wrote has gone out; then it is known where it stands.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::heard::Heard;

/// What the library writes of its own accord when it is to read a body that the client holds back.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a line is told from above.
#[derive(Debug)]
pub struct Line {
    told: Mutex<Told>,
    /// Whether there is anything in `told`: a line that is told nothing pays for one look.
    busy: AtomicBool,
    /// Whether all that the library wrote has gone out.
    clean: AtomicBool,
    lingers: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Told {
    /// Goes out before anything else.
    out: Vec<u8>,
    /// Stands in the next head, behind its first line.
    in_head: Vec<u8>,
    /// Whether the library's `100 Continue` is passed over.
    without_continue: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            told: Mutex::default(),
            busy: AtomicBool::new(false),
            clean: AtomicBool::new(true),
            lingers: AtomicBool::new(false),
            heard: Mutex::default(),
        }
    }
}

impl Line {
    /// Writes an interim answer before the one that comes next.
    pub fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        self.tell(|told| write_interim(status, headers, &mut told.out));
    }

    /// Leaves it to us when the client is told to go on.
    pub fn without_continue(&self) {
        self.tell(|told| told.without_continue = true);
    }

    /// Writes a header into the next head.
    pub fn add_to_head(&self, name: &str, value: &HeaderValue) {
        self.tell(|told| write_header(name, value, &mut told.in_head));
    }

    /// What was heard of the heads of requests.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the client time to read, when the line is closed.
    pub fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        if self.clean.load(Ordering::Relaxed) {
            tell(&mut self.told());
            self.busy.store(true, Ordering::Relaxed);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from the library the beginning of what it writes, if that is ours to write; how much.
    fn take(&self, bytes: &[u8]) -> usize {
        let mut told = self.told();
        if std::mem::take(&mut told.without_continue) && bytes.starts_with(CONTINUE) {
            return CONTINUE.len();
        }
        self.busy.store(false, Ordering::Relaxed);
        if told.in_head.is_empty() {
            return 0;
        }
        let in_head = std::mem::take(&mut told.in_head);
        let first_line = bytes.windows(2).position(|pair| pair == b"\r\n").filter(|_| bytes.starts_with(b"HTTP/1."));
        let Some(length) = first_line.map(|end| end + 2) else { return 0 };
        told.out.extend_from_slice(&bytes[..length]);
        told.out.extend_from_slice(&in_head);
        self.busy.store(true, Ordering::Relaxed);
        length
    }
}

fn write_interim(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    let of_connection = |name: &HeaderName| {
        matches!(*name, header::CONNECTION | header::UPGRADE) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    headers.iter().filter(|(name, _)| !of_connection(name)).for_each(|(name, value)| write_header(name.as_str(), value, out));
    out.extend_from_slice(b"\r\n");
}

fn write_header(name: &str, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A stream with its [`Line`].
#[derive(Debug)]
pub struct LineStream<S> {
    stream: S,
    line: Arc<Line>,
    /// How long a client is given to read.
    patience: Option<Duration>,
    /// Runs while the client is given time.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S> LineStream<S> {
    /// A stream that does what its line is told. `patience` is how long a client is given to read, if it is given time at all.
    pub fn new(stream: S, line: Arc<Line>, patience: Option<Duration>) -> Self {
        Self { stream, line, patience, lingering: None }
    }
}

impl<S: AsyncWrite + Unpin> LineStream<S> {
    /// Writes what goes out before anything else.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut told = self.line.told();
        while !told.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &told.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(told.out.drain(..written)),
            }
        }
        if told.in_head.is_empty() && !told.without_continue {
            self.line.busy.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// How much of what the library writes is taken care of.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.line.busy.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_out(cx))?;
        Poll::Ready(Ok(self.line.take(bytes)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LineStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.line.heard().hear(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LineStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_take(cx, bytes))? {
            0 => {
                self.line.clean.store(false, Ordering::Relaxed);
                Pin::new(&mut self.stream).poll_write(cx, bytes)
            }
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library asks for this when it has nothing more to write.
        self.line.clean.store(true, Ordering::Relaxed);
        if self.line.busy.load(Ordering::Relaxed) {
            ready!(self.poll_out(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let Some(patience) = this.patience.filter(|_| this.line.lingers.load(Ordering::Relaxed)) else { return Poll::Ready(Ok(())) };
            this.lingering = Some(Box::pin(sleep(patience)));
        }
        if this.lingering.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        // What was not read would make the system answer with a reset, which takes the answer away from the client.
        loop {
            let mut room = [0; 4096];
            let mut room = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room));
            if read.is_err() || room.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let first = bytes.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        match ready!(self.poll_take(cx, first))? {
            0 => {
                self.line.clean.store(false, Ordering::Relaxed);
                Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
            }
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn written(tell: impl FnOnce(&Line), parts: &[&str]) -> String {
        let (ours, mut theirs) = tokio::io::duplex(1 << 12);
        let line = Arc::new(Line::default());
        let mut stream = LineStream::new(ours, line.clone(), None);
        tell(&line);
        for part in parts {
            stream.write_all(part.as_bytes()).await.expect("written");
        }
        stream.flush().await.expect("flushed");
        drop(stream);
        let mut all = String::new();
        theirs.read_to_string(&mut all).await.expect("read");
        all
    }

    #[tokio::test]
    async fn an_interim_answer_stands_before_the_next() {
        let hints = |line: &Line| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, HeaderValue::from_static("</a>"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            line.interim(StatusCode::EARLY_HINTS, &headers);
        };
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(written(hints, &["HTTP/1.1 200 OK\r\n\r\n"]).await, expected);
    }

    #[tokio::test]
    async fn the_librarys_continue_is_passed_over_once() {
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(written(Line::without_continue, &[&format!("{go_on}HTTP/1.1 200 OK\r\n\r\n")]).await, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(written(Line::without_continue, &["HTTP/1.1 200 OK\r\n\r\n", go_on]).await, format!("HTTP/1.1 200 OK\r\n\r\n{go_on}"));
    }

    #[tokio::test]
    async fn a_header_is_added_to_the_next_head() {
        let length = |line: &Line| line.add_to_head("content-length", &HeaderValue::from_static("7"));
        let head = "HTTP/1.1 304 Not Modified\r\ndate: now\r\n\r\n";
        assert_eq!(written(length, &[head]).await, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\ndate: now\r\n\r\n");
    }

    #[tokio::test]
    async fn nothing_is_added_where_something_else_has_not_gone_out() {
        let (ours, _theirs) = tokio::io::duplex(1 << 12);
        let line = Arc::new(Line::default());
        let mut stream = LineStream::new(ours, line.clone(), None);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.expect("written");
        line.interim(StatusCode::EARLY_HINTS, &HeaderMap::new());
        assert!(line.told().out.is_empty());
    }
}
