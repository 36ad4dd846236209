//! An application that keeps what it is asked, whole, and answers as a test says: for tests of what proxies change.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::content::{Content, Frames, joined, whole};
use crate::peer::own_address;
use crate::wait::DEADLINE;

/// A request as it reached a [`Recorder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as far as it came.
    pub body: Bytes,
    /// The trailers; empty where there are none.
    pub trailers: HeaderMap,
}

impl Recorded {
    /// All values of a header, with commas between them; empty if it is not there.
    pub fn header(&self, name: &str) -> String {
        joined(&self.headers, name)
    }
}

/// An instance that keeps what it is asked.
pub struct Recorder {
    address: SocketAddr,
    script: Script,
    asked: mpsc::UnboundedReceiver<Recorded>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Script {
    answer: Arc<Mutex<Response<Content>>>,
    asked: mpsc::UnboundedSender<Recorded>,
}

impl Recorder {
    /// An instance of HTTP/1.1, or of HTTP/2 without TLS. It answers 200 until it is told otherwise.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(version: Version) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a peer's address is its own");
        let address = listener.local_addr().expect("a listener has an address");
        let (sender, asked) = mpsc::unbounded_channel();
        let script = Script { answer: Arc::default(), asked: sender };
        let serving = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream, version));
            }
        });
        Self { address, script, asked, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says what it answers from now on.
    ///
    /// # Panics
    /// If a task that answered has panicked.
    pub fn set_answer(&self, answer: Response<Content>) {
        *self.script.answer.lock().expect("nobody panics here") = answer;
    }

    /// The next request, once all of it has come.
    ///
    /// # Panics
    /// If none comes.
    pub async fn asked(&mut self) -> Recorded {
        let asked = timeout(DEADLINE, self.asked.recv()).await;
        asked.expect("a request comes in time").expect("a recorder does not go away")
    }

    /// Whether a request has come that nobody has looked at.
    pub fn has_been_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    async fn serve(self, stream: TcpStream, version: Version) {
        let stream = TokioIo::new(stream);
        let service = service_fn(move |request| {
            let script = self.clone();
            async move { script.answer(request).await }
        });
        // That the other side goes away is nothing that a peer would complain of.
        let _ = match version {
            Version::HTTP_2 => http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await,
            _ => http1::Builder::new().serve_connection(stream, service).await,
        };
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
        let (head, body) = request.into_parts();
        let (body, trailers) = whole(body).await.unwrap_or_default();
        let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let _ = self.asked.send(Recorded { method: head.method.to_string(), path, headers: head.headers, body, trailers });
        Ok(self.answer.lock().expect("nobody panics here").clone().map(Frames::from))
    }
}
