//! Serving HTTP/1.1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::body::Body;
use crate::serve::{Stop, accept};

/// The header by which an answer tells which instance gave it.
pub(crate) const INSTANCE_HEADER: &str = "x-instance";

/// A program that answers HTTP requests.
pub(crate) trait Application: Send + Sync + 'static {
    /// The answer to one request of `peer`.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves until `shutdown` resolves and the requests in flight are answered.
pub(crate) async fn serve<A: Application>(
    listener: TcpListener,
    name: HeaderValue,
    application: A,
    shutdown: impl Future<Output = ()> + Send,
) {
    let application = Arc::new(application);
    accept(listener, shutdown, |stream, peer, stop| connection(stream, peer, stop, Arc::clone(&application), name.clone())).await;
}

/// One client's connection. It may stay idle as long as it likes: a sidecar keeps such connections to use them again, and
/// closing one under its hands would look like a failure of the application.
async fn connection<A: Application>(stream: TcpStream, peer: SocketAddr, mut stop: Stop, application: Arc<A>, name: HeaderValue) {
    let service = service_fn(move |request| {
        let (application, name) = (Arc::clone(&application), name.clone());
        async move {
            let mut response = application.answer(request, peer).await;
            response.headers_mut().insert(INSTANCE_HEADER, name);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // An error here is the client's: it went away, or it does not speak HTTP (and has been answered 400).
    tokio::select! {
        // The connection first: what has arrived already is answered.
        biased;
        _ = connection.as_mut() => return,
        () = stop.requested() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
