//! One attempt: choose an instance, get a connection to it, send the request, await the head of the answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::limits::{AttemptLimits, Expired};
use super::retry::{self, Retries};
use crate::balance::outlier::Outcome;
use crate::config::cluster::UpstreamProtocol;
use crate::http::Head;
use crate::http::handle::Call;
use crate::http::request_body::{RequestBody, Source};
use crate::http::response_body::Origin;
use crate::log::flags::ResponseFlags;
use crate::stats::cluster::WorkerClusterStats;
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::http1::{Http1Connection, SendError};
use crate::upstream::http2::{self, Http2Connection};
use crate::upstream::resources::{Overflow, Permit, Resource};
use crate::worker::cluster::ClusterRuntime;
use crate::worker::host::{BusyGuard, HostRuntime, Turn};

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
    /// The host that the request names was not found.
    Unresolved,
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
    /// The attempt brought nothing for too long.
    AttemptIdle,
    /// A limit of the whole exchange was reached; and whether the request had come to its end.
    Expired(Expired, bool),
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
            Self::Unresolved => (
                StatusCode::SERVICE_UNAVAILABLE,
                ResponseFlags::DNS_FAILURE,
                "dns_resolution_failure".into(),
                Bytes::from_static(b"DNS resolution failure"),
            ),
            Self::Overflow => reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_OVERFLOW, "overflow"),
            Self::Connect(ConnectError::TimedOut) => {
                reset(StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "connection timeout")
            }
            Self::Connect(error) => {
                let (status, flag) = (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
                let (.., body) = reset(status, flag, "remote connection failure");
                let why = error.reason().replace(' ', "_");
                (status, flag, format!("upstream_reset_before_response_started{{remote_connection_failure|{why}}}").into(), body)
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
            Self::AttemptIdle => Self::Expired(Expired::AttemptIdle, true).describe(retried),
            Self::Expired(expired, complete) => {
                let ((flag, words), (status, body)) = (expired.describe(), expired.answer(*complete));
                (status, flag, words.into(), Bytes::from_static(body.as_bytes()))
            }
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
    let outgoing = Outgoing {
        cluster,
        target: &target,
        opened: |local| call.exchange.upstream_local.set(Some(local)),
        request: |http2| request(call, body, http2),
        limits: AttemptLimits::new(retries.policy()),
        body,
        again: || body.is_none_or(|body| body.can_replay()),
    };
    let result = outgoing.send(call.exchange.protocol).await;
    cluster.with_stats(|stats| match result {
        Err(Failure::AttemptTimedOut) => stats.rq_per_try_timeout.add(1),
        Err(Failure::AttemptIdle) => stats.rq_per_try_idle_timeout.add(1),
        _ => {}
    });
    if let Some(outcome) = outcome(cluster, &result) {
        cluster.report(&target.host, outcome);
    }
    let (response, origin, sent) = result?;
    cluster.heed(&target.host, response.headers());
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
        Err(Failure::AttemptTimedOut | Failure::AttemptIdle) => Outcome::TimedOut,
        Err(Failure::Overflow | Failure::NoInstance | Failure::Unresolved | Failure::Expired(..)) => return None,
        Err(_) => Outcome::Failed,
    })
}

/// A request that goes to an instance.
pub(super) struct Outgoing<'s, O, R, A> {
    /// The instance's cluster.
    pub cluster: &'s ClusterRuntime,
    /// The instance.
    pub target: &'s Rc<HostRuntime>,
    /// Told the address that it goes out from.
    pub opened: O,
    /// Makes the request, for HTTP/2 or for HTTP/1.1.
    pub request: R,
    /// How long an attempt may take.
    pub limits: AttemptLimits,
    /// The client's body, whose end the limits wait for.
    pub body: Option<&'s Rc<Source>>,
    /// Whether it can be made once more.
    pub again: A,
}

/// So many other connections are tried where the other side takes no more on one: an instance that says so on each must not
/// keep us opening them.
const OTHER_CONNECTIONS: u32 = 2;

/// An answer's head, where its body comes from, and when the request was sent.
pub(super) type Reached = (Response<Incoming>, Origin, Instant);

