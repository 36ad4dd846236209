//! A client's connection: its bytes, and the body of the request that is being answered.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_config::http::HttpConfig;
use weir_http1::header::{Headers, to_map};
use weir_http1::{BodyReader, Case, Fault, HeadReader, Length, Limits, Part, encode, request};

use crate::http::control::{Control, LastCall};
use crate::io::client::{BodyFault, Client, Waiting};
use crate::io::spare;
use crate::io::wire::{Want, Wire};

/// So much is read of what a client sends before its last request is answered; the rest waits in its socket.
const AHEAD: usize = 16 << 10;
/// So long a client has for the end of its TLS session.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection.
pub(super) struct Connection<S> {
    pub(super) wire: RefCell<Wire<S>>,
    head: RefCell<HeadReader>,
    body: RefCell<BodyReader>,
    pub(super) limits: Limits,
    pub(super) case: Case,
    /// Whether an answer has begun.
    pub(super) answering: Cell<bool>,
    /// Whether the client knows interim answers.
    knows_interim: Cell<bool>,
    /// Whether the first line of a head that is not complete was looked at.
    line_seen: Cell<bool>,
    /// Who looks whether the client is still there, while somebody else reads the body.
    watcher: RefCell<Option<Waker>>,
}

/// What comes next from a client.
pub(super) enum Next {
    /// The head of a request.
    Head(request::Head),
    /// Something else.
    Bad(Fault),
    /// The beginning of a head, and for too long nothing more.
    Late,
    /// Nothing: the client has ended it.
    Nothing,
    /// Nothing: it is to end.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// On a stream of which these bytes were read already.
    pub(super) fn new(stream: S, read: BytesMut, config: &HttpConfig) -> Self {
        let limits = Limits { bytes: config.max_header_bytes, fields: config.max_headers };
        Self {
            wire: RefCell::new(Wire::new(stream, read)),
            head: RefCell::default(),
            body: RefCell::new(BodyReader::new(Length::None, limits)),
            limits,
            case: config.letter_case,
            answering: Cell::new(false),
            knows_interim: Cell::new(false),
            line_seen: Cell::new(false),
            watcher: RefCell::default(),
        }
    }

    /// Waits for a request. `control` may say that none is waited for any longer.
    pub(super) async fn next(&self, control: &Control) -> Next {
        let mut last_call = LastCall::default();
        poll_fn(|cx| self.poll_next(control, &mut last_call, cx)).await
    }

    fn poll_next(&self, control: &Control, last_call: &mut LastCall, cx: &mut Context<'_>) -> Poll<Next> {
        let (wire, reader) = (&mut *self.wire.borrow_mut(), &mut *self.head.borrow_mut());
        let keep_spelling = self.case == Case::Preserve;
        loop {
            match request::take(reader, &mut wire.input, spare::map, &self.limits, keep_spelling) {
                Ok(Some(head)) => return Poll::Ready(self.found(head, control)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Next::Bad(fault)),
            }
            match wire.poll_head(cx, |bytes| request::at_once(reader, bytes, spare::map, &self.limits, keep_spelling)) {
                Poll::Ready(Ok((_, Some(head)))) => return Poll::Ready(self.found(head, control)),
                Poll::Ready(Ok((1.., None))) => {}
                Poll::Ready(Ok((0, None)) | Err(_)) => return Poll::Ready(Next::Nothing),
                Poll::Pending => break,
            }
        }
        wire.rest();
        if reader.has_begun(&wire.input) {
            if reader.has_line() && !self.line_seen.replace(true) && !request::may_begin(&wire.input) {
                return Poll::Ready(Next::Bad(Fault::FirstLine));
            }
            if control.head_is_late.get() {
                return Poll::Ready(Next::Late);
            }
            if control.head_since.get().is_none() {
                control.head_since.set(Some(Instant::now()));
            }
            // Whoever is to end hears of it by the answer to what has begun.
            control.watch(cx.waker());
            return Poll::Pending;
        }
        if last_call.is_over(control, cx) { Poll::Ready(Next::Over) } else { Poll::Pending }
    }

    fn found(&self, head: request::Head, control: &Control) -> Next {
        control.head_since.set(None);
        // It may have come when it was given up already: the next one has its own time.
        control.head_is_late.set(false);
        self.line_seen.set(false);
        Next::Head(head)
    }

    /// A request of this version has come whose body is so long.
    pub(super) fn begin(&self, version: Version, length: Length) {
        self.body.replace(BodyReader::new(length, self.limits));
        self.answering.set(false);
        self.knows_interim.set(version >= Version::HTTP_11);
    }

