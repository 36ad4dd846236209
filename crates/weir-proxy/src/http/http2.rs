//! A client's connection of HTTP/2: how much it may ask for at once, and how much may wait for it.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use weir_config::head::http2::list_limit;
use weir_config::http::Http2Keepalive;

use super::HttpRuntime;
use super::connection::{Failed, run, service};
use super::control::{Control, LastCall};
use super::extended_connect;
use crate::exchange::ConnectionInfo;
use crate::io::executor::LocalExecutor;
use crate::io::flood::Budget;
use crate::io::frames::{Frame, Frames, PREFACE};
use crate::io::watched::{Watch, Watched};

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
/// So many streams of a connection may break the rules, each of which we answer with a reset.
const RESETS_FOR_ERRORS: usize = 256;

/// Serves a connection that speaks HTTP/2, to its end.
pub(super) async fn serve_http2<S>(stream: S, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: &Rc<Control>) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http2::Builder::new(LocalExecutor);
    let config = &http.config;
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(UNSENT)
        .max_concurrent_streams(config.max_concurrent_streams.unwrap_or(MAX_STREAMS))
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(RESETS_FOR_ERRORS)
        .max_header_list_size(list_limit(config.max_header_bytes, config.max_headers));
    if let Some(Http2Keepalive { interval, timeout }) = config.http2_keepalive {
        builder.timer(TokioTimer::new()).keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    if config.extended_connect {
        builder.enable_connect_protocol();
    }
    let stream = Watched::new(stream, Frames::behind(PREFACE.len()), Frames::default(), Wasted(Budget::of_client()));
    let handle = service(info, http, control.clone());
    let connection = builder.serve_connection(
        TokioIo::new(stream),
        service_fn(move |mut request| {
            let extended = extended_connect::take(&mut request);
            let answer = handle.call(request);
            async move {
                let mut answer = answer.await?;
                if extended {
                    extended_connect::settle(&mut answer);
                }
                Ok::<_, Infallible>(answer)
            }
        }),
    );
    // A GOAWAY tells which requests count: no need to wait for any.
    run(connection, control, LastCall::Over, |connection| connection.graceful_shutdown()).await.map_err(Into::into)
}

/// Ends the connection of a client that wastes our time.
struct Wasted(Budget);

impl Watch for Wasted {
    fn heard(&mut self, frame: Frame) -> io::Result<()> {
        self.0.hear(frame)
    }

    fn said(&mut self, frame: Frame) {
        self.0.say(frame);
    }
}
