//! HTTP/2, by the h2 crate: short answers, and gRPC's with trailers.

use anyhow::Context;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::header::{CONTENT_TYPE, DATE, SERVER};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::length;

const GRPC: &str = "application/grpc";
/// A message of gRPC with five bytes, behind its flag and its length.
const MESSAGE: &[u8] = b"\0\0\0\0\x05reply";
/// Windows in which no sender waits.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// Answers until the peer closes.
pub(super) async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut builder = server::Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).max_concurrent_streams(1_000);
    let mut connection = builder.handshake(stream).await.context("HTTP/2")?;
    while let Some(request) = connection.accept().await {
        let Ok((request, respond)) = request else {
            // A proxy that is ended does not say goodbye.
            return Ok(());
        };
        if request.body().is_end_stream() {
            answer(&request, respond)?;
        } else {
            spawn_local(read_and_answer(request, respond));
        }
    }
    Ok(())
}

async fn read_and_answer(mut request: Request<RecvStream>, respond: SendResponse<Bytes>) -> anyhow::Result<()> {
    while let Some(data) = request.body_mut().data().await {
        let length = data?.len();
        request.body_mut().flow_control().release_capacity(length)?;
    }
    request.body_mut().trailers().await?;
    answer(&request, respond)
}

fn answer(request: &Request<RecvStream>, mut respond: SendResponse<Bytes>) -> anyhow::Result<()> {
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| value == GRPC);
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("origin/1.0.0"));
    headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(if is_grpc { GRPC } else { "text/plain" }));
    let mut stream = respond.send_response(response, false)?;
    if is_grpc {
        stream.send_data(Bytes::from_static(MESSAGE), false)?;
        stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from_static("0"))]))?;
    } else {
        stream.send_data(Bytes::from(vec![b'x'; length(request.uri().path())]), true)?;
    }
    Ok(())
}
