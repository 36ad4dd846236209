//! HTTP/2 connections to an instance: few, each shared by many requests.

mod ahead;
mod failure;
mod head;
mod stream;
mod upload;
mod windows;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::sync::Notify;

use weir_config::cluster::Http2Options;
use weir_config::head::http2::list_limit;

use super::counted::Counted;
use super::lane::ConnectionPermit;
use super::socket::Socket;
use super::transport::{Transport, TransportKey};
use crate::exchange::Ends;
use crate::exchange::failure::FailureKind;
use crate::io::http2::frames::{Frames, PREFACE};
use crate::io::http2::keepalive::Keepalive;
use crate::io::http2::watched::Watched;
use crate::stats::cluster::Tally;
use crate::stats::http2::Traffic;
use ahead::Ahead;
pub use failure::was_given_up;
pub use head::{answer, request};
pub use stream::{OpenEnded, StreamGuard};
use windows::{Watcher, Windows};

/// Streams of a connection at once, where the cluster does not say. More requests than that share several connections, so that
/// the windows of all streams together are not more than what one connection may make us hold.
const STREAMS: usize = 100;
/// What waits on one stream for an instance that does not read.
const UNSENT: usize = 64 << 10;

/// So many streams that were given up are remembered, and so long: clients that go away are many, and instances far away.
const RESETS_REMEMBERED: usize = 1024;
const RESET_REMEMBERED: Duration = Duration::from_secs(30);
/// So long a head may be before its connection ends, and not only its stream: the library cannot pass over a longer one.
const LONGEST_HEAD: u32 = 1 << 20;

/// So many streams are opened before the other side has said how many it takes.
const FIRST_STREAMS: usize = 100;
/// An instance says at once what it takes. Whoever waits for that does not wait for ever.
const SETTINGS_PATIENCE: Duration = Duration::from_secs(15);

/// A connection that takes requests.
#[derive(Clone)]
pub struct Http2Connection {
    /// The way to it. Once nobody has one, and no stream is left, the connection ends.
    sender: RefCell<SendRequest<Bytes>>,
    /// Which requests it may carry.
    pub key: TransportKey,
    /// Our address.
    pub local: SocketAddr,
    /// What was shown in its TLS handshake.
    pub ends: Option<Arc<Ends>>,
    /// Since when it is open.
    pub opened: Instant,
    shared: Rc<Shared>,
}

type Driven = Connection<Watched<Socket, Watcher>, Bytes>;

/// What all who use a connection share.
struct Shared {
    streams: Cell<usize>,
    /// The way to it, as long as there are streams: it knows why the connection ends.
    in_use: RefCell<Option<SendRequest<Bytes>>>,
    /// How many requests it has carried.
    carried: Cell<u32>,
    /// How many streams it takes at once.
    limit: Cell<usize>,
    /// How many we send it at the most.
    most: usize,
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
    ) -> Result<Self, FailureKind> {
        let local = stream.local_address().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let ends = stream.ends();
        let most = options.max_concurrent_streams.map_or(STREAMS, |most| most as usize);
        let (windows, traffic) = (Windows::new(), Rc::new(Traffic::default()));
        let watcher = Watcher::new(windows.clone(), traffic.clone(), tally.clone());
        let watched = Watched::new(Socket::new(stream), Frames::default(), Frames::behind(PREFACE.len()), watcher);
        let ahead = Ahead::new(options.windows);
        let (sender, mut connection) = builder(options, most, &ahead).handshake(watched).await.map_err(|error| failure::kind(&error))?;
        let keepalive = options.keepalive.and_then(|policy| Some(Keepalive::new(policy, connection.ping_pong()?)));
        let now = Instant::now();
        let shared = Rc::new(Shared {
            streams: Cell::default(),
            in_use: RefCell::default(),
            carried: Cell::default(),
            limit: Cell::new(connection.max_concurrent_send_streams().min(most)),
            most,
            windows,
            idle_since: Cell::new(now),
            closed: Cell::default(),
            misunderstood: Cell::default(),
            counted: RefCell::new(Some((Counted::new(tally.clone()), permit))),
            tally,
            freed,
        });
        tokio::task::spawn_local(drive(connection, keepalive, ahead, shared.clone(), traffic));
        Ok(Self { sender: RefCell::new(sender), key, local, ends, opened: now, shared })
    }

    /// Whether it is open, and the other side has not said that it takes no more.
    pub fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.shared.closed.get() && !matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Whether it takes one more stream now.
    pub fn has_room(&self) -> bool {
        if !self.is_open() {
            return false;
        }
        let Shared { streams, limit, most, .. } = &*self.shared;
        limit.set(self.sender.borrow().current_max_send_streams().min(*most));
        streams.get() < limit.get()
    }

    /// Whether it takes streams of other protocols (RFC 8441): that is known once it has said what it takes.
    async fn takes_connect(&self) -> bool {
        tokio::time::timeout(SETTINGS_PATIENCE, self.shared.windows.agreed()).await.is_ok()
            && self.sender.borrow().is_extended_connect_protocol_enabled()
    }

    /// How many streams it takes at once.
    pub fn room(&self) -> usize {
        self.shared.limit.get()
    }

    /// Whether it has no streams.
    pub fn is_unused(&self) -> bool {
        self.shared.streams.get() == 0
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
        let Shared { streams, in_use, carried, counted, .. } = &*self.shared;
        if streams.get() == 0 {
            *in_use.borrow_mut() = Some(self.sender.borrow().clone());
        }
        carried.set(carried.get().saturating_add(1));
        streams.set(streams.get() + 1);
        if let Some((counted, _)) = &mut *counted.borrow_mut() {
            counted.begin();
        }
        StreamGuard::new(self.shared.clone())
    }
}

