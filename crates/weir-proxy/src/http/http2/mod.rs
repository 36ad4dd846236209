//! A client's connection of HTTP/2: how much it may ask for at once, and how much may wait for it.

mod extended_connect;
mod head;
mod stream;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use weir_config::head::http2::list_limit;
use weir_config::http::HttpConfig;

use super::HttpRuntime;
use super::connection::Failed;
use super::control::{Control, LastCall};
use crate::exchange::ConnectionInfo;
use crate::io::http2::flood::Budget;
use crate::io::http2::frames::{Frame, Frames, PREFACE};
use crate::io::http2::keepalive::Keepalive;
use crate::io::http2::queue::Queue;
use crate::io::http2::watched::{Watch, Watched};
use crate::stats::http2::{Http2Stats, Traffic};

/// What a client may send ahead on one stream: what an instance that does not read makes us hold.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same on all streams of a connection. So many uploads that nobody reads (64) hold up the client's other ones, and nobody
/// else's; more would let one connection take more memory.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What waits on one stream for a client that does not read.
const UNSENT: usize = 64 << 10;
/// Streams of a connection, where the configuration does not say; as many as with Envoy.
const MAX_STREAMS: u32 = 1024;
/// So many streams may be reset before they could even be looked at; a browser that leaves a page resets all that it has asked for.
const RESETS_UNSEEN: usize = 100;

/// So many streams that were given up are remembered, and so long.
const RESETS_REMEMBERED: usize = 2 * MAX_STREAMS as usize;
const RESET_REMEMBERED: Duration = Duration::from_secs(10);
/// So long a connection that is told to finish may take to agree; Envoy's `drain_timeout`.
const FAREWELL: Duration = Duration::from_secs(5);
/// When it still has streams then, it is looked at again so often.
const AGAIN: Duration = Duration::from_secs(1);

/// What the streams of a connection share.
struct Server {
    info: Rc<ConnectionInfo>,
    http: Rc<HttpRuntime>,
    control: Rc<Control>,
    stats: Arc<Http2Stats>,
    queue: Rc<Queue>,
}

/// Serves a connection that speaks HTTP/2, to its end.
///
/// # Errors
/// If it breaks off, or against the rules.
pub(super) async fn serve_http2<S>(stream: S, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: Rc<Control>) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stats = http.clusters.shared.http2.clone();
    let traffic = Rc::new(Traffic::default());
    let queue = Rc::<Queue>::default();
    let watcher = Watcher::new(traffic.clone(), stats.clone(), control.clone(), queue.clone());
    let server = Server { info, http, control, stats, queue };
    let stream = Watched::new(stream, Frames::behind(PREFACE.len()), Frames::default(), watcher);
    let Some(mut connection) = Box::pin(server.greet(stream)).await? else { return Ok(()) };
    Ok(server.serve(&mut connection).await.inspect_err(|error| traffic.note_end(error, &server.stats))?)
}

fn builder(config: &HttpConfig) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(config.http2_windows.stream.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(config.http2_windows.connection.unwrap_or(CONNECTION_WINDOW))
        .max_send_buffer_size(UNSENT)
        .max_concurrent_streams(config.max_concurrent_streams.unwrap_or(MAX_STREAMS))
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        // What still comes on a stream that was given up is no fault of the client: it could not know yet. What is, has its cost
        // with all else that wastes our time.
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .reset_stream_duration(RESET_REMEMBERED)
        .max_local_error_reset_streams(None)
        .max_header_list_size(list_limit(config.max_header_bytes, config.max_headers));
    if config.extended_connect {
        builder.enable_connect_protocol();
    }
    builder
}

impl Server {
    /// Waits for a client's first words; none if the connection is to end before.
    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Option<Connection<S, Bytes>>, h2::Error> {
        let mut handshake = builder(&self.http.config).handshake(stream);
        let mut last_call = LastCall::Over;
        poll_fn(|cx| match Pin::new(&mut handshake).poll(cx) {
            Poll::Ready(connection) => Poll::Ready(connection.map(Some)),
            Poll::Pending if last_call.is_over(&self.control, cx) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Takes streams until the connection ends. When it is told to finish, it takes no more.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, connection: &mut Connection<S, Bytes>) -> Result<(), h2::Error> {
        let mut keepalive = self.http.config.http2_keepalive.and_then(|policy| Some(Keepalive::new(policy, connection.ping_pong()?)));
        // A GOAWAY tells which requests count: no need to wait for any.
        let mut last_call = LastCall::Over;
        // When a client that does not answer the farewell is left.
        let mut farewell: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            loop {
                if farewell.is_none() && last_call.is_over(&self.control, cx) {
                    farewell = Some(Box::pin(sleep(FAREWELL)));
                    connection.graceful_shutdown();
                }
                if keepalive.as_mut().is_some_and(|keepalive| keepalive.poll(cx).is_ready()) {
                    self.stats.keepalive_timeout.add(1);
                    return self.leave(connection, cx);
                }
                while let Some(Poll::Ready(())) = farewell.as_mut().map(|farewell| farewell.as_mut().poll(cx)) {
                    if !connection.has_streams() {
                        return self.leave(connection, cx);
                    }
                    farewell = Some(Box::pin(sleep(AGAIN)));
                }
                if self.control.head_is_late.replace(false) {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                match ready!(connection.poll_accept(cx)) {
                    Some(Ok((request, respond))) => stream::begin(self, request, respond),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }
}

impl Server {
    /// Says so and goes, whether the client takes it or not.
    fn leave<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        connection.abrupt_shutdown(Reason::NO_ERROR);
        // What can be written at once, is.
        let _ = connection.poll_closed(cx);
        Poll::Ready(Ok(()))
    }
}

/// Looks at the frames of a client's connection, and ends it if they waste our time.
struct Watcher {
    budget: Budget,
    traffic: Rc<Traffic>,
    stats: Arc<Http2Stats>,
    control: Rc<Control>,
    queue: Rc<Queue>,
    /// The last frame that came.
    last: Option<Frame>,
}

impl Watcher {
    fn new(traffic: Rc<Traffic>, stats: Arc<Http2Stats>, control: Rc<Control>, queue: Rc<Queue>) -> Self {
        Self { budget: Budget::of_client(), traffic, stats, control, queue, last: None }
    }
}

impl Watch for Watcher {
    fn heard(&mut self, frame: Frame) -> io::Result<()> {
        self.last = Some(frame);
        self.queue.heard(frame);
        self.traffic.heard(frame, &self.stats);
        self.budget.hear(frame).inspect_err(|_| self.traffic.note_flood(&self.stats))
    }

    /// Notes since when the head of a request has begun and is not complete.
    fn rests(&mut self, is_whole: bool) {
        let is_begun = self.last.is_some_and(|last| last.is_of_head() && !(last.ends_head() && is_whole));
        let since = &self.control.head_since;
        if is_begun != since.get().is_some() {
            since.set(is_begun.then(Instant::now));
        }
    }

    fn said(&mut self, frame: Frame) {
        self.traffic.said(frame, &self.stats);
        self.budget.say(frame);
        self.queue.said(frame);
    }

    fn has_said(&mut self) -> io::Result<()> {
        self.budget.holds().inspect_err(|_| self.traffic.note_flood(&self.stats))
    }

    fn is_taken(&mut self, taken: bool) {
        let since = &self.control.stalled_since;
        match (taken, since.get()) {
            (true, Some(_)) => since.set(None),
            (false, None) => since.set(Some(Instant::now())),
            _ => {}
        }
    }
}
