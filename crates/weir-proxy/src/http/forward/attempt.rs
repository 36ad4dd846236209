//! One attempt: choose an instance, get a connection to it, send the request, await the head of the answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::retry::{self, Retries};
use super::within;
use crate::balance::outlier::Outcome;
use crate::config::cluster::UpstreamProtocol;
use crate::http::Head;
use crate::http::handle::Call;
use crate::http::request_body::{RequestBody, Source};
use crate::http::response_body::Origin;
use crate::log::flags::ResponseFlags;
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::http1::Http1Connection;
use crate::upstream::http2::Http2Connection;
use crate::upstream::resources::{Overflow, Permit, Resource};
use crate::worker::cluster::{BusyGuard, ClusterRuntime, HostRuntime, Turn};

/// The head of an instance's answer, and what its body needs.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) origin: Origin,
    pub(super) busy: BusyGuard,
    /// When the request was sent.
    pub(super) sent: Instant,
}

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(in crate::http) enum Failure {
    /// The cluster has no instance to choose.
    NoInstance,
    /// A limit of the cluster is reached.
    Overflow,
    /// No connection could be made.
    Connect(ConnectError),
    /// The connection ended before the answer began.
    Closed,
    /// The instance reset the stream.
    Reset,
    /// The instance refused the stream, so it has done nothing with it.
    RefusedStream,
    /// The instance does not speak the protocol.
    Protocol,
    /// The attempt took too long.
    AttemptTimedOut,
    /// All attempts together took too long.
    TimedOut,
}

impl Failure {
    /// How it is answered: status, flag, and Envoy's words for access logs and for the client.
    pub(in crate::http) fn describe(&self, retried: bool) -> (StatusCode, ResponseFlags, Cow<'static, str>, Bytes) {
        let reset = |status, flag, reason: &str| {
            let words = reason.replace(' ', "_");
            let details = format!("upstream_reset_before_response_started{{{words}}}");
            let how = if retried { "retried and the latest reset reason" } else { "reset reason" };
            let body = format!("upstream connect error or disconnect/reset before headers. {how}: {reason}");
            (status, flag, Cow::Owned(details), Bytes::from(body))
        };
        match self {
            Self::NoInstance => (
                StatusCode::SERVICE_UNAVAILABLE,
                ResponseFlags::NO_HEALTHY_UPSTREAM,
                "no_healthy_upstream".into(),
                Bytes::from_static(b"no healthy upstream"),
            ),
            Self::Overflow => reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_OVERFLOW, "overflow"),
            Self::Connect(ConnectError::TimedOut) => {
                reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "connection timeout")
            }
            Self::Connect(ConnectError::Failed(_)) => {
                reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "remote connection failure")
            }
            Self::Closed => reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_TERMINATED, "connection termination"),
            Self::Reset => reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_RESET, "remote reset"),
            Self::RefusedStream => reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_RESET, "remote refused stream reset"),
            Self::Protocol => reset(StatusCode::BAD_GATEWAY, ResponseFlags::UPSTREAM_PROTOCOL_ERROR, "protocol error"),
            Self::AttemptTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                ResponseFlags::UPSTREAM_TIMEOUT,
                "upstream_per_try_timeout".into(),
                Bytes::from_static(b"upstream request timeout"),
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                ResponseFlags::UPSTREAM_TIMEOUT,
                "upstream_response_timeout".into(),
                Bytes::from_static(b"upstream request timeout"),
            ),
        }
    }
}

