//! Serves the webhooks by HTTPS. The API server is who should ask, but whoever reaches the port can: nobody has more than an eighth of the
//! connections, no step of a connection takes for ever, and none lasts for ever.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use weir_pilot::{Shares, place_of};

use super::answers::{Answers, Count, Task};
use super::bodies::Bounds;
use super::certificate::Newest;

/// So many connections there may be. An eighth of them is more than an API server asks at once.
pub(super) const CONNECTIONS: usize = 2048;
/// So long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection is closed on which nothing is asked for so long. The API server closes its own after 90 seconds, and should be first: who is
/// asked and has gone just then is a failure.
const IDLE: Duration = Duration::from_secs(120);
/// So long an answer may take; the API server waits no longer than 30 seconds.
const ANSWER: Duration = Duration::from_secs(30);
/// A connection that has gone on for so long ends with its next answer.
const LIFETIME: Duration = Duration::from_secs(600);
/// So long a connection may still take when it is to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// A head is not larger.
const HEAD: usize = 16 * 1024;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves.
pub(super) struct Server {
    tls: TlsAcceptor,
    answers: Arc<Answers>,
    bounds: Bounds,
    places: Shares<IpAddr>,
    /// Whether it ends.
    ends: watch::Receiver<bool>,
}

impl Server {
    /// One that shows a certificate.
    ///
    /// # Errors
    /// If TLS cannot be spoken.
    pub fn new(certificate: Newest, answers: Arc<Answers>, ends: watch::Receiver<bool>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(certificate));
        // With one request at a time on a connection it is known what a connection can cost.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { tls: Arc::new(config).into(), answers, bounds: Bounds::new(), places: Shares::of(CONNECTIONS), ends })
    }

    /// Accepts connections until it ends. Whoever serves one holds an `alive`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, alive: mpsc::Sender<()>) {
        let mut ends = self.ends.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ends.wait_for(|ends| *ends) => return,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: those in use must be closed first.
                    tracing::debug!(%error, "the webhooks take no connection for now");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(place_of(peer.ip())) else {
                self.answers.count(Count::Connections);
                continue;
            };
            let (server, alive) = (self.clone(), alive.clone());
            tokio::spawn(async move {
                if let Err(reason) = server.connection(socket, peer).await {
                    tracing::debug!(%peer, reason, "a connection of the webhooks ended");
                }
                drop((place, alive));
            });
        }
    }

    async fn connection(&self, socket: TcpStream, peer: SocketAddr) -> Result<(), String> {
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake did not come to an end"));
        let stream = timeout(HANDSHAKE, self.tls.accept(socket)).await.unwrap_or_else(late).map_err(|error| {
            self.answers.count(Count::Handshakes);
            error.to_string()
        })?;
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(request, place_of(peer.ip())).await) });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut ends = self.ends.clone();
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = async { tokio::select! { () = sleep(LIFETIME) => {}, _ = ends.wait_for(|ends| *ends) => {} } } => {
                serving.as_mut().graceful_shutdown();
                timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
            }
        };
        served.map_err(|error| error.to_string())
    }

    async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Response<Full<Bytes>> {
        let answered = timeout(ANSWER, self.answer_in_time(request, from)).await;
        answered.unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "the review was not answered in time\n"))
    }

    async fn answer_in_time(&self, request: Request<Incoming>, from: IpAddr) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let task = match (Task::at(&path), &head.method) {
            (Some(task), &Method::POST) => task,
            (Some(_), _) => return text(StatusCode::METHOD_NOT_ALLOWED, "a review comes by POST\n"),
            (None, &Method::GET | &Method::HEAD) if path == "/ready" => return text(StatusCode::OK, ""),
            (None, _) => return text(StatusCode::NOT_FOUND, "there is nothing here: webhooks are at /inject and /validate\n"),
        };
        let review = match self.bounds.read(body, from).await {
            Ok(review) => review,
            Err((status, reason)) => return text(status, reason),
        };
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answers = self.answers.clone();
        let thought = self.bounds.think(task, review, move |body| answers.answer(task, &path, content_type.as_deref(), body)).await;
        match thought {
            Ok(answer) if answer.status == 200 => json(answer.body),
            Ok(answer) => text(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body),
            Err((status, reason)) => text(status, reason),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(body: String) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
