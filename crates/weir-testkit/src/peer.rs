//! Applications that do what a test tells them.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::Certificate;
use crate::payload::{self, Payload};
use crate::protocol::Protocol;
use crate::seen::Seen;
use crate::wait::DEADLINE;

/// A request for this path is answered when the test says so: [`Peer::release`].
pub const HELD: &str = "/held";
/// A request for this path is answered with 200, or with 503 while the peer is ill: [`Peer::set_ill`].
pub const HEALTH: &str = "/healthz";
/// A request for this path and a number is answered with so many bytes.
pub const BYTES: &str = "/bytes/";
/// A request for this path is answered with the length of its body.
pub const LENGTH: &str = "/length";

/// A request with this header is answered with its head, as it came: see [`Answer::seen`](crate::Answer::seen).
pub const ECHO: &str = "x-echo";
/// In this header a peer by TLS says what was agreed on, and for which server name.
pub const SPOKEN: &str = "x-spoken";
/// Each value of this header, `name: value`, becomes a header of the answer.
pub const RESPOND: &str = "x-respond";

/// One instance of a service. Over HTTP it says its name in each answer's `x-instance`, over TCP at the beginning of each
/// connection.
pub struct Peer {
    application: Application,
    address: SocketAddr,
    serving: Option<Serving>,
}

/// A listener with its connections, until `stop` is used or dropped.
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a peer does with each connection.
#[derive(Clone)]
struct Application {
    name: String,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    held: watch::Sender<usize>,
    released: watch::Sender<bool>,
    ill: watch::Sender<bool>,
}

impl Peer {
    /// Starts an instance that answers HTTP.
    pub async fn http(name: &str) -> Self {
        Self::new(name, Protocol::Http).await
    }

    /// Starts an instance that answers HTTP by TLS; what it speaks is agreed on by ALPN, and told in each answer's [`SPOKEN`].
    pub async fn https(name: &str, certificate: &Certificate, alpn: &[&str]) -> Self {
        Self::with(name, Protocol::Http, Some(TlsAcceptor::from(certificate.server(alpn))), SocketAddr::new(own_address(), 0)).await
    }

    /// The same at a port: where a host is looked up, its instances are at the port of the service.
    pub async fn https_at(port: u16, name: &str, certificate: &Certificate, alpn: &[&str]) -> Self {
        Self::with(name, Protocol::Http, Some(TlsAcceptor::from(certificate.server(alpn))), SocketAddr::new(own_address(), port)).await
    }

    /// Starts an instance that answers HTTP, at a port.
    pub async fn http_at(port: u16, name: &str) -> Self {
        Self::with(name, Protocol::Http, None, SocketAddr::new(own_address(), port)).await
    }

    /// Starts an instance that says its name to each connection, and ends it.
    pub async fn tcp(name: &str) -> Self {
        Self::new(name, Protocol::Tcp).await
    }