/// Makes one attempt.
pub(super) async fn attempt(
    call: &Call,
    cluster: &Rc<ClusterRuntime>,
    retries: &Retries<'_>,
    body: Option<&Rc<Source>>,
) -> Result<Answer, Failure> {
    let Some(target) = cluster.pick(&retries.context(call.lb_context())) else {
        cluster.with_stats(|stats| stats.none_healthy.add(1));
        return Err(Failure::NoInstance);
    };
    call.exchange.target.replace(Some(target.clone()));
    let busy = target.busy(take(cluster, Resource::Requests)?);
    cluster.with_stats(|stats| stats.rq_total.add(1));
    let limit = retries.policy().and_then(|policy| policy.per_try_timeout);
    let outgoing = Outgoing {
        cluster,
        target: &target,
        opened: |local| call.exchange.upstream_local.set(Some(local)),
        request: |http2| request(call, body, http2),
    };
    let result = within(limit, outgoing.send(call.exchange.protocol)).await.unwrap_or(Err(Failure::AttemptTimedOut));
    if let Some(outcome) = outcome(cluster, &result) {
        cluster.report(&target.host, outcome);
    }
    let (response, origin, sent) = result?;
    Ok(Answer { response, origin, busy, sent })
}

/// What an attempt says of its instance. A gRPC status in the head counts as the HTTP status that it stands for.
fn outcome(cluster: &ClusterRuntime, result: &Result<Reached, Failure>) -> Option<Outcome> {
    let judged = result.as_ref().ok().and_then(|(response, ..)| cluster.judge(response.status(), response.headers()));
    if judged.is_some() {
        return judged;
    }
    Some(match result {
        Ok((response, ..)) => match retry::grpc_status(response.headers()) {
            None | Some(0) => Outcome::Status(response.status().as_u16()),
            Some(4) => Outcome::Status(504),
            Some(14) => Outcome::Status(503),
            Some(2 | 13 | 15) => Outcome::Status(500),
            Some(_) => Outcome::Status(400),
        },
        Err(Failure::AttemptTimedOut) => Outcome::TimedOut,
        Err(Failure::Overflow | Failure::NoInstance | Failure::TimedOut) => return None,
        Err(_) => Outcome::Failed,
    })
}

/// A request that goes to an instance.
pub(super) struct Outgoing<'s, O, R> {
    /// The instance's cluster.
    pub cluster: &'s ClusterRuntime,
    /// The instance.
    pub target: &'s Rc<HostRuntime>,
    /// Told the address that it goes out from.
    pub opened: O,
    /// Makes the request, for HTTP/2 or for HTTP/1.1.
    pub request: R,
}

/// An answer's head, where its body comes from, and when the request was sent.
pub(super) type Reached = (Response<Incoming>, Origin, Instant);

impl<O: Fn(SocketAddr), R: Fn(bool) -> Request<RequestBody>> Outgoing<'_, O, R> {
    /// Sends it, and waits for the head of the answer. `client` is what the client speaks.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&self, client: Option<Version>) -> Result<Reached, Failure> {
        match self.cluster.policy().protocol {
            UpstreamProtocol::Http2 => self.http2().await,
            UpstreamProtocol::Same if client == Some(Version::HTTP_2) => self.http2().await,
            UpstreamProtocol::Same | UpstreamProtocol::Http1 => self.http1().await,
        }
    }

    async fn http1(&self) -> Result<Reached, Failure> {
        let mut kept = if self.target.is_waited_for() { None } else { self.target.take_idle() };
        loop {
            let (mut connection, reused) = match kept.take() {
                Some(connection) => (connection, true),
                None => self.connection().await?,
            };
            (self.opened)(connection.local);
            let sent = Instant::now();
            match connection.send((self.request)(false)).await {
                Ok(response) => {
                    let origin = Origin::Http1(Some(connection), self.target.clone());
                    return Ok((response, origin, sent));
                }
                // It had ended unseen, and nothing was written: a fresh one does not change what is sent.
                Err(error) if reused && error.unsent => {}
                Err(error) => return Err(classify(&error.error)),
            }
        }
    }

    /// A connection where none is idle, and whether it was used before: a new one, or, where no more may be open, the next
    /// that is given back.
    async fn connection(&self) -> Result<(Http1Connection, bool), Failure> {
        let _pending = take(self.cluster, Resource::Pending)?;
        if !self.cluster.limits_connections() {
            return Ok((open_http1(self.cluster, self.target).await?, false));
        }
        match self.target.turn(self.cluster).await {
            Turn::Reuse(connection) => Ok((*connection, true)),
            Turn::Open(permit) => {
                let mut connection = open_http1(self.cluster, self.target).await?;
                connection.permit = Some(permit);
                Ok((connection, false))
            }
        }
    }

    async fn http2(&self) -> Result<Reached, Failure> {
        let connection = shared_http2(self.cluster, self.target).await?;
        (self.opened)(connection.local);
        let guard = connection.stream();
        let sent = Instant::now();
        let mut sender = connection.sender.clone();
        match sender.send_request((self.request)(true)).await {
            Ok(response) => Ok((response, Origin::Http2(guard), sent)),
            Err(error) => Err(classify(&error)),
        }
    }
}

