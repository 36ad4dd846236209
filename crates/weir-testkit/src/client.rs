//! Clients of a mesh.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// A client with one connection, which is kept, and opened again when the proxy has closed it.
pub struct Client {
    address: SocketAddr,
    host: String,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Who answered; empty if no [`Peer`](crate::Peer) did.
    pub instance: String,
    /// The body: a proxy's own answer says there what is wrong.
    pub body: String,
}

impl Answer {
    /// Whether this instance answered, and well.
    pub fn is_from(&self, instance: &str) -> bool {
        self.status == 200 && self.instance == instance
    }
}

impl Client {
    /// A client that asks the proxy at this address for this host.
    pub(crate) fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), connection: None }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// If no whole answer came.
    ///
    /// # Panics
    /// If the path or the headers are none.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut request = Request::get(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).expect("a test writes good headers");
        let answer = timeout(DEADLINE, self.send(request)).await;
        answer.map_err(|_| "no answer".to_owned())?.map_err(|error| format!("{error:?}"))
    }

    /// The connection of the last request, if the proxy has not closed it.
    async fn kept(&mut self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut kept = self.connection.take()?;
        kept.ready().await.is_ok().then_some(kept)
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut connection = match self.kept().await {
            Some(kept) => kept,
            None => connect(self.address).await?,
        };
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        self.connection = Some(connection);
        let instance = head.headers.get("x-instance").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Answer { status: head.status.as_u16(), instance: instance.to_owned(), body })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error>> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    // Its errors are those of the requests.
    tokio::spawn(connection);
    Ok(sender)
}

/// Whom a TCP connection reached; nobody's name is empty.
pub async fn tcp_greeting(address: SocketAddr) -> String {
    let mut name = String::new();
    let greeted = async { TcpStream::connect(address).await?.read_to_string(&mut name).await };
    // A connection that is refused or reset reached nobody, as one that ends without a word.
    let _ = timeout(DEADLINE, greeted).await;
    name
}
