//! Applications that do what a test tells them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::config::Protocol;
use crate::wait::DEADLINE;

/// A request for this path is answered when the test says so: [`Peer::release`].
pub const HELD: &str = "/held";

/// One instance of a service. Over HTTP it says its name in each answer's `x-instance`, over TCP at the beginning of each
/// connection.
pub struct Peer {
    name: String,
    address: SocketAddr,
    protocol: Protocol,
    script: Script,
    serving: Option<JoinHandle<()>>,
}

/// What the connections of a peer have in common.
#[derive(Clone)]
struct Script {
    held: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

impl Peer {
    /// Starts an instance that answers HTTP.
    pub async fn http(name: &str) -> Self {
        Self::new(name, Protocol::Http).await
    }

    /// Starts an instance that says its name to each connection, and ends it.
    pub async fn tcp(name: &str) -> Self {
        Self::new(name, Protocol::Tcp).await
    }

    async fn new(name: &str, protocol: Protocol) -> Self {
        let script = Script { held: watch::Sender::new(0), released: watch::Sender::new(false) };
        let mut peer = Self { name: name.to_owned(), address: SocketAddr::new(own_address(), 0), protocol, script, serving: None };
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
        self.serving = Some(tokio::spawn(accept(listener, self.name.clone(), self.protocol, self.script.clone())));
    }

    /// Closes its listener and all connections.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // It is cancelled: that is no news.
            let _ = serving.await;
        }
    }

    /// Waits until so many requests for [`HELD`] have come.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn holds(&self, requests: usize) {
        let mut held = self.script.held.subscribe();
        let held = timeout(DEADLINE, held.wait_for(|held| *held >= requests)).await;
        held.expect("the requests come in time").expect("a peer does not go away");
    }

    /// Answers the requests that are held back, and those that come from now on.
    pub fn release(&self) {
        self.script.released.send_replace(true);
    }

    /// What it calls itself; its endpoint has this label `version`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// An address for each peer. Connections go out from 127.0.0.1: none can take the port of a peer that is stopped, and
/// none can by chance be connected to itself.
fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1, 1 + high, low).into()
}

/// Serves until it is aborted; the connections end with it.
async fn accept(listener: TcpListener, name: String, protocol: Protocol, script: Script) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        match protocol {
            Protocol::Http => connections.spawn(answer_all(stream, name.clone(), script.clone())),
            Protocol::Tcp => connections.spawn(greet(stream, name.clone())),
        };
        while connections.try_join_next().is_some() {}
    }
}

async fn answer_all(stream: TcpStream, name: String, script: Script) {
    let service = service_fn(|request| answer(request, &name, &script));
    // That a client goes away is nothing that a peer would complain of.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, name: &str, script: &Script) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == HELD {
        let mut released = script.released.subscribe();
        script.held.send_modify(|held| *held += 1);
        let _ = released.wait_for(|released| *released).await;
    }
    let mut response = Response::new(Full::from(name.to_owned()));
    response.headers_mut().insert("x-instance", name.parse().expect("a name fits in a header"));
    Ok(response)
}

async fn greet(mut stream: TcpStream, name: String) {
    // To close before the other side has would reset the connection, and the name might be lost.
    let mut rest = Vec::new();
    let _ = async {
        stream.write_all(name.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut rest).await
    }
    .await;
}
