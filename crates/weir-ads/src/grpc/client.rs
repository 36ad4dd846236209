//! Opens an ADS stream to a server over gRPC.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic_prost::ProstCodec;
use tower_service::Service;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};

use super::listener::{open_path, socket_path};
use super::{DELTA, MAX_MESSAGE, STATE};
use crate::certificates::{self, IstioCertificateRequest, IstioCertificateResponse};
use crate::shown::Token;
use crate::stream::{self, ClientStream, Protocol, Request, Response};

/// How long a server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long word of a change may take: the authority waits until there is one, but not so long.
pub const CHANGES_TIMEOUT: Duration = Duration::from_secs(25);
/// A silent server is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why no stream could be opened, or why one ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody accepts there.
    #[error("cannot connect to the xDS server {0}: {1}")]
    Connect(String, std::io::Error),
    /// Somebody accepts who speaks something else.
    #[error("the xDS server {0} does not speak HTTP/2: {1}")]
    Http(String, hyper::Error),
    /// The server refuses.
    #[error("the xDS server {0} refused: {1}")]
    Refused(String, tonic::Status),
}

/// Connects to `server` (`host:port` or `unix:PATH`) and opens a stream. It ends, at both channels, when the connection does.
///
/// # Errors
/// If that cannot be done within a few seconds.
pub async fn connect(server: &str, protocol: Protocol) -> Result<ClientStream, Error> {
    Ok(stream_over(open(server).await?, server, protocol))
}

/// A stream over a connection that somebody has opened already.
fn stream_over(opened: Opened, server: &str, protocol: Protocol) -> ClientStream {
    let opened = Opened { channel: opened.channel.max_decoding_message_size(MAX_MESSAGE), ..opened };
    let (client, requests, responses) = stream::client();
    let server = server.to_owned();
    tokio::spawn(async move {
        let ended = match protocol {
            Protocol::Delta => delta(opened, requests, responses).await,
            Protocol::StateOfTheWorld => state(opened, requests, responses).await,
        };
        if let Err(status) = ended {
            tracing::warn!(error = %Error::Refused(server, status), "an xDS stream ended");
        }
    });
    client
}

/// Asks the authority at `server` for a certificate, or for word of when it would be another one.
///
/// # Errors
/// If it cannot be reached, or refuses.
pub async fn create_certificate(server: &str, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, Error> {
    certify_over(open(server).await?, server, request).await
}

async fn certify_over(opened: Opened, server: &str, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, Error> {
    let patience = if request.known().is_some() { CHANGES_TIMEOUT } else { CONNECT_TIMEOUT };
    let Opened { mut channel, token } = opened;
    let _ = channel.ready().await;
    let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
    let call = channel.unary(with_token(request, token), PathAndQuery::from_static(certificates::CREATE), codec);
    let late = |_| Err(tonic::Status::deadline_exceeded("no answer"));
    let answered = tokio::time::timeout(patience, call).await.unwrap_or_else(late);
    answered.map(tonic::Response::into_inner).map_err(|status| Error::Refused(server.to_owned(), status))
}

/// A connection to a server that somebody else has opened, as one by TLS is, and the token that is shown there.
pub struct Connection<'s, S> {
    /// The connection.
    pub socket: S,
    /// The server, as errors name it.
    pub server: &'s str,
    /// The token.
    pub token: Option<&'s Token>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<'_, S> {
    /// Opens a stream, as [`connect`] does.
    ///
    /// # Errors
    /// If who is there does not speak HTTP/2.
    pub async fn connect(self, protocol: Protocol) -> Result<ClientStream, Error> {
        let server = self.server;
        Ok(stream_over(self.speak().await?, server, protocol))
    }

    /// Asks for a certificate, as [`create_certificate`] does.
    ///
    /// # Errors
    /// If who is there refuses.
    pub async fn create_certificate(self, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, Error> {
        let server = self.server;
        certify_over(self.speak().await?, server, request).await
    }

    async fn speak(self) -> Result<Opened, Error> {
        let sender = speak(self.server, self.socket).await?;
        let token = self.token.and_then(|token| MetadataValue::try_from(token.to_header()).ok());
        let token = token.map(|mut token: MetadataValue<Ascii>| {
            token.set_sensitive(true);
            token
        });
        Ok(Opened { channel: Grpc::with_origin(Channel(sender), origin(Scheme::HTTPS, self.server)), token })
    }
}

/// A connection that speaks gRPC.
struct Opened {
    channel: Grpc<Channel>,
    /// What each call shows.
    token: Option<MetadataValue<Ascii>>,
}

fn with_token<M>(message: M, token: Option<MetadataValue<Ascii>>) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token);
    }
    request
}

/// Opens a connection.
async fn open(server: &str) -> Result<Opened, Error> {
    let failed = |error| Error::Connect(server.to_owned(), error);
    let sender = match socket_path(server) {
        Some(path) => speak(server, in_time(open_path(path)).await.map_err(failed)?).await?,
        None => {
            let socket = in_time(TcpStream::connect(server)).await.map_err(failed)?;
            socket.set_nodelay(true).map_err(failed)?;
            speak(server, socket).await?
        }
    };
    Ok(Opened { channel: Grpc::with_origin(Channel(sender), origin(Scheme::HTTP, server)), token: None })
}

async fn in_time<T>(connecting: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let timeout = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timeout()))
}

/// Speaks HTTP/2 on a new connection, for as long as that lives.
async fn speak(server: &str, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<SendRequest<Body>, Error> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).keep_alive_while_idle(true).adaptive_window(true);
    let (sender, connection) = http.handshake(TokioIo::new(socket)).await.map_err(|error| Error::Http(server.to_owned(), error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the xDS server ended");
        }
    });
    Ok(sender)
}

fn origin(scheme: Scheme, server: &str) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Authority::try_from(server).ok().or_else(|| Authority::try_from("xds").ok());
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or_default()
}

macro_rules! run {
    ($name:ident, $variant:ident, $method:expr, $request:ty, $response:ty) => {
        async fn $name(opened: Opened, requests: mpsc::Receiver<Request>, to_client: mpsc::Sender<Response>) -> Result<(), tonic::Status> {
            let requests = ReceiverStream::new(requests).filter_map(|request| match request {
                Request::$variant(request) => Some(request),
                _ => None,
            });
            let Opened { mut channel, token } = opened;
            let _ = channel.ready().await;
            let codec = ProstCodec::<$request, $response>::default();
            let call = channel.streaming(with_token(requests, token), PathAndQuery::from_static($method), codec);
            let mut responses = call.await?.into_inner();
            while let Some(response) = responses.message().await? {
                if to_client.send(Response::$variant(response)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
    };
}

run!(delta, Delta, DELTA, DeltaDiscoveryRequest, DeltaDiscoveryResponse);
run!(state, State, STATE, DiscoveryRequest, DiscoveryResponse);

/// One HTTP/2 connection as tonic wants it.
#[derive(Clone)]
pub struct Channel(SendRequest<Body>);

impl Channel {
    /// Of a connection.
    pub fn new(sender: SendRequest<Body>) -> Self {
        Self(sender)
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