impl<O: Fn(SocketAddr), R: Fn(bool) -> Request<RequestBody>, A: Fn() -> bool> Outgoing<'_, O, R, A> {
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
            match self.limits.hold(self.body, connection.send((self.request)(false))).await? {
                Ok(response) => {
                    let origin = Origin::Http1(Some(connection), self.target.clone());
                    return Ok((response, origin, sent));
                }
                // It had ended unseen, and nothing was written: a fresh one does not change what is sent.
                Err(error) if reused && error.unsent && (self.again)() => connection.counted.finish(),
                Err(error) => return Err(failed(&mut connection, &error)),
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
        let mut others = OTHER_CONNECTIONS;
        loop {
            let connection = shared_http2(self.cluster, self.target).await?;
            (self.opened)(connection.local);
            let mut guard = self.target.stream(&connection);
            let sent = Instant::now();
            let mut sender = connection.sender.clone();
            match self.limits.hold(self.body, sender.try_send_request((self.request)(true))).await? {
                Ok(response) => return Ok((response, Origin::Http2(guard), sent)),
                Err(mut error) => {
                    guard.ended();
                    // The other side had said that it takes no more, and this was not sent: another connection takes it.
                    let unsent = error.take_message().is_some();
                    if unsent && others > 0 && !connection.is_misunderstood() && (self.again)() {
                        others -= 1;
                        continue;
                    }
                    let failure = if connection.is_misunderstood() { Failure::Protocol } else { classify(error.error()) };
                    count_reset(&failure, guard.tally());
                    return Err(failure);
                }
            }
        }
    }
}

/// What became of a request on a connection of HTTP/1.1.
pub(in crate::http) fn failed(connection: &mut Http1Connection, error: &SendError) -> Failure {
    let failure = classify(&error.error);
    let garbage = matches!(failure, Failure::Protocol);
    if !garbage {
        connection.counted.ended_by_peer();
    }
    if !garbage && !error.begun {
        return failure;
    }
    // An answer that ends within its head is no answer of HTTP.
    connection.counted.tally().cx_protocol_error.add(1);
    Failure::Protocol
}

/// Counts a stream of HTTP/2 that failed.
fn count_reset(failure: &Failure, stats: &WorkerClusterStats) {
    match failure {
        Failure::Reset => stats.rq_rx_reset.add(1),
        Failure::Protocol => stats.rq_tx_reset.add(1),
        Failure::Closed => stats.rq_pending_failure_eject.add(1),
        _ => {}
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
    if let Some(connection) = target.shared_at_once() {
        return Ok(connection);
    }
    let _pending = take(cluster, Resource::Pending)?;
    let opened = target.shared_or_opened(cluster, async |permit, freed| {
        let stream = open(cluster, target).await?;
        let opened = Http2Connection::open(stream, cluster.policy().http2, cluster.tally(), permit, freed).await;
        opened.map_err(|error| classify(&error))
    });
    opened.await.map_err(|failure| {
        failure.unwrap_or_else(|| {
            cluster.with_stats(|stats| stats.rq_pending_failure_eject.add(1));
            Failure::Connect(ConnectError::Elsewhere)
        })
    })
}

/// A new connection.
pub(in crate::http) async fn open_http1(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<Http1Connection, Failure> {
    let stream = open(cluster, target).await?;
    Http1Connection::open(stream, cluster.tally()).await.map_err(|error| classify(&error))
}

async fn open(cluster: &ClusterRuntime, target: &HostRuntime) -> Result<tokio::net::TcpStream, Failure> {
    let stream = connect(&cluster.policy(), target.host.address).await;
    cluster.with_stats(|stats| {
        stats.count_connect(stream.as_ref().err());
        if stream.is_err() {
            stats.rq_pending_failure_eject.add(1);
        }
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
    if let Some(stream) = source.and_then(|source| source.downcast_ref::<h2::Error>()) {
        return match stream.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Failure::RefusedStream,
            _ if http2::is_misunderstood(error) => Failure::Protocol,
            // It was told that the connection takes no more before it took this one: as good as refused.
            _ if stream.is_go_away() && stream.is_remote() => Failure::RefusedStream,
            _ if stream.is_io() => Failure::Closed,
            _ => Failure::Reset,
        };
    }
    if error.is_parse() || error.is_parse_status() { Failure::Protocol } else { Failure::Closed }
}
