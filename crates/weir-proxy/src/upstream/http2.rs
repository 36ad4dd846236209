//! HTTP/2 connections to an instance: few, each shared by many requests.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;

use weir_config::cluster::Http2Options;
use weir_config::head::http2::list_limit;
use weir_config::http::Http2Keepalive;

use super::body::RequestBody;
use super::counted::Counted;
use super::host::ConnectionPermit;
use super::socket::Socket;
use super::transport::{Transport, TransportKey};
use super::windows::{Watcher, Windows};
use crate::io::executor::LocalExecutor;
use crate::io::frames::{Frames, PREFACE};
use crate::io::watched::Watched;
use crate::stats::cluster::Tally;

/// What an instance may send ahead on one stream: what a client that does not read makes us hold.
const STREAM_WINDOW: u32 = 256 << 10;
/// Streams of a connection at once, where the cluster does not say. More requests than that share several connections, so that
/// the windows of all streams together are not more than what one connection may make us hold.
const STREAMS: usize = 100;
/// On so many streams an instance may use its whole window. Clients that do not read can take that of a connection with more
/// streams, which gets no new ones then.
const FULL_STREAMS: usize = 256;
/// So many answers may be reset, by us, because they break the rules of HTTP/2, before the connection is given up.
const RESETS_FOR_ERRORS: usize = 256;

/// A connection that takes requests.
#[derive(Clone)]
pub struct Http2Connection {
    /// The way to it.
    pub sender: SendRequest<RequestBody>,
    /// Which requests it may carry.
    pub key: TransportKey,
    /// Our address.
    pub local: SocketAddr,
    /// Since when it is open.
    pub opened: Instant,
    shared: Rc<Shared>,
}

type Connection = http2::Connection<TokioIo<Watched<Socket, Watcher>>, RequestBody, LocalExecutor>;

/// What all who use a connection share.
struct Shared {
    streams: Cell<usize>,
    /// How many requests it has carried.
    carried: Cell<u32>,
    /// How many streams it takes at once.
    limit: Cell<usize>,
    /// How many we send it at the most.
    most: usize,
    /// What tells how many the other side takes, which may change at any time; none once it has ended.
    connection: RefCell<Option<Connection>>,
    /// What either side may send on all streams together.
    windows: Rc<Windows>,
    /// Since when it has no streams.
    idle_since: Cell<Instant>,
    closed: Cell<bool>,
    /// Whether it ended because the other side does not speak HTTP/2.
    misunderstood: Cell<bool>,
    /// None once it has ended badly. Otherwise it lives as long as its last stream.
    counted: RefCell<Option<(Counted, Option<ConnectionPermit>)>>,
    tally: Tally,
    /// Told when there is room for a stream again.
    freed: Rc<Notify>,
}

/// A stream of a connection; counts as long as it lives.
pub struct StreamGuard {
    shared: Rc<Shared>,
    ended: bool,
}

impl StreamGuard {
    /// It has come to its end, good or bad: it need not be reset.
    pub fn ended(&mut self) {
        self.ended = true;
    }

    /// Where it is counted.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let Shared { streams, limit, idle_since, closed, counted, tally, freed, .. } = &*self.shared;
        if streams.get() >= limit.get() {
            freed.notify_one();
        }
        streams.set(streams.get().saturating_sub(1));
        if streams.get() == 0 {
            idle_since.set(Instant::now());
        }
        if let Some((counted, _)) = &mut *counted.borrow_mut() {
            counted.finish();
        }
        if !self.ended && !closed.get() {
            tally.rq_tx_reset.add(1);
        }
    }
}

