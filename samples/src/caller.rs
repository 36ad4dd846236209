//! How an application calls another service: at the address where its own sidecar listens, with the service's name as
//! `Host`. The sidecar does the rest, as it would for a program that knows nothing of a mesh. Or by the name alone, as such a
//! program.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::http::INSTANCE_HEADER;

/// How long a call may take, answer included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// No answer of these services is anywhere near as large.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Calls services, all at one port. Connections are kept and used again.
pub(crate) struct Caller {
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Where the sidecar listens; none if services are called by their names.
    outbound: Option<IpAddr>,
    port: u16,
    direct: BTreeMap<String, SocketAddr>,
    timeout: Duration,
}

/// A complete answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Which instance says that it gave the answer.
    pub(crate) instance: Option<String>,
    body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// It did not come in time.
    Timeout(Duration),
    /// It could not be asked for, or did not come whole.
    Failed(String),
}

impl Caller {
    /// Calls go to `outbound` and the service's port, but those to a service in `direct` straight to the address there.
    pub(crate) fn new(outbound: IpAddr, port: u16, direct: BTreeMap<String, SocketAddr>) -> Self {
        Caller { outbound: Some(outbound), direct, ..Self::by_names(port) }
    }

    /// Calls go to whatever address a service's name has.
    pub(crate) fn by_names(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(HttpConnector::new());
        Caller { client, outbound: None, port, direct: BTreeMap::new(), timeout: TIMEOUT }
    }

    /// The same with another limit on each call.
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        Caller { timeout, ..self }
    }

    /// `GET http://service:port/path`, with these headers added.
    pub(crate) async fn get(&self, service: &str, path: &str, headers: &HeaderMap) -> Result<Answer, CallError> {
        let request = self.request(service, path, headers)?;
        tokio::time::timeout(self.timeout, self.send(request)).await.unwrap_or(Err(CallError::Timeout(self.timeout)))
    }

    fn request(&self, service: &str, path: &str, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, CallError> {
        let name = format!("{service}:{}", self.port);
        let sidecar = || self.outbound.map(|outbound| SocketAddr::new(outbound, self.port));
        let address = self.direct.get(service).copied().or_else(sidecar).map_or_else(|| name.clone(), |address| address.to_string());
        let host = HeaderValue::try_from(name).map_err(CallError::failed)?;
        let mut request = Request::get(format!("http://{address}{path}")).body(Empty::new()).map_err(CallError::failed)?;
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Answer, CallError> {
        let (head, body) = self.client.request(request).await.map_err(CallError::failed)?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(CallError::failed)?.to_bytes();
        let instance = head.headers.get(INSTANCE_HEADER).and_then(|name| name.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: head.status, instance, body })
    }
}

impl Answer {
    /// The body, if it is JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl CallError {
    /// With the innermost reason: the outer ones only say that something failed.
    fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = error.into();
        let mut reason: &dyn std::error::Error = error.as_ref();
        while let Some(inner) = reason.source() {
            reason = inner;
        }
        CallError::Failed(reason.to_string())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Timeout(limit) => write!(f, "no answer within {} s", limit.as_secs_f64()),
            CallError::Failed(reason) => f.write_str(reason),
        }
    }
}