fn builder(options: Http2Options, most: usize, ahead: &Ahead) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(FIRST_STREAMS)
        .initial_window_size(ahead.of_stream())
        .initial_connection_window_size(ahead.of_connection(most))
        .max_send_buffer_size(UNSENT)
        // What still comes on a stream that was given up is no fault of the instance: it could not know yet.
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .reset_stream_duration(RESET_REMEMBERED)
        .max_local_error_reset_streams(None)
        .max_header_list_size(list_limit(options.max_header_bytes, options.max_headers).max(LONGEST_HEAD));
    builder
}

/// Drives a connection to its end. One that gives no sign of life is let go.
async fn drive(mut connection: Driven, mut keepalive: Option<Keepalive>, mut ahead: Ahead, shared: Rc<Shared>, traffic: Rc<Traffic>) {
    let result = poll_fn(|cx| {
        if keepalive.as_mut().is_some_and(|keepalive| keepalive.poll(cx).is_ready()) {
            return Poll::Ready(None);
        }
        // While the last settings are not acted upon, no others can be told.
        ahead.settle(shared.streams.get(), |window| connection.set_initial_window_size(window).is_ok());
        Pin::new(&mut connection).poll(cx).map(Some)
    });
    match result.await {
        Some(result) => shared.end(result, &traffic),
        None => shared.let_go(),
    }
    // Only now are those told of the end who wait for an answer.
    drop(connection);
}

impl Shared {
    /// It gave no sign of life.
    fn let_go(&self) {
        self.close();
        self.tally.http2.keepalive_timeout.add(1);
    }

    fn close(&self) {
        self.closed.set(true);
        self.windows.agree();
    }

    /// The connection has ended.
    fn end(&self, result: Result<(), h2::Error>, traffic: &Traffic) {
        self.close();
        // What came first of all that went wrong; that the other side then closes the connection is only what follows.
        let first = self.in_use.borrow_mut().as_mut().map(|sender| sender.poll_ready(&mut Context::from_waker(Waker::noop())));
        let first = match first {
            Some(Poll::Ready(Err(error))) => Some(error),
            _ => result.err(),
        };
        let Some(error) = first else { return };
        traffic.note_end(&error, &self.tally.http2);
        tracing::debug!(%error, "an HTTP/2 connection to an instance ended");
        let Some((mut counted, _permit)) = self.counted.borrow_mut().take() else { return };
        if failure::is_misunderstood(&error) {
            self.misunderstood.set(true);
            self.tally.cx_protocol_error.add(1);
            // Each stream was reset before.
            counted.finish_all();
        } else {
            counted.ended_by_peer();
        }
    }
}
