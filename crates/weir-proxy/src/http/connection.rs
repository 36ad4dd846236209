//! A client's HTTP connection: HTTP/1.1 or HTTP/2, as it begins.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use weir_config::http::{Codec, HttpConfig, LetterCase};

use super::HttpRuntime;
use super::body::ResponseBody;
use super::control::Control;
use super::handle::handle;
use super::http2::serve_http2;
use crate::exchange::ConnectionInfo;
use crate::io::frames::PREFACE;
use crate::io::line::{Line, LineStream};
use crate::io::prefixed::Prefixed;

/// The limits of headers that hyper has without being told; telling it the same costs an allocation.
const USUAL_MAX_HEADERS: usize = 100;

/// Serves a connection to its end. `alpn` is what was agreed on in its TLS handshake.
pub async fn serve<S>(stream: S, alpn: Option<Vec<u8>>, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: Rc<Control>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let result = match (http.config.codec, alpn.as_deref()) {
        (Codec::Http2, _) | (Codec::Auto, Some(b"h2")) => Box::pin(serve_http2(stream, info, http, &control)).await,
        (Codec::Http1, _) | (Codec::Auto, Some(_)) => serve_http1(stream, info, http, &control).await,
        (Codec::Auto, None) => match detect(stream, &control).await {
            Ok(Detected::Http2(stream)) => Box::pin(serve_http2(stream, info, http, &control)).await,
            Ok(Detected::Http1(stream)) => serve_http1(stream, info, http, &control).await,
            Ok(Detected::Nothing) => return,
            Err(error) => Err(error.into()),
        },
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a client's connection ended");
    }
}

pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

enum Detected<S> {
    Http1(Prefixed<S>),
    Http2(Prefixed<S>),
    /// It ended before it said anything, or is to.
    Nothing,
}

/// Reads until it is clear whether the connection begins with HTTP/2's preface.
async fn detect<S: AsyncRead + Unpin>(mut stream: S, control: &Control) -> io::Result<Detected<S>> {
    // Nothing is held for a connection that says nothing.
    let mut read = BytesMut::new();
    loop {
        if read.len() >= PREFACE.len() && read.starts_with(PREFACE) {
            return Ok(Detected::Http2(Prefixed::new(read.freeze(), stream)));
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Detected::Http1(Prefixed::new(read.freeze(), stream)));
        }
        match read_some(&mut stream, control).await? {
            Some(bytes) => read.extend_from_slice(&bytes),
            None => return Ok(Detected::Nothing),
        }
    }
}

/// Reads what is there; none at the end of the stream, or when the connection is to end.
async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, control: &Control) -> io::Result<Option<Bytes>> {
    let mut last_call = LastCall::default();
    poll_fn(|cx| {
        // Not a part of the connection, which would hold it as long as it lives.
        let mut buffer = [0; 2048];
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Ready(read) => {
                let bytes = buffer.filled();
                Poll::Ready(read.map(|()| (!bytes.is_empty()).then(|| Bytes::copy_from_slice(bytes))))
            }
            Poll::Pending if last_call.is_over(control, cx) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(super) fn service(
    info: Rc<ConnectionInfo>,
    http: Rc<HttpRuntime>,
    control: Rc<Control>,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible> {
    service_fn(move |request| {
        control.last_request.set(Some(Instant::now()));
        count(&control, &http.config);
        let (http, info, control) = (http.clone(), info.clone(), control.clone());
        async move {
            let is_http1 = request.version() < Version::HTTP_2;
            let mut response: Response<ResponseBody> = handle(http, info, control.clone(), request).await;
            if is_http1 && control.is_finishing() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    })
}

/// Counts a request; a connection that may carry no more is told to end.
fn count(control: &Control, config: &HttpConfig) {
    let count = control.requests.get().saturating_add(1);
    control.requests.set(count);
    if config.max_requests_per_connection.is_some_and(|most| count >= most) {
        control.finish();
    }
}

async fn serve_http1<S>(stream: S, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: &Rc<Control>) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    // Idle connections are ended by the worker's sweep, which costs a request nothing.
    builder.header_read_timeout(None).allow_multiple_spaces_in_request_line_delimiters(true);
    configure_http1(&mut builder, &http.config);
    let line = Arc::new(Line::default());
    let stream = LineStream::new(stream, line.clone(), http.config.delayed_close);
    // Nobody else has set it: a connection speaks one protocol.
    let _ = control.line.set(line);
    let service = service(info, http, control.clone());
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let finish = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| connection.graceful_shutdown();
    run(connection, control, LastCall::default(), finish).await.map_err(Into::into)
}

fn configure_http1(builder: &mut http1::Builder, config: &HttpConfig) {
    if config.max_headers != USUAL_MAX_HEADERS {
        builder.max_headers(config.max_headers);
    }
    builder.max_header_size(config.max_header_bytes);
    match config.letter_case {
        LetterCase::Lower => {}
        LetterCase::Proper => drop(builder.title_case_headers(true)),
        LetterCase::Preserve => drop(builder.preserve_header_case(true)),
    }
}

/// How long a connection that is told to finish waits for a request that may be on its way: HTTP/1.1 knows no other
/// way to say that no more are welcome than the answer to one. Whoever has been silent for longer is not waited for.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Waits for the last request of a connection that is told to finish.
#[derive(Default)]
pub(super) enum LastCall {
    #[default]
    NotYet,
    Until(Pin<Box<Sleep>>),
    Over,
}

impl LastCall {
    /// Whether the connection is told to finish and nothing is on its way. Wakes when this may change.
    fn is_over(&mut self, control: &Control, cx: &mut Context<'_>) -> bool {
        control.watch(cx.waker());
        if !control.is_finishing() {
            return false;
        }
        if let Self::NotYet = self {
            let last = control.last_request.get().unwrap_or_else(Instant::now);
            *self = Self::Until(Box::pin(sleep_until((last + LAST_CALL).into())));
        }
        if let Self::Until(sleep) = self
            && sleep.as_mut().poll(cx).is_ready()
        {
            *self = Self::Over;
        }
        matches!(self, Self::Over)
    }
}

/// Runs a connection; when it is told to finish, it takes no more requests after the last call.
pub(super) async fn run<C, E>(connection: C, control: &Control, mut last_call: LastCall, finish: impl Fn(Pin<&mut C>)) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    let mut finishing = false;
    poll_fn(|cx: &mut Context<'_>| {
        if !finishing && last_call.is_over(control, cx) {
            finishing = true;
            finish(connection.as_mut());
        }
        connection.as_mut().poll(cx)
    })
    .await
}
