//! Requests that filters send themselves, to a service that they ask: Envoy's asynchronous HTTP client.
//!
//! They go the way of all requests, with the load balancing, the pools, the limits and the TLS of their cluster, and are counted
//! there. Nothing of them touches the request that they are sent for: not its instance, not its retries, not its log. Who drops
//! the future ends the call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};
use weir_config::circuit_breakers::Resource;
use weir_config::head::{Head, append_to};
use weir_http1::header::{HeaderName, HeaderValue, Headers, from_map};
use weir_routing::action::Priority;

use super::router::judge;
use crate::exchange::failure::{Expired, Failure, FailureKind};
use crate::io::own_address::own_address;
use crate::io::response::Parts;
use crate::upstream::aggregate;
use crate::upstream::body::UpstreamBody;
use crate::upstream::cluster::{ClusterRuntime, LbContext};
use crate::upstream::clusters::Clusters;
use crate::upstream::limits::AttemptLimits;
use crate::upstream::send::{Outgoing, Payload, take};

pub(super) mod grpc;

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// A request of a filter's own. Its `content-length` says whether the body goes out by its length or in parts.
pub(super) struct SideRequest {
    /// The head; `host` is the authority.
    pub(super) head: Head,
    /// All that follows it.
    pub(super) body: Bytes,
    /// How long all of it may take, to the last byte of the answer.
    pub(super) timeout: Option<Duration>,
    /// How long the body of the answer may be.
    pub(super) most: usize,
}

impl SideRequest {
    /// Says who sends it, as Envoy's client does: a proxy inside the mesh, which waits so long.
    pub(super) fn sign(&mut self) {
        self.head.headers.insert(INTERNAL, HeaderValue::from_static("true"));
        if let Some(timeout) = self.timeout.filter(|timeout| !timeout.is_zero()) {
            self.head.headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(timeout.as_millis() as u64));
        }
    }

    /// Says from which address it is sent.
    pub(super) fn sign_with_address(&mut self) {
        if let Ok(own) = HeaderValue::from_str(&own_address().to_string()) {
            append_to(&mut self.head.headers, &FORWARDED_FOR, own, b",");
        }
    }
}

/// The whole answer.
#[derive(Debug)]
pub(super) struct SideAnswer {
    /// Its head. What is told of the time that it took is in it, as Envoy's client has it.
    pub(super) head: Parts,
    /// Its body.
    pub(super) body: Bytes,
    /// What stands behind that.
    pub(super) trailers: Option<Headers>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SideCallError {
    /// There is no such cluster.
    #[error("there is no such cluster")]
    NoCluster,
    /// No answer has begun. What a client would be told of that, Envoy's filters take for the answer.
    #[error("no answer: {0:?}")]
    NoAnswer(Failure),
    /// It broke off after its head, or took too long from there on.
    #[error("the answer broke off")]
    BrokenOff,
    /// Its body is longer than it may be.
    #[error("the answer is too large")]
    TooLarge,
}

impl From<Failure> for SideCallError {
    fn from(failure: Failure) -> Self {
        Self::NoAnswer(failure)
    }
}

/// Sends a request to a cluster, and waits for the whole answer.
///
/// # Errors
/// If there is none.
pub(super) async fn call(clusters: &Clusters, cluster: &str, request: SideRequest) -> Result<SideAnswer, SideCallError> {
    let cluster = clusters.get(cluster).ok_or(SideCallError::NoCluster)?;
    let cluster = aggregate::member(clusters, cluster, fastrand::u64(..));
    let (deadline, most) = (request.timeout.and_then(|timeout| Instant::now().checked_add(timeout)), request.most);
    let mut answer = match reach(&cluster, request, deadline).await {
        Ok(answer) => answer,
        Err(failure) => {
            count(&cluster, &failure);
            return Err(failure.into());
        }
    };
    let mut head = std::mem::take(&mut answer.head);
    cluster.with_stats(|stats| stats.statuses.count(head.status.as_u16()));
    head.headers.insert(SERVICE_TIME, HeaderValue::from(answer.sent.elapsed().as_millis() as u64));
    let Some(whole) = by(deadline, read(&mut answer, most)).await else {
        cluster.with_stats(|stats| Expired::Timeout.count(stats));
        return Err(SideCallError::BrokenOff);
    };
    let (body, trailers) = whole?;
    answer.give_back();
    Ok(SideAnswer { head, body, trailers })
}

/// Waits, but no longer than to this moment.
async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// Sends it to an instance, which is judged by what comes of it as by any request.
async fn reach(cluster: &Rc<ClusterRuntime>, request: SideRequest, deadline: Option<Instant>) -> Result<Box<UpstreamBody>, Failure> {
    if fastrand::u32(..1_000_000) < cluster.dropped_millionths() {
        // The control plane has its instances spared.
        return Err(FailureKind::Overflow.into());
    }
    let target = cluster.pick(&LbContext::default()).ok_or(FailureKind::NoInstance)?;
    let busy = target.busy(take(cluster, Priority::Usual, Resource::Requests)?);
    let outgoing = Outgoing {
        cluster,
        target: &target,
        head: &RefCell::new(request.head),
        body: Payload::Whole(request.body),
        client: None,
        priority: Priority::Usual,
        limits: AttemptLimits::default(),
        exchange: None,
        introduction: None,
    };
    let result = by(deadline, outgoing.send()).await;
    let result = result.unwrap_or_else(|| Err(Failure::after_sending(FailureKind::Expired(Expired::Timeout))));
    judge(cluster, &target, &result);
    let mut answer = result?;
    answer.busy = Some(busy);
    Ok(answer)
}

/// Counts a request that got no answer as any such.
fn count(cluster: &ClusterRuntime, failure: &Failure) {
    cluster.with_stats(|stats| {
        match failure.kind {
            FailureKind::NoInstance => stats.none_healthy.add(1),
            FailureKind::Expired(expired) => expired.count(stats),
            _ => {}
        }
        stats.statuses.count(failure.told(false).status.as_u16());
    });
}

/// Reads an answer to its end, up to a limit.
async fn read(answer: &mut UpstreamBody, most: usize) -> Result<(Bytes, Option<Headers>), SideCallError> {
    let (mut body, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| answer.poll(cx)).await {
        match frame.map_err(|_| SideCallError::BrokenOff)?.into_data() {
            Ok(data) if body.len().saturating_add(data.len()) > most => return Err(SideCallError::TooLarge),
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok().map(from_map),
        }
    }
    Ok((body.freeze(), trailers))
}
