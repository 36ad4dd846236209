//! A check by gRPC's health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use std::error::Error as _;

use ::http::uri::{Authority, PathAndQuery, Uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic_prost::ProstCodec;
use weir_ads::grpc::Channel;

use super::checker::CheckedHost;
use super::failure::{CheckFailure, CheckFailureKind, Result};
use weir_config::health_check::GrpcMethodPolicy;
use weir_http1::header::to_map;

use crate::tls::client::Offer;
use crate::upstream::transport::Transport;

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// A connection, and the task that drives it.
pub(super) struct Connection {
    channel: Channel,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(stream: Transport) -> Result<Self> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(CheckFailure::network)?;
        Ok(Self { channel: Channel::new(sender), driver: tokio::spawn(async move { drop(connection.await) }) })
    }
}

/// One check.
pub(super) async fn check(policy: &GrpcMethodPolicy, instance: &CheckedHost, kept: &mut Option<Connection>) -> Result {
    let connection = match kept.take().filter(|kept| !kept.driver.is_finished()) {
        Some(kept) => kept,
        None => Connection::open(instance.connect(Offer::Http2).await?).await?,
    };
    let authority = Authority::try_from(instance.authority(policy.authority.as_ref()));
    let mut origin = ::http::uri::Parts::default();
    origin.scheme = Some(instance.scheme());
    origin.authority = Some(authority.map_err(|_| CheckFailure::network("its name is no authority"))?);
    origin.path_and_query = Some(PathAndQuery::from_static("/"));
    let origin = Uri::from_parts(origin).map_err(CheckFailure::network)?;
    let metadata = MetadataMap::from_headers(to_map(&policy.metadata));
    let found = ask_health(connection.channel.clone(), origin, metadata, policy.service.clone()).await;
    if found.as_ref().is_err_and(|failure| failure.kind == CheckFailureKind::Network) {
        return found;
    }
    *kept = Some(connection);
    found
}

/// Asks over a connection whether a service is well; an empty name means all of the server.
///
/// # Errors
/// If it is not, or does not say so.
pub async fn ask_health(channel: Channel, origin: Uri, metadata: MetadataMap, service: String) -> Result {
    let request = tonic::Request::from_parts(metadata, Default::default(), HealthCheckRequest { service });
    let mut client = tonic::client::Grpc::with_origin(channel, origin);
    client.ready().await.map_err(CheckFailure::network)?;
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(request, PathAndQuery::from_static(CHECK), codec).await;
    match answer.map_err(|status| refusal(&status))?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(CheckFailure::answer(format!("it answers {other:?}"))),
    }
}

/// A status that the instance gave, or one that stands for a broken connection.
fn refusal(status: &tonic::Status) -> CheckFailure {
    match status.source() {
        Some(error) => CheckFailure::network(error),
        None => CheckFailure::answer(format!("it answers {:?}: {}", status.code(), status.message())),
    }
}
