//! Accepts ADS streams over gRPC.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request as HttpRequest};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::body::Body;

use super::body::Responses;
use super::listener::{Accepted, Listener};
use super::requests::Requests;
use super::{DELTA, MAX_MESSAGE, MAX_REMOTE_MESSAGE, SECRETS_DELTA, SECRETS_STATE, STATE};
use crate::certificates::{self, Caller, Certificates};
use crate::departure::Departure;
use crate::guard::{Asked, Guard, Guarded, Patience, UnderWay};
use crate::shown::{Shown, Token};
use crate::stream::{self, Peer, Protocol, Request, ServerStream};

/// A silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A request for a certificate holds a key and few words.
const LONGEST_REQUEST: usize = 64 << 10;
/// It comes at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much may be written for a client that does not read it.
const UNREAD: usize = 64 << 10;
/// So long a connection may take to end that was told to.
const GOODBYE: Duration = Duration::from_secs(2);

/// Accepts connections until the task is dropped; each ADS stream on them is given to `serve`.
///
/// # Errors
/// If the listener fails for good.
pub async fn accept(listener: impl Into<Listener>, streams: mpsc::Sender<ServerStream>) -> io::Result<()> {
    serve(listener, Services { ads: Some(streams), ..Services::default() }).await
}

/// What is served to clients.
#[derive(Clone, Default)]
pub struct Services {
    /// ADS: where its streams go.
    pub ads: Option<mpsc::Sender<ServerStream>>,
    /// SDS, the same of secrets alone.
    pub secrets: Option<mpsc::Sender<ServerStream>>,
    /// Certificates, where there is an authority.
    pub certificates: Option<Certificates>,
    /// When clients are to leave.
    pub departure: Departure,
}

/// Lives as long as a connection is served as before. Once it has gone, its streams end.
type Served = watch::Receiver<()>;

/// Accepts connections until the task is dropped.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(listener: impl Into<Listener>, services: Services) -> io::Result<()> {
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
        let (peer, services) = (accepted.peer(), services.clone());
        match accepted {
            Accepted::Tcp(socket) | Accepted::Untrusted(socket) => drop(tokio::spawn(connection(socket, services, peer))),
            Accepted::Unix(socket) => drop(tokio::spawn(connection(socket, services, peer))),
        }
    }
}

/// Serves a connection of this peer until it ends.
pub async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, services: Services, peer: Peer) {
    speak(socket, services, peer, None, std::future::pending()).await;
}

/// Serves a connection by which anybody may come, who shows this, for as long as the patience with it lasts.
pub async fn guarded(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    services: Services,
    shown: Shown,
    guard: Arc<dyn Guard>,
    patience: Patience,
) {
    let guarded = Guarded::new(guard);
    let watched = guarded.clone();
    speak(socket, services, Peer::Tls(Arc::new(shown)), Some(guarded), async move { watched.until_vain(patience).await }).await;
}

/// Serves a connection until it ends, or is to.
async fn speak(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    services: Services,
    peer: Peer,
    guarded: Option<Guarded>,
    is_to_end: impl Future<Output = ()>,
) {
    let who = peer.clone();
    let mut stay = services.departure.enter();
    let (serves, served) = watch::channel(());
    let service = service_fn(move |request| answer(request, services.clone(), peer.clone(), guarded.clone(), served.clone()));
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).adaptive_window(true).max_send_buf_size(UNREAD);
    let serving = http.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(serving);
    let is_to_leave = async {
        tokio::select! {
            () = is_to_end => {}
            () = stay.turn() => drop(serves),
        }
    };
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = is_to_leave => {
            // What is asked from now on is asked somewhere else.
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = ?who, %error, "an xDS connection ended");
    }
}

/// Errors of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