/// Takes one of what the cluster limits.
fn take(cluster: &ClusterRuntime, resource: Resource) -> Result<Option<Permit>, Failure> {
    cluster.take(resource).map_err(|Overflow| {
        cluster.with_stats(|stats| stats.rq_pending_overflow.add(1));
        Failure::Overflow
    })
}

/// A connection that is open, or a new one.
async fn shared_http2(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<Http2Connection, Failure> {
    if let Some(connection) = target.shared() {
        return Ok(connection);
    }
    let _pending = take(cluster, Resource::Pending)?;
    let _opening = target.opening.lock().await;
    // Somebody may have opened one while we waited.
    if let Some(connection) = target.shared() {
        return Ok(connection);
    }
    let stream = open(cluster, target).await?;
    let connection = Http2Connection::open(stream).await.map_err(|error| classify(&error))?;
    target.share(connection.clone());
    Ok(connection)
}

/// A new connection.
pub(in crate::http) async fn open_http1(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<Http1Connection, Failure> {
    let stream = open(cluster, target).await?;
    Http1Connection::open(stream).await.map_err(|error| classify(&error))
}

async fn open(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<tokio::net::TcpStream, Failure> {
    let stream = connect(&cluster.policy(), target.host.address).await;
    cluster.with_stats(|stats| match &stream {
        Ok(_) => stats.cx_total.add(1),
        Err(ConnectError::TimedOut) => stats.cx_connect_timeout.add(1),
        Err(ConnectError::Failed(_)) => stats.cx_connect_fail.add(1),
    });
    stream.map_err(Failure::Connect)
}

/// The request as it goes out.
pub(in crate::http) fn request(call: &Call, body: Option<&Rc<Source>>, http2: bool) -> Request<RequestBody> {
    with_head(&call.exchange.request.borrow(), RequestBody::attempt(body), http2)
}

/// A request of a head and a body.
pub(super) fn with_head(head: &Head, body: RequestBody, http2: bool) -> Request<RequestBody> {
    let has_body = !body.is_end_stream();
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    if http2 {
        *request.uri_mut() = absolute(&head.path, head.scheme, head.authority());
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(http::header::HOST);
    } else {
        *request.uri_mut() = Uri::from(head.path.clone());
        // Whoever gets something else than a GET expects to be told that nothing follows (RFC 9110, 8.6).
        if !has_body && !matches!(head.method, Method::GET | Method::HEAD) {
            request.headers_mut().entry(http::header::CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
    }
    request
}

fn absolute(path: &http::uri::PathAndQuery, scheme: &str, authority: &str) -> Uri {
    let parts = Uri::builder().scheme(scheme).authority(authority).path_and_query(path.clone()).build();
    // An authority that no URI may have was accepted from an HTTP/1.1 client; HTTP/2 cannot say it.
    parts.unwrap_or_else(|_| Uri::from(path.clone()))
}

/// What kind of failure an error of the HTTP library is.
pub(in crate::http) fn classify(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    if let Some(http2) = source.and_then(|source| source.downcast_ref::<h2::Error>()) {
        return match http2.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Failure::RefusedStream,
            Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR) if !http2.is_remote() => {
                Failure::Protocol
            }
            _ if http2.is_io() => Failure::Closed,
            _ => Failure::Reset,
        };
    }
    if error.is_parse() || error.is_parse_status() { Failure::Protocol } else { Failure::Closed }
}
