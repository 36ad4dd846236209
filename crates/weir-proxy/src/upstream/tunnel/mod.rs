//! A tunnel through an instance to a host beyond it: asked for by CONNECT, or by a POST whose body and answer are the bytes. Each has
//! a connection of its own.

mod posted;

use std::io;
use std::rc::Rc;

use http::{Method, Request, StatusCode, Uri};
use weir_config::head::Head;
use weir_config::tcp::Tunnel;
use weir_http1::framing;
use weir_http1::header::{self, HeaderValue, Headers};

use posted::Posted;

use super::body::RequestBody;
use super::cluster::ClusterRuntime;
use super::framing::Framed;
use super::http1::{Http1Connection, StillOpen};
use super::http2::{Http2Connection, OpenEnded, StreamGuard};
use super::interim::Interim;
use super::transport::{Transport, TransportKey};
use crate::exchange::failure::{ConnectError, Failure, FailureKind};
use crate::io::client::ByteStream;
use crate::io::http2::bytes::StreamBytes;
use crate::io::response::Parts;

/// A tunnel that is open, and what counts as long as it is.
pub struct Open {
    /// Its bytes.
    pub stream: Box<dyn ByteStream>,
    /// What is given back when it has ended.
    pub _held: Held,
}

/// What a tunnel takes of its cluster.
#[expect(dead_code, reason = "given back when they are dropped")]
pub enum Held {
    Http1(StillOpen),
    Http2(StreamGuard, Http2Connection),
}

/// Asks for a tunnel on a new connection.
///
/// # Errors
/// If the instance does not agree.
pub async fn open(tunnel: &Tunnel, cluster: &ClusterRuntime, stream: Transport, key: &TransportKey, http2: bool) -> Result<Open, Failure> {
    if http2 { by_http2(tunnel, cluster, stream, key).await } else { by_http1(tunnel, cluster, stream, key).await }
}

async fn by_http1(tunnel: &Tunnel, cluster: &ClusterRuntime, stream: Transport, key: &TransportKey) -> Result<Open, Failure> {
    let head = head(tunnel)?;
    let mut connection = Http1Connection::open(stream, key.clone(), cluster.policy().http1, cluster.tally(), None);
    let framed = if tunnel.post.is_some() { Framed::Chunks } else { Framed::Nothing };
    let mut interim = Interim::default();
    let answered = connection.send(&head, RequestBody::empty(), framed, &mut interim).await;
    let Parts { status, headers, .. } = answered.map_err(|error| Failure::from(error.kind))?;
    agrees(status)?;
    let length = framing::of_answer(&head.method, status, &headers);
    let (bytes, held) = connection.into_stream();
    let stream: Box<dyn ByteStream> = match &tunnel.post {
        None => Box::new(bytes),
        Some(_) => Box::new(Posted::new(bytes, length.map_err(|_| Failure::from(FailureKind::Protocol))?)),
    };
    Ok(Open { stream, _held: Held::Http1(held) })
}

async fn by_http2(tunnel: &Tunnel, cluster: &ClusterRuntime, stream: Transport, key: &TransportKey) -> Result<Open, Failure> {
    let request = request(tunnel).ok_or(Failure::from(FailureKind::Unsendable))?;
    let freed = Rc::default();
    let connection = Http2Connection::open(stream, key.clone(), cluster.policy().http2, cluster.tally(), None, freed).await?;
    let mut guard = connection.stream();
    let mut interim = Interim::default();
    let answered = guard.send(&connection, request, RequestBody::empty(), &mut interim).await;
    let answer = answered.map_err(|error| Failure::from(error.kind))?;
    agrees(answer.status())?;
    let sending = guard.take_upload().and_then(|upload| upload.into_stream()).ok_or(Failure::from(FailureKind::Closed))?;
    let bytes = StreamBytes::new(answer.into_body(), sending, Rc::default());
    Ok(Open { stream: Box::new(bytes), _held: Held::Http2(guard, connection) })
}

/// Whether the instance has opened it.
fn agrees(status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let refused = io::Error::other(format!("the instance answers {} to the request for a tunnel", status.as_u16()));
    Err(FailureKind::Connect(ConnectError::Refused(refused)).into())
}

/// What is asked by HTTP/1.1.
fn head(tunnel: &Tunnel) -> Result<Head, Failure> {
    let host = HeaderValue::from_str(&tunnel.host).map_err(|_| Failure::from(FailureKind::Unsendable))?;
    let mut headers = Headers::new();
    headers.insert(header::HOST, host);
    let (method, path) = match &tunnel.post {
        None => (Method::CONNECT, &tunnel.host),
        Some(path) => (Method::POST, path),
    };
    Ok(Head { method, path: path.to_string(), headers, ..Head::none() })
}

/// What is asked by HTTP/2; none if it cannot be said.
fn request(tunnel: &Tunnel) -> Option<Request<()>> {
    let uri = Uri::builder().authority(&*tunnel.host);
    let (method, uri) = match &tunnel.post {
        None => (Method::CONNECT, uri.build()),
        Some(path) => (Method::POST, uri.scheme("http").path_and_query(&**path).build()),
    };
    let mut request = Request::builder().method(method).uri(uri.ok()?).version(http::Version::HTTP_2).body(()).ok()?;
    request.extensions_mut().insert(OpenEnded);
    Some(request)
}
