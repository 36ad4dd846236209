//! A check by a request.

use std::ops::Range;

use ::http::header::HOST;
use ::http::uri::{Authority, Uri};
use ::http::{HeaderValue, Request, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::checker::CheckedHost;
use super::failure::{CheckFailure, CheckFailureKind, Result};
use super::payload;
use weir_config::health_check::HttpMethodPolicy;
use weir_http1::header::to_map;

use crate::tls::client::Offer;
use crate::upstream::transport::Transport;

type Body = Full<Bytes>;

/// A connection, and the task that drives it.
pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(stream: Transport, http2: bool) -> Result<Self> {
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(CheckFailure::network)?;
            return Ok(Self { sender: Sender::Http2(sender), driver: tokio::spawn(async move { drop(connection.await) }) });
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(CheckFailure::network)?;
        Ok(Self { sender: Sender::Http1(sender), driver: tokio::spawn(async move { drop(connection.await) }) })
    }

    /// Whether it takes one more request.
    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<::http::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// What was kept, unless the other side has closed it meanwhile: that says nothing of the instance.
async fn reusable(kept: Option<Connection>) -> Option<Connection> {
    let mut kept = kept?;
    kept.is_ready().await.then_some(kept)
}

/// One check.
pub(super) async fn check(policy: &HttpMethodPolicy, instance: &CheckedHost, kept: &mut Option<Connection>) -> Result {
    let mut connection = match reusable(kept.take()).await {
        Some(connection) => connection,
        None => {
            let offer = if policy.http2 { Offer::Http2 } else { Offer::Http1 };
            Connection::open(instance.connect(offer).await?, policy.http2).await?
        }
    };
    let response = connection.send(request(policy, instance)?).await.map_err(CheckFailure::network)?;
    let status = response.status();
    let body = read(response.into_body(), policy).await?;
    *kept = Some(connection);
    let is_in = |ranges: &[Range<i64>]| ranges.iter().any(|range| range.contains(&i64::from(status.as_u16())));
    if !is_in(&policy.expected) {
        let kind = if is_in(&policy.retriable) { CheckFailureKind::Retriable } else { CheckFailureKind::Answer };
        return Err(CheckFailure { kind, reason: format!("it answers {status}") });
    }
    if !payload::contains(&policy.receive, &body) {
        return Err(CheckFailure::answer("what is waited for is not in the answer"));
    }
    Ok(())
}

fn request(policy: &HttpMethodPolicy, instance: &CheckedHost) -> Result<Request<Body>> {
    let authority = instance.authority(policy.host.as_ref());
    let mut request = Request::new(Full::new(policy.send.clone()));
    *request.method_mut() = policy.method.clone();
    *request.headers_mut() = to_map(&policy.headers);
    if policy.http2 {
        let mut parts = policy.path.clone().into_parts();
        parts.scheme = Some(instance.scheme());
        parts.authority = Some(Authority::try_from(authority).map_err(|_| CheckFailure::network("its name is no authority"))?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(CheckFailure::network)?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        *request.uri_mut() = policy.path.clone();
        let host = HeaderValue::from_bytes(authority).map_err(|_| CheckFailure::network("its name is no value of a header"))?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

/// Reads an answer to its end; as much of it as is looked at.
async fn read(mut body: Incoming, policy: &HttpMethodPolicy) -> Result<Vec<u8>> {
    let mut heard = vec![];
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CheckFailure::network)?.into_data() else { continue };
        if !policy.receive.is_empty() {
            let room = policy.looked_at.saturating_sub(heard.len()).min(data.len());
            heard.extend(data.iter().take(room));
        }
    }
    Ok(heard)
}