    /// Starts one where a sidecar looks for its application, at 127.0.0.1.
    pub async fn at_loopback(name: &str, protocol: Protocol) -> Self {
        Self::with(name, protocol, None, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    async fn new(name: &str, protocol: Protocol) -> Self {
        Self::with(name, protocol, None, SocketAddr::new(own_address(), 0)).await
    }

    async fn with(name: &str, protocol: Protocol, tls: Option<TlsAcceptor>, address: SocketAddr) -> Self {
        let (held, released, ill) = (watch::Sender::new(0), watch::Sender::new(false), watch::Sender::new(false));
        let application = Application { name: name.to_owned(), protocol, tls, held, released, ill };
        let mut peer = Self { application, address, serving: None };
        peer.start().await;
        peer
    }

    /// Listens again, at the same address as before.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("a peer's address is its own");
        self.address = listener.local_addr().expect("a listener has an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, self.application.clone(), stopped));
        self.serving = Some(Serving { stop, task });
    }

    /// Closes its listener and all connections; afterwards none is open any more.
    ///
    /// # Panics
    /// If serving has panicked.
    pub async fn stop(&mut self) {
        if let Some(Serving { stop, task }) = self.serving.take() {
            drop(stop);
            task.await.expect("a peer serves without a panic");
        }
    }

    /// Waits until so many requests for [`HELD`] have come.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn holds(&self, requests: usize) {
        let mut held = self.application.held.subscribe();
        let held = timeout(DEADLINE, held.wait_for(|held| *held >= requests)).await;
        held.expect("the requests come in time").expect("a peer does not go away");
    }

    /// Answers the requests that are held back, and those that come from now on.
    pub fn release(&self) {
        self.application.released.send_replace(true);
    }

    /// Says how it answers from now on when it is asked for its health.
    pub fn set_ill(&self, ill: bool) {
        self.application.ill.send_replace(ill);
    }

    /// What it calls itself; its endpoint has this label `version`.
    pub fn name(&self) -> &str {
        &self.application.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Says how long a request's body is.
async fn counted(request: Request<Incoming>) -> String {
    payload::length(request.into_body()).await.map_or_else(|| "it ended too early".to_owned(), |length| length.to_string())
}

/// A header as [`RESPOND`] has it.
fn header(written: &HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = written.to_str().ok()?.split_once(": ")?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// An address for each peer. Connections go out from 127.0.0.1: none can take the port of a peer that is stopped, and
/// none can by chance be connected to itself.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1, 1 + high, low).into()
}

/// Serves until it is to stop; the connections end with it.
async fn serve(listener: TcpListener, peer: Application, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(peer.clone().converse(stream));
            },
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // To abort them without waiting would leave some open for a moment, and a request might still go there.
    connections.shutdown().await;
}

impl Application {
    /// Speaks until the other side ends. That it goes away is nothing that a peer would complain of.
    async fn converse(self, stream: TcpStream) {
        if let Some(tls) = self.tls.clone() {
            if let Ok(stream) = tls.accept(stream).await {
                self.converse_by_tls(stream).await;
            }
            return;
        }
        match self.protocol {
            Protocol::Http => {
                let service = service_fn(|request| self.answer(request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
            Protocol::Tcp => drop(self.greet(stream).await),
        }
    }

    async fn converse_by_tls(self, stream: TlsStream<TcpStream>) {
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let spoken: HeaderValue = format!("{} for {}", if is_http2 { "h2" } else { "http/1.1" }, session.server_name().unwrap_or_default())
            .parse()
            .expect("it fits in a header");
        let service = service_fn(move |request| {
            let (peer, spoken) = (self.clone(), spoken.clone());
            async move {
                let mut response = peer.answer(request).await?;
                response.headers_mut().insert(SPOKEN, spoken);
                Ok::<_, Infallible>(response)
            }
        });
        if is_http2 {
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        } else {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Payload>>, Infallible> {
        let path = request.uri().path();
        let is_health = path == HEALTH;
        if path == HELD {
            let mut released = self.released.subscribe();
            self.held.send_modify(|held| *held += 1);
            let _ = released.wait_for(|released| *released).await;
        }
        let wanted: HeaderMap = request.headers().get_all(RESPOND).iter().filter_map(header).collect();
        let asked = path.strip_prefix(BYTES).and_then(|number| number.parse().ok());
        let body = match asked {
            Some(number) => Either::Right(Payload::of(number)),
            None if request.headers().contains_key(ECHO) => {
                Either::Left(Full::from(Seen::write(request.method(), request.uri(), request.headers())))
            }
            None if path == LENGTH => Either::Left(Full::from(counted(request).await)),
            None => Either::Left(Full::from(self.name.clone())),
        };
        let mut response = Response::new(body);
        response.headers_mut().extend(wanted);
        if is_health && *self.ill.borrow() {
            *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
        }
        response.headers_mut().insert("x-instance", self.name.parse().expect("a name fits in a header"));
        Ok(response)
    }

    async fn greet(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.write_all(self.name.as_bytes()).await?;
        stream.shutdown().await?;
        // To close before the other side has would reset the connection, and the name might be lost.
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }
}
