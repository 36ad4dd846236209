//! Answers at the status ports.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::places::Places;
use super::{Application, Probers, Scraped, Subject};

/// A request's head that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection that has gone on for so long ends with its next answer, and soon: others reach this port than the kubelet and Prometheus, and
/// may not read what they have asked for.
const LIFETIME: Duration = Duration::from_secs(120);

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// 15020: everything.
    Status,
    /// 15021: whether the proxy is ready.
    Health,
    /// 15090: the proxy's own metrics.
    Metrics,
}

/// What is answered.
pub struct Status {
    /// The proxy.
    pub proxy: Subject,
    /// The application beside it.
    pub application: Application,
    /// Its probes.
    pub probers: Probers,
    /// Its metrics, if it has any.
    pub scraped: Option<Scraped>,
    /// The port by which the kubelet calls this, which probes do not name to the application.
    pub port: u16,
}

/// Serves a port until the task is dropped.
pub async fn serve(listener: TcpListener, role: Role, status: Arc<Status>) {
    let (places, metrics) = (Arc::new(Places::default()), Arc::new(Semaphore::new(1)));
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a status port takes no connection for now");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.take(client.ip()) else { continue };
        let (status, metrics) = (status.clone(), metrics.clone());
        tokio::spawn(async move {
            converse(stream, role, status, metrics).await;
            drop(place);
        });
    }
}

/// Serves a connection. Of all connections of a port one at a time has metrics made: they may be large.
async fn converse(stream: TcpStream, role: Role, status: Arc<Status>, metrics: Arc<Semaphore>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, metrics) = (status.clone(), metrics.clone());
        async move {
            // It is never closed.
            let _turn = if is_metrics(request.uri().path()) { metrics.acquire().await.ok() } else { None };
            Ok::<_, Infallible>(status.answer(role, &request).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(LIFETIME, serving.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            serving.as_mut().graceful_shutdown();
            timeout(PATIENCE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a status port ended");
    }
}

fn is_metrics(path: &str) -> bool {
    matches!(path, "/stats/prometheus" | "/metrics")
}

type Answer = Response<Full<Bytes>>;

impl Status {
    async fn answer<B>(&self, role: Role, request: &Request<B>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        let path = request.uri().path();
        match (role, path) {
            (Role::Status | Role::Health, "/healthz/ready") => self.readiness().await,
            (Role::Status, _) if is_metrics(path) => self.merged_metrics().await,
            (Role::Metrics, _) if is_metrics(path) => metrics(self.proxy.metrics().await),
            (Role::Status, _) if path.starts_with("/app-health/") || path.starts_with("/app-lifecycle/") => self.probe(path, request).await,
            _ => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
        }
    }

    /// Whether connections would be served. A proxy that drains is not ready, so that no new ones are sent.
    async fn readiness(&self) -> Answer {
        match self.proxy.readiness().await {
            Ok(()) => text(StatusCode::OK, ""),
            Err(state) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {state}\n")),
        }
    }

    async fn probe<B>(&self, path: &str, request: &Request<B>) -> Answer {
        let Some(prober) = self.probers.get(path) else {
            return text(StatusCode::BAD_REQUEST, format!("no container has a probe {path}: ISTIO_KUBE_APP_PROBERS names them\n"));
        };
        let (status, said) = self.application.ask(prober, request.headers(), self.port).await;
        if !status.is_success() {
            tracing::debug!(path, %status, said = %String::from_utf8_lossy(&said), "a probe failed");
        }
        text(status, said)
    }

    /// The proxy's metrics, and the application's after them: both are texts of Prometheus. Without the application's there are still
    /// the proxy's, as Istio has it.
    async fn merged_metrics(&self) -> Answer {
        let (own, scraped) = match (self.proxy.metrics().await, &self.scraped) {
            (Ok(own), Some(scraped)) => (own, scraped),
            (read, _) => return metrics(read),
        };
        match scraped.read(&self.application).await {
            Ok(more) => {
                let mut all = BytesMut::with_capacity(own.len() + more.len());
                all.extend_from_slice(&own);
                // OpenMetrics ends with a mark, which must not stand in the middle.
                all.extend_from_slice(more.strip_suffix(b"# EOF\n").unwrap_or(&more));
                metrics(Ok(all.freeze()))
            }
            Err(problem) => {
                tracing::warn!(problem, "the application's metrics cannot be had");
                metrics(Ok(own))
            }
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn metrics(read: Result<Bytes, String>) -> Answer {
    let body = match read {
        Ok(body) => body,
        Err(problem) => return text(StatusCode::SERVICE_UNAVAILABLE, problem + "\n"),
    };
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