    /// While a request is handled: writes what waits, and looks whether the client is still there, as far as that can be seen without
    /// reading a body that nobody asks for. Ready if it is gone.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = &mut *self.wire.borrow_mut();
        if !wire.is_flushed() && matches!(wire.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        if !self.body.borrow().is_done() {
            // Whoever reads the body may be another task: it tells us when that is over.
            self.watcher.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        }
        while self.body.borrow().is_done() && wire.input.len() < AHEAD {
            match ready!(wire.poll_fill(cx, Want::Head)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Ends the connection, when all is written. With `patience` the client is given so much time to read the answer, and to end the
    /// connection itself: what it still sends would make the system answer with a reset, which takes the answer away from it.
    pub(super) async fn close(&self, patience: Option<Duration>) -> io::Result<()> {
        poll_fn(|cx| self.wire.borrow_mut().poll_flush(cx)).await?;
        if let Some(patience) = patience {
            let _ = tokio::time::timeout(patience, poll_fn(|cx| self.poll_discard(cx))).await;
        }
        // TLS has a last word, which a client may not take.
        let shutdown = poll_fn(|cx| Pin::new(&mut self.wire.borrow_mut().stream).poll_shutdown(cx));
        tokio::time::timeout(LAST_WORD, shutdown).await.unwrap_or(Ok(()))
    }

    /// Wakes who looks whether the client is still there, if the body has just ended.
    fn note_end(&self, body: &BodyReader, cx: &Context<'_>) {
        if body.is_done()
            && let Some(watcher) = self.watcher.borrow_mut().take()
            && !watcher.will_wake(cx.waker())
        {
            watcher.wake();
        }
    }

    /// Reads to the end, for nobody.
    fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = &mut *self.wire.borrow_mut();
        loop {
            wire.input.clear();
            match ready!(wire.poll_fill(cx, Want::Head)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Whether the last request has been read to its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.body.borrow().is_done()
    }

    /// Whether the client has sent, or may still send, what nobody has read.
    pub(super) fn is_unread(&self) -> bool {
        !self.body.borrow().is_done() || !self.wire.borrow().input.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client for Connection<S> {
    fn poll_part(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let (wire, body) = (&mut *self.wire.borrow_mut(), &mut *self.body.borrow_mut());
        loop {
            let read = body.read(&mut wire.input);
            self.note_end(body, cx);
            match read {
                Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Part::Trailers(trailers))) => return Poll::Ready(Some(Ok(Frame::trailers(to_map(&trailers))))),
                Ok(None) if body.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(Fault::TooLarge | Fault::TooMany) => return Poll::Ready(Some(Err(BodyFault::TooLarge))),
                Err(_) => return Poll::Ready(Some(Err(BodyFault::Malformed))),
            }
            match ready!(wire.poll_fill(cx, Want::Body(body.missing()))) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyFault::Gone))),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.body.borrow().is_done()
    }

    fn missing(&self) -> Option<u64> {
        self.body.borrow().missing()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Waiting for Connection<S> {
    fn interim(&self, status: StatusCode, headers: &Headers) {
        if self.knows_interim.get() && !self.answering.get() {
            encode::interim(status, headers, self.case, self.wire.borrow_mut().out());
        }
    }
}

/// The connection as bytes, once it has changed to another protocol; what was read already comes first.
pub(super) struct Upgraded<S>(pub(super) Rc<Connection<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Upgraded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.wire.borrow_mut();
        if wire.input.is_empty() {
            return Pin::new(&mut wire.stream).poll_read(cx, buffer);
        }
        let length = wire.input.len().min(buffer.remaining());
        buffer.put_slice(&wire.input.split_to(length));
        wire.rest();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Upgraded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.wire.borrow_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.wire.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.wire.borrow_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use weir_xds::hcm::{HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier};

    use super::*;

    #[tokio::test]
    async fn a_head_that_comes_at_the_last_moment_leaves_the_next_one_its_time() {
        let rds = RouteSpecifier::Rds(Rds::default());
        let config = HttpConfig::compile(&HttpConnectionManager { route_specifier: Some(rds), ..Default::default() }).expect("valid");
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (connection, control) = (Connection::new(ours, BytesMut::new(), &config), Control::default());
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\nGET /").await.expect("written");
        control.give_up_head();
        assert!(matches!(connection.next(&control).await, Next::Head(_)));
        let mut last_call = LastCall::default();
        let next = poll_fn(|cx| Poll::Ready(connection.poll_next(&control, &mut last_call, cx))).await;
        assert!(next.is_pending() && control.head_since.get().is_some());
        control.give_up_head();
        assert!(matches!(connection.next(&control).await, Next::Late));
    }
}