async fn answer(
    request: HttpRequest<Incoming>,
    services: Services,
    peer: Peer,
    guarded: Option<Guarded>,
    served: Served,
) -> Result<http::Response<Body>, Infallible> {
    let peer = with_token(peer, &request);
    let asked = if request.uri().path() == certificates::CREATE { Asked::Certificate } else { Asked::Stream };
    let under_way = match (&guarded, &peer) {
        (Some(guarded), Peer::Tls(shown)) => match guarded.admit(shown, asked).await {
            Ok(under_way) => Some(under_way),
            Err(status) => return Ok(status.into_http()),
        },
        _ => None,
    };
    let caller = Calls { peer, under_way, served };
    let Services { ads, secrets, certificates, departure: _ } = services;
    Ok(match (request.uri().path(), ads, secrets) {
        (DELTA, Some(ads), _) => open(Protocol::Delta, caller, request, &ads, Request::Delta).await,
        (STATE, Some(ads), _) => open(Protocol::StateOfTheWorld, caller, request, &ads, Request::State).await,
        (SECRETS_DELTA, _, Some(secrets)) => open(Protocol::Delta, caller, request, &secrets, Request::Delta).await,
        (SECRETS_STATE, _, Some(secrets)) => open(Protocol::StateOfTheWorld, caller, request, &secrets, Request::State).await,
        (certificates::CREATE, ..) => {
            let Calls { peer, under_way: _under_way, served: _ } = caller;
            certify(request, certificates.zip(Caller::of(peer))).await
        }
        (path, ..) => Status::unimplemented(format!("no such method: {path}")).into_http(),
    })
}

/// The peer with the token of this call. Where others read along none is looked at: who sends one there has given it away.
fn with_token<B>(peer: Peer, request: &HttpRequest<B>) -> Peer {
    let Peer::Tls(shown) = &peer else { return peer };
    let mut all = request.headers().get_all(AUTHORIZATION).iter();
    let token = match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok().and_then(Token::of_header),
        _ => None,
    };
    Peer::Tls(Arc::new(Shown { token, ..(**shown).clone() }))
}

/// Passes a request for a certificate on to the authority.
async fn certify(request: HttpRequest<Incoming>, to: Option<(Certificates, Caller)>) -> http::Response<Body> {
    let Some((to, caller)) = to else { return Status::unimplemented("nobody issues certificates here").into_http() };
    let body = Limited::new(request.into_body(), LONGEST_REQUEST);
    let asked = async {
        Requests::new(body, LONGEST_REQUEST).next().await.ok_or_else(|| Status::invalid_argument("this is no request for a certificate"))
    };
    // Who does not finish asking does not keep the connection's memory for ever.
    let asked = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the request did not come")));
    let answered = match asked {
        Ok(request) => certificates::call(&to, caller, request).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(answer) => super::message::whole(&answer),
        Err(status) => status.into_http(),
    }
}

/// Who calls, by a connection that is served for so long.
struct Calls {
    peer: Peer,
    under_way: Option<UnderWay>,
    served: Served,
}

/// Opens a stream: its requests are read as they come, its responses written as the client takes them.
async fn open<M: prost::Message + Default + 'static>(
    protocol: Protocol,
    Calls { peer, under_way, mut served }: Calls,
    request: HttpRequest<Incoming>,
    streams: &mpsc::Sender<ServerStream>,
    wrap: fn(M) -> Request,
) -> http::Response<Body> {
    let longest = if matches!(peer, Peer::Tls(_)) { MAX_REMOTE_MESSAGE } else { MAX_MESSAGE };
    let (server, requests, pushes, ending) = stream::server(protocol, peer, under_way);
    let why = ending.clone();
    if streams.send(server).await.is_err() {
        return Status::unavailable("the server is shutting down").into_http();
    }
    let mut incoming = Requests::new(request.into_body(), longest);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                message = incoming.next() => message,
                // Nothing is kept of what somebody goes on to say who is refused.
                () = requests.closed() => None,
                // Nobody sends anything there.
                _ = served.changed() => {
                    let _ = why.set(Status::unavailable("this server ends, and another one may serve"));
                    None
                }
            };
            let Some(message) = message else { return };
            if requests.send(wrap(message)).await.is_err() {
                return;
            }
        }
    });
    let mut response = http::Response::new(Body::new(Responses::new(pushes, ending)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
