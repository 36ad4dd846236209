//! TCP: a client's connection is passed on to an instance of a cluster, byte by byte.

pub mod relay;

use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use weir_config::circuit_breakers::Resource;
use weir_config::flags::ResponseFlags;
use weir_config::tcp::TcpConfig;
use weir_routing::hash_policy;

use crate::exchange::failure::{Failure, FailureKind, Outcome};
use crate::exchange::recorder::Recording;
use crate::exchange::{ConnectionInfo, Ending, Exchange};
use crate::stats::requests::SeriesKey;
use crate::tls::client::Offer;
use crate::upstream::cluster::{ClusterRuntime, LbContext};
use crate::upstream::clusters::Clusters;
use crate::upstream::connect::open;
use crate::upstream::counted::Counted;
use crate::upstream::host::BusyGuard;
use crate::upstream::transport::{Transport, TransportKey};
use relay::End;

/// A TCP proxy as one worker uses it.
pub struct TcpRuntime {
    config: Arc<TcpConfig>,
    recording: Rc<Recording>,
    clusters: Rc<Clusters>,
}

impl TcpRuntime {
    /// For one worker.
    pub fn new(config: Arc<TcpConfig>, recording: Rc<Recording>, clusters: Rc<Clusters>) -> Self {
        Self { config, recording, clusters }
    }

    /// Passes a connection on.
    pub async fn serve(self: Rc<Self>, client: impl AsyncRead + AsyncWrite + Unpin, info: Rc<ConnectionInfo>) {
        let exchange = Rc::new(Exchange::new(info, None, !self.recording.logs.is_empty()));
        // Also when the worker ends the connection, or the process, it is written down.
        let _ending = Ending::new(exchange.clone(), self.recording.clone());
        let (name, _) = &self.config.clusters[self.config.choose(fastrand::u64(..))];
        let Some(cluster) = self.clusters.get(name) else {
            exchange.cluster_name.replace(Some(name.clone()));
            exchange.flag(ResponseFlags::NO_CLUSTER);
            return;
        };
        exchange.cluster.replace(Some(cluster.destination()));
        let (_busy, upstream) = match self.connect(&cluster, &exchange).await {
            Ok(connected) => connected,
            Err(failure) => return self.note(&failure, &exchange),
        };
        // Also a connection that is ended from outside is counted no longer.
        let _counted = Counted::new(cluster.tally());
        self.recording.series(&exchange, SeriesKey::tcp(exchange.flags.get())).opened.add(1);
        let relayed = relay::relay(client, upstream, &exchange, self.config.idle_timeout);
        let end = match self.config.longest(fastrand::f64()) {
            None => relayed.await,
            Some(limit) => tokio::time::timeout(limit, relayed).await.unwrap_or(End::TooLong),
        };
        tracing::trace!(?end, "a TCP connection ended");
        match end {
            End::Both | End::Client => {}
            End::Idle => exchange.flag(ResponseFlags::STREAM_IDLE_TIMEOUT),
            End::TooLong => exchange.flag(ResponseFlags::DURATION_TIMEOUT),
            End::Upstream | End::UpstreamFirst => exchange.flag(ResponseFlags::UPSTREAM_TERMINATED),
        }
    }

    /// A connection to an instance of a cluster.
    async fn connect(&self, cluster: &ClusterRuntime, exchange: &Exchange) -> Result<(BusyGuard, Transport), Failure> {
        let source = exchange.connection.remote.ip().to_canonical();
        let hash = self.config.hash_source.then(|| hash_policy::hash(source.to_string().as_bytes()));
        let destination = exchange.connection.original_destination;
        loop {
            exchange.attempts.set(exchange.attempts.get() + 1);
            let target = cluster.pick(&LbContext { hash, destination, ..LbContext::default() });
            let target = target.ok_or_else(|| Failure::from(FailureKind::NoInstance))?;
            exchange.target.replace(Some(target.target.clone()));
            let permit = cluster.take(Resource::Connections).map_err(|_| Failure::from(FailureKind::Overflow))?;
            let key = TransportKey::of_instance(target.tls().as_ref(), Offer::Nothing, target.host.hostname.as_ref());
            match open(cluster, &target, &key).await {
                Ok(stream) => {
                    exchange.upstream_local.set(stream.local_address());
                    cluster.report(&target.host, Outcome::Status(200));
                    return Ok((target.busy(permit), stream));
                }
                Err(failure) => {
                    if let Some(outcome) = failure.outcome() {
                        cluster.report(&target.host, outcome);
                    }
                    if exchange.attempts.get() >= self.config.connect_attempts {
                        return Err(failure);
                    }
                }
            }
        }
    }

    fn note(&self, failure: &Failure, exchange: &Exchange) {
        exchange.flag(failure.told(false).flag);
        if let FailureKind::Connect(error) = &failure.kind {
            exchange.transport_failure.replace(Some(error.logged()));
            if self.config.connect_attempts > 1 {
                exchange.flag(ResponseFlags::UPSTREAM_RETRY_LIMIT);
            }
        }
    }
}
