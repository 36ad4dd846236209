//! A client's HTTP connection: HTTP/1.1 or HTTP/2, as it begins.

use std::error::Error;
use std::future::{poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use weir_config::http::Codec;

use super::control::{Control, LastCall};
use super::http2::serve_http2;
use super::{HttpRuntime, http1};
use crate::exchange::ConnectionInfo;
use crate::io::http2::frames::PREFACE;
use crate::io::prefixed::Prefixed;

/// Serves a connection to its end. `alpn` is what was agreed on in its TLS handshake.
pub fn serve<S>(
    stream: S,
    alpn: Option<Vec<u8>>,
    info: Rc<ConnectionInfo>,
    http: Rc<HttpRuntime>,
    control: Rc<Control>,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let detected = Box::pin(detect(stream, http.config.codec, alpn, control.clone()));
    async {
        let serving = match detected.await {
            Ok(detected) => begin(detected, info, http, control),
            Err(error) => return note(&error),
        };
        if let Err(error) = serving.await {
            note(&*error);
        }
    }
}

fn note(error: &(dyn Error + 'static)) {
    tracing::debug!(error, "a client's connection ended");
}

/// Why a connection broke off.
pub(super) type Failed = Box<dyn Error + Send + Sync>;

/// Each protocol has its own room: otherwise every connection takes as much as the largest.
type Serving = Pin<Box<dyn Future<Output = Result<(), Failed>>>>;

fn begin<S>(detected: Detected<S>, info: Rc<ConnectionInfo>, http: Rc<HttpRuntime>, control: Rc<Control>) -> Serving
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match detected {
        Detected::Http2(stream) => Box::pin(serve_http2(stream, info, http, control)),
        Detected::Http1(stream, read) => Box::pin(http1::serve(stream, read, info, http, control)),
        Detected::Nothing => Box::pin(ready(Ok(()))),
    }
}

enum Detected<S> {
    /// With what was read of it.
    Http1(S, BytesMut),
    Http2(Prefixed<S>),
    /// It ended before it said anything, or is to.
    Nothing,
}

/// What a connection speaks. Where nothing says it, it is read until it is clear whether it begins with HTTP/2's preface.
async fn detect<S: AsyncRead + Unpin>(mut stream: S, codec: Codec, alpn: Option<Vec<u8>>, control: Rc<Control>) -> io::Result<Detected<S>> {
    match (codec, alpn.as_deref()) {
        (Codec::Http2, _) | (Codec::Auto, Some(b"h2")) => return Ok(Detected::Http2(Prefixed::new(Bytes::new(), stream))),
        (Codec::Http1, _) | (Codec::Auto, Some(_)) => return Ok(Detected::Http1(stream, BytesMut::new())),
        (Codec::Auto, None) => {}
    }
    // Nothing is held for a connection that says nothing.
    let mut read = BytesMut::new();
    loop {
        if read.len() >= PREFACE.len() && read.starts_with(PREFACE) {
            control.head_since.set(None);
            return Ok(Detected::Http2(Prefixed::new(read.freeze(), stream)));
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Detected::Http1(stream, read));
        }
        match read_some(&mut stream, &control).await? {
            Some(bytes) => {
                read.extend_from_slice(&bytes);
                if control.head_since.get().is_none() {
                    control.head_since.set(Some(Instant::now()));
                }
            }
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
            Poll::Pending if last_call.is_over(control, cx) || control.head_is_late.get() => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
