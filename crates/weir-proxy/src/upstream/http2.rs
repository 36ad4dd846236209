//! HTTP/2 connections to an instance: few, each shared by many requests.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::http::request_body::RequestBody;
use crate::worker::LocalExecutor;

/// What an instance may send ahead on one stream.
const STREAM_WINDOW: u32 = 256 << 10;
/// What an instance may send ahead on all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A connection that takes requests.
#[derive(Clone)]
pub struct Http2Connection {
    /// The way to it.
    pub sender: SendRequest<RequestBody>,
    /// Our address.
    pub local: SocketAddr,
    /// Since when it is open.
    pub opened: Instant,
    streams: Rc<Cell<usize>>,
    /// How many requests it has carried.
    carried: Rc<Cell<u32>>,
    /// How many streams the other side takes at once.
    limit: Rc<Cell<usize>>,
    closed: Rc<Cell<bool>>,
}

/// A stream of a connection; counts as long as it lives.
pub struct StreamGuard(Rc<Cell<usize>>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Http2Connection {
    /// A connection on a new socket, by prior knowledge.
    ///
    /// # Errors
    /// If the other side closes it at once.
    pub async fn open(stream: TcpStream) -> Result<Self, hyper::Error> {
        let local = stream.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let (closed, limit) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(connection.current_max_send_streams())));
        let (ended, told) = (closed.clone(), limit.clone());
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let result = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                // The other side may change it at any time.
                told.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = result.await {
                tracing::debug!(%error, "an HTTP/2 connection to an instance ended");
            }
            ended.set(true);
        });
        Ok(Self { sender, local, opened: Instant::now(), streams: Rc::default(), carried: Rc::default(), limit, closed })
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        !self.closed.get() && !self.sender.is_closed()
    }

    /// Whether it takes one more stream now.
    pub fn has_room(&self) -> bool {
        self.is_open() && self.streams.get() < self.limit.get()
    }

    /// How many requests it has carried.
    pub fn requests(&self) -> u32 {
        self.carried.get()
    }

    /// Counts a stream.
    pub fn stream(&self) -> StreamGuard {
        self.carried.set(self.carried.get().saturating_add(1));
        self.streams.set(self.streams.get() + 1);
        StreamGuard(self.streams.clone())
    }
}
