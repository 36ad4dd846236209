//! A client's connection of HTTP/2: how much it may ask for at once, and how much may wait for it.

use std::rc::Rc;

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::HttpRuntime;
use super::connection::{Failed, LastCall, run, service};
use super::control::Control;
use crate::exchange::ConnectionInfo;
use crate::io::executor::LocalExecutor;

/// What a client may send ahead on one stream, and on all streams of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams of a connection, where the configuration does not say.
const MAX_STREAMS: u32 = 1024;

/// Serves a connection that speaks HTTP/2, to its end.
pub(super) async fn serve_http2<S>(stream: S, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: &Rc<Control>) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(http.config.max_concurrent_streams.unwrap_or(MAX_STREAMS))
        .max_header_list_size(u32::try_from(http.config.max_header_bytes).unwrap_or(u32::MAX));
    let connection = builder.serve_connection(TokioIo::new(stream), service(info, http, control.clone()));
    // A GOAWAY tells which requests count: no need to wait for any.
    run(connection, control, LastCall::Over, |connection| connection.graceful_shutdown()).await.map_err(Into::into)
}
