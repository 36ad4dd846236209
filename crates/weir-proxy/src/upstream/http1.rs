//! HTTP/1.1 connections to an instance.
//!
//! A connection is not a task of its own: whoever uses it drives it, the future of the request and then the
//! body of the answer. So an exchange is one task from end to end, and nothing is woken twice.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use weir_config::cluster::Http1Options;
use weir_config::http::LetterCase;

use super::body::RequestBody;
use super::counted::Counted;
use super::host::ConnectionPermit;
use super::socket::Socket;
use super::transport::{Transport, TransportKey};
use crate::io::prefixed::Prefixed;
use crate::stats::cluster::Tally;

/// The limit of headers that the HTTP library has without being told; telling it the same costs an allocation.
const USUAL_MAX_HEADERS: usize = 100;
/// What is read ahead of a response, and written behind a request.
const MAX_BUFFER: usize = 256 << 10;

/// A connection that is ready for a request, or busy with one.
pub struct Http1Connection {
    socket: SharedStream,
    sender: SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<SharedStream>, RequestBody>,
    /// Which requests it may carry.
    pub key: TransportKey,
    /// Our address.
    pub local: SocketAddr,
    /// How many requests it has carried.
    pub requests: u32,
    /// Since when it is open.
    pub opened: Instant,
    /// Since when it has carried none.
    pub idle_since: Instant,
    closed: bool,
    /// Whether trailers pass.
    pub trailers: bool,
    /// How it is counted.
    pub counted: Counted,
    /// What it takes of its cluster's limit, where there is one.
    pub permit: Option<ConnectionPermit>,
}

/// A connection that carries another protocol, as statistics and limits see it.
pub struct StillOpen {
    counted: Counted,
    #[expect(dead_code, reason = "given back when it is dropped")]
    permit: Option<ConnectionPermit>,
}

impl StillOpen {
    /// Both sides have said all.
    pub fn finish(mut self) {
        self.counted.finish();
    }
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct SendError {
    /// What went wrong.
    pub error: hyper::Error,
    /// Whether nothing of the request was written.
    pub unsent: bool,
    /// Whether the answer had begun.
    pub begun: bool,
}

impl Http1Connection {
    /// A connection on a new socket.
    ///
    /// # Errors
    /// If the socket is closed already.
    pub async fn open(
        stream: Transport,
        key: TransportKey,
        options: Http1Options,
        tally: Tally,
        permit: Option<ConnectionPermit>,
    ) -> Result<Self, hyper::Error> {
        let local = stream.local_address().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let socket = SharedStream(Rc::new(RefCell::new(Socket::new(stream))));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER);
        if options.max_headers != USUAL_MAX_HEADERS {
            builder.max_headers(options.max_headers);
        }
        match options.letter_case {
            LetterCase::Lower => {}
            LetterCase::Proper => drop(builder.title_case_headers(true)),
            LetterCase::Preserve => drop(builder.preserve_header_case(true)),
        }
        let (sender, driver) = builder.handshake(TokioIo::new(socket.clone())).await?;
        let now = Instant::now();
        let counted = Counted::new(tally);
        Ok(Self {
            socket,
            sender,
            driver,
            key,
            local,
            requests: 0,
            opened: now,
            idle_since: now,
            closed: false,
            trailers: options.trailers,
            counted,
            permit,
        })
    }

    /// Sends a request; the head of the answer comes back with the connection, whose driving then is up to the
    /// body of the answer.
    ///
    /// # Errors
    /// If the connection ends before the answer begins.
    pub fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        self.requests += 1;
        self.counted.begin();
        let before = self.socket.passed();
        // The library takes the request at once: it is large, and is not to be carried along by one future after the other.
        let answer = self.sender.try_send_request(request);
        async move {
            let mut answer = pin!(answer);
            let driver = &mut self.driver;
            let closed = &mut self.closed;
            let result = poll_fn(|cx| {
                if !*closed {
                    *closed = Pin::new(&mut *driver).poll(cx).is_ready();
                }
                // Only the driver can make progress, and it knows whom to wake.
                answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            });
            result.await.map_err(|mut failed| {
                let (read, written) = self.socket.passed();
                let unsent = failed.take_message().is_some() || written == before.1;
                SendError { error: failed.into_error(), unsent, begun: read != before.0 }
            })
        }
    }

    /// The socket, once the answer has agreed to another protocol; what was read behind the answer comes first. As long as bytes
    /// pass it stays one of its cluster's connections.
    pub async fn into_stream(mut self) -> (impl AsyncRead + AsyncWrite + Unpin, StillOpen) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.closed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let Self { driver, counted, permit, .. } = self;
        let parts = driver.into_parts();
        (Prefixed::new(parts.read_buf, parts.io.into_inner()), StillOpen { counted, permit })
    }

    /// Moves bytes, as far as that goes without waiting.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed {
            self.closed = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }

    /// Whether it can take another request, now that the last answer has been read.
    pub fn is_reusable(&mut self) -> bool {
        if !self.closed && !self.sender.is_ready() {
            // The end of the answer may be known to the body, but not yet to the driver.
            self.drive(&mut Context::from_waker(Waker::noop()));
        }
        !self.closed && self.sender.is_ready()
    }

    /// Whether the other side has not closed it, nor sent what nobody asked for.
    pub fn is_alive(&self) -> bool {
        self.socket.0.borrow_mut().is_quiet()
    }
}

/// A socket that its connection and we both hold; all on one thread.
#[derive(Clone)]
struct SharedStream(Rc<RefCell<Socket>>);

impl SharedStream {
    /// How many bytes came in, and went out.
    fn passed(&self) -> (u64, u64) {
        let socket = self.0.borrow();
        (socket.read, socket.written)
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
