//! TCP: a client's connection is passed on to an instance of a cluster, byte by byte.

pub mod relay;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use weir_config::circuit_breakers::Resource;
use weir_config::cluster::UpstreamProtocol;
use weir_config::flags::ResponseFlags;
use weir_config::tcp::TcpConfig;
use weir_routing::action::Priority;
use weir_routing::hash_policy;

use crate::exchange::failure::{ConnectError, Failure, FailureKind, Outcome};
use crate::exchange::recorder::Recording;
use crate::exchange::{ConnectionInfo, Ending, Exchange};
use crate::stats::requests::SeriesKey;
use crate::tls::client::Offer;
use crate::upstream::aggregate;
use crate::upstream::cluster::{ClusterRuntime, LbContext};
use crate::upstream::clusters::Clusters;
use crate::upstream::connect::open;
use crate::upstream::counted::Counted;
use crate::upstream::host::{BusyGuard, HostRuntime};
use crate::upstream::transport::{Transport, TransportKey};
use crate::upstream::tunnel::{self, Open};
use relay::End;

/// How long an instance may take to open a tunnel, where silence has no limit.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a client's bytes go to.
enum Upstream {
    Direct(Transport),
    Tunnel(Open),
}

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
        let cluster = aggregate::member(&self.clusters, cluster, fastrand::u64(..));
        let (_busy, upstream) = match self.connect(&cluster, &exchange).await {
            Ok(connected) => connected,
            Err(failure) => return self.note(&failure, &exchange),
        };
        self.recording.series(&exchange, SeriesKey::tcp(exchange.flags.get())).opened.add(1);
        let end = match upstream {
            Upstream::Direct(upstream) => {
                // Also a connection that is ended from outside is counted no longer.
                let _counted = Counted::new(cluster.tally());
                self.relay(client, upstream, &exchange).await
            }
            Upstream::Tunnel(Open { stream, _held }) => self.relay(client, stream, &exchange).await,
        };
        tracing::trace!(?end, "a TCP connection ended");
        match end {
            End::Both | End::Client => {}
            End::Idle => exchange.flag(ResponseFlags::STREAM_IDLE_TIMEOUT),
            End::TooLong => exchange.flag(ResponseFlags::DURATION_TIMEOUT),
            End::Upstream | End::UpstreamFirst => exchange.flag(ResponseFlags::UPSTREAM_TERMINATED),
        }
    }

    /// Takes note of a connection that is not let in; what is returned ends with it.
    pub fn refused(&self, info: Rc<ConnectionInfo>, why: String, flag: ResponseFlags) -> Ending {
        let exchange = Rc::new(Exchange::new(info, None, !self.recording.logs.is_empty()));
        exchange.flag(flag);
        exchange.termination.replace(Some(why.into()));
        Ending::new(exchange, self.recording.clone())
    }

    async fn relay(
        &self,
        client: impl AsyncRead + AsyncWrite + Unpin,
        upstream: impl AsyncRead + AsyncWrite + Unpin,
        exchange: &Exchange,
    ) -> End {
        let relayed = relay::relay(client, upstream, exchange, self.config.idle_timeout);
        match self.config.longest(fastrand::f64()) {
            None => relayed.await,
            Some(limit) => tokio::time::timeout(limit, relayed).await.unwrap_or(End::TooLong),
        }
    }

    /// A connection to an instance of a cluster.
    async fn connect(&self, cluster: &ClusterRuntime, exchange: &Exchange) -> Result<(BusyGuard, Upstream), Failure> {
        let source = exchange.connection.remote.ip().to_canonical();
        let hash = self.config.hash_source.then(|| hash_policy::hash(source.to_string().as_bytes()));
        let destination = exchange.connection.original_destination;
        loop {
            exchange.attempts.set(exchange.attempts.get() + 1);
            let target = cluster.pick(&LbContext { hash, destination, ..LbContext::default() });
            let target = target.ok_or_else(|| Failure::from(FailureKind::NoInstance))?;
            exchange.tries(target.target.clone());
            let permit = cluster.take(Priority::Usual, Resource::Connections).map_err(|_| Failure::from(FailureKind::Overflow))?;
            match self.open(cluster, &target, exchange).await {
                Ok(stream) => {
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

    /// A new connection to an instance, or a tunnel through it.
    async fn open(&self, cluster: &ClusterRuntime, target: &HostRuntime, exchange: &Exchange) -> Result<Upstream, Failure> {
        let offer = match &self.config.tunnel {
            None => Offer::Nothing,
            Some(_) => cluster.with_policy(|policy| match policy.protocol {
                UpstreamProtocol::Http2 => Offer::Http2,
                UpstreamProtocol::Negotiated => Offer::Either,
                UpstreamProtocol::Http1 | UpstreamProtocol::Same => Offer::Http1,
            }),
        };
        let way = target.way();
        let key = TransportKey::of_instance(&way, offer, target.host.hostname.as_ref()).for_client(&exchange.connection);
        let stream = open(cluster, target, &key).await?;
        exchange.upstream_local.set(stream.local_address());
        exchange.upstream_ends.replace(stream.ends());
        let Some(tunnel) = &self.config.tunnel else { return Ok(Upstream::Direct(stream)) };
        let http2 = offer == Offer::Http2 || stream.agreed_on_http2();
        let opened = Box::pin(tunnel::open(tunnel, cluster, stream, &key, http2));
        // An instance that never answers holds nobody for ever.
        let limit = self.config.idle_timeout.unwrap_or(LONGEST_WAIT);
        let opened = tokio::time::timeout(limit, opened).await.map_err(|_| Failure::from(FailureKind::Connect(ConnectError::TimedOut)))?;
        opened.map(Upstream::Tunnel)
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
