//! Accepts ADS streams over gRPC.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request as HttpRequest};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use super::body::Responses;
use super::listener::{Accepted, Listener};
use super::requests::Requests;
use super::{DELTA, STATE};
use crate::stream::{self, Peer, Protocol, Request, ServerStream};

/// A silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// So much may be written for a client that does not read it.
const UNREAD: usize = 64 << 10;

/// Accepts connections until the task is dropped; each ADS stream on them is given to `serve`.
///
/// # Errors
/// If the listener fails for good.
pub async fn accept(listener: impl Into<Listener>, streams: mpsc::Sender<ServerStream>) -> io::Result<()> {
    let listener = listener.into();
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of descriptors, most likely: those in use must be closed first.
                tracing::warn!(%error, "cannot accept an xDS connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (streams, peer) = (streams.clone(), accepted.peer());
        match accepted {
            Accepted::Tcp(socket) | Accepted::Untrusted(socket) => drop(tokio::spawn(serve(socket, peer, streams))),
            Accepted::Unix(socket) => drop(tokio::spawn(serve(socket, peer, streams))),
        }
    }
}

/// Serves a connection to its end.
async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, streams: mpsc::Sender<ServerStream>) {
    let service = service_fn(move |request| answer(request, peer, streams.clone()));
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).adaptive_window(true).max_send_buf_size(UNREAD);
    if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
        tracing::debug!(%error, "an xDS connection ended");
    }
}

/// Errors of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

async fn answer(
    request: HttpRequest<Incoming>,
    peer: Peer,
    streams: mpsc::Sender<ServerStream>,
) -> Result<http::Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        DELTA => open(Protocol::Delta, peer, request, &streams, Request::Delta).await,
        STATE => open(Protocol::StateOfTheWorld, peer, request, &streams, Request::State).await,
        path => Status::unimplemented(format!("no such method: {path}")).into_http(),
    })
}

/// Opens a stream: its requests are read as they come, its responses written as the client takes them.
async fn open<M: prost::Message + Default + 'static>(
    protocol: Protocol,
    peer: Peer,
    request: HttpRequest<Incoming>,
    streams: &mpsc::Sender<ServerStream>,
    wrap: fn(M) -> Request,
) -> http::Response<Body> {
    let (server, requests, pushes) = stream::server(protocol, peer);
    if streams.send(server).await.is_err() {
        return Status::unavailable("the server is shutting down").into_http();
    }
    let mut incoming = Requests::new(request.into_body());
    tokio::spawn(async move {
        while let Some(message) = incoming.next().await {
            if requests.send(wrap(message)).await.is_err() {
                break;
            }
        }
    });
    let mut response = http::Response::new(Body::new(Responses::new(pushes)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