impl Http2Connection {
    /// A connection on a new socket, by prior knowledge or agreement. `freed` is told when it takes a stream again after it took none.
    ///
    /// # Errors
    /// If the other side closes it at once.
    pub async fn open(
        stream: Transport,
        key: TransportKey,
        options: Http2Options,
        tally: Tally,
        permit: Option<ConnectionPermit>,
        freed: Rc<Notify>,
    ) -> Result<Self, hyper::Error> {
        let local = stream.local_address().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let mut builder = http2::Builder::new(LocalExecutor);
        let most = options.max_concurrent_streams.map_or(STREAMS, |most| most as usize);
        // No stream can take the window of another one: what is unread is bounded by streams and their windows.
        let window = STREAM_WINDOW.saturating_mul(u32::try_from(most.min(FULL_STREAMS)).unwrap_or(u32::MAX));
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(window)
            .max_local_error_reset_streams(RESETS_FOR_ERRORS)
            .max_header_list_size(list_limit(options.max_header_bytes, options.max_headers));
        if let Some(Http2Keepalive { interval, timeout }) = options.keepalive {
            builder.timer(TokioTimer::new()).keep_alive_interval(interval).keep_alive_timeout(timeout).keep_alive_while_idle(true);
        }
        let windows = Windows::new();
        let watched = Watched::new(Socket::new(stream), Frames::default(), Frames::behind(PREFACE.len()), Watcher::new(windows.clone()));
        let (sender, connection) = builder.handshake(TokioIo::new(watched)).await?;
        let now = Instant::now();
        let shared = Rc::new(Shared {
            streams: Cell::default(),
            carried: Cell::default(),
            limit: Cell::new(connection.current_max_send_streams().min(most)),
            most,
            connection: RefCell::new(Some(connection)),
            windows,
            idle_since: Cell::new(now),
            closed: Cell::default(),
            misunderstood: Cell::default(),
            counted: RefCell::new(Some((Counted::new(tally.clone()), permit))),
            tally,
            freed,
        });
        let told = shared.clone();
        tokio::task::spawn_local(async move {
            let result = poll_fn(|cx| match &mut *told.connection.borrow_mut() {
                Some(connection) => Pin::new(connection).poll(cx),
                None => Poll::Ready(Ok(())),
            });
            told.end(result.await);
            // Only now are those told of the end who wait for an answer.
            let ended = told.connection.borrow_mut().take();
            drop(ended);
        });
        Ok(Self { sender, key, local, opened: now, shared })
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        !self.shared.closed.get() && !self.sender.is_closed()
    }

    /// Whether it takes one more stream now.
    pub fn has_room(&self) -> bool {
        if !self.is_open() {
            return false;
        }
        let Shared { streams, limit, most, connection, .. } = &*self.shared;
        if let Ok(connection) = connection.try_borrow()
            && let Some(connection) = &*connection
        {
            limit.set(connection.current_max_send_streams().min(*most));
        }
        streams.get() < limit.get()
    }

    /// Whether streams that nobody reads hold up all others: a new one would wait with them.
    pub fn is_held_up(&self) -> bool {
        self.shared.windows.are_taken()
    }

    /// Whether it is the same.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether it has had no streams for so long.
    pub fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        self.shared.streams.get() == 0 && now.duration_since(self.shared.idle_since.get()) >= limit
    }

    /// Whether it ended because the other side does not speak HTTP/2.
    pub fn is_misunderstood(&self) -> bool {
        self.shared.misunderstood.get()
    }

    /// How many requests it has carried.
    pub fn requests(&self) -> u32 {
        self.shared.carried.get()
    }

    /// Counts a stream.
    pub fn stream(&self) -> StreamGuard {
        let Shared { streams, carried, counted, .. } = &*self.shared;
        carried.set(carried.get().saturating_add(1));
        streams.set(streams.get() + 1);
        if let Some((counted, _)) = &mut *counted.borrow_mut() {
            counted.begin();
        }
        StreamGuard { shared: self.shared.clone(), ended: false }
    }
}

impl Shared {
    /// The connection has ended, or takes no more streams: those that it has may still come to their end.
    fn end(&self, result: Result<(), hyper::Error>) {
        self.closed.set(true);
        let Err(error) = result else { return };
        tracing::debug!(%error, "an HTTP/2 connection to an instance ended");
        let Some((mut counted, _permit)) = self.counted.borrow_mut().take() else { return };
        if is_misunderstood(&error) {
            self.misunderstood.set(true);
            self.tally.cx_protocol_error.add(1);
            // Each stream was reset before.
            counted.finish_all();
        } else if !error.is_timeout() {
            counted.ended_by_peer();
        }
    }
}

/// Whether an error says that what came is not HTTP/2.
pub fn is_misunderstood(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| !error.is_remote() && !error.is_io() && error.reason().is_some_and(is_protocol))
}

fn is_protocol(reason: h2::Reason) -> bool {
    matches!(reason, h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR)
}
