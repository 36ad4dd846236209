//! TCP: a client's connection is passed on to an instance of a cluster, byte by byte.

pub mod relay;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::balance::outlier;
use crate::config::access_log::AccessLog;
use crate::config::cluster::Service;
use crate::config::host::Workload;
use crate::config::tcp::TcpConfig;
use crate::log::exchange::{ConnectionInfo, Exchange};
use crate::log::flags::ResponseFlags;
use crate::log::writer::LogSink;
use crate::stats::requests::{Known, Labels, Outcome, Reporter, Series};
use crate::upstream::connect::connect;
use crate::upstream::resources::Resource;
use crate::worker::cluster::{ClusterRuntime, LbContext};
use crate::worker::host::BusyGuard;
use crate::worker::instance::Instance;
use relay::End;
use weir_routing::hash_policy;

/// A TCP proxy as one worker uses it.
pub struct TcpRuntime {
    /// What it is told to do.
    pub config: Arc<TcpConfig>,
    /// Its access logs and the files behind them.
    pub logs: Vec<(AccessLog, Rc<LogSink>)>,
    /// Which side it counts for.
    pub reporter: Reporter,
    /// What was counted of connections that found no cluster.
    pub series: RefCell<Known>,
    /// The proxy instance that it belongs to.
    pub instance: Rc<Instance>,
}

/// A client's connection.
pub enum Client<T> {
    /// A socket, and what was read of it already.
    Plain(TcpStream, Bytes),
    /// What comes out of TLS.
    Tls(T),
}

impl TcpRuntime {
    /// For one worker.
    pub fn new(config: Arc<TcpConfig>, reporter: Reporter, instance: Rc<Instance>) -> Self {
        let logs = config.access_logs.iter().map(|log| (log.clone(), instance.sink(&log.path))).collect();
        Self { config, logs, reporter, series: RefCell::default(), instance }
    }

    /// Passes a connection on.
    pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(self: Rc<Self>, client: Client<T>, info: Rc<ConnectionInfo>) {
        let exchange = Rc::new(Exchange::new(info, None, !self.logs.is_empty()));
        // Also when the worker ends the connection, or the process, it is written down.
        let _ending = Ending { exchange: exchange.clone(), tcp: self.clone() };
        let (name, _) = &self.config.clusters[self.config.choose(fastrand::u64(..))];
        let Some(cluster) = self.instance.cluster(name) else {
            exchange.cluster_name.replace(Some(name.clone()));
            exchange.flag(ResponseFlags::NO_CLUSTER);
            return;
        };
        exchange.cluster.replace(Some(cluster.clone()));
        let Some((_busy, upstream)) = self.connect(&cluster, &exchange).await else { return };
        cluster.with_stats(|stats| stats.cx_active.add(1));
        self.series(&exchange).opened.add(1);
        let relayed = async {
            match client {
                Client::Plain(socket, first) => relay::relay(&socket, first, &upstream, &exchange, self.config.idle_timeout).await,
                Client::Tls(stream) => relay::copy(stream, upstream, &exchange).await.map_or_else(End::Client, |()| End::Both),
            }
        };
        let end = match self.config.max_duration {
            None => relayed.await,
            Some(limit) => tokio::time::timeout(limit, relayed).await.unwrap_or(End::TooLong),
        };
        cluster.with_stats(|stats| stats.cx_active.subtract(1));
        match end {
            End::Both | End::Client(_) => {}
            End::Idle => exchange.flag(ResponseFlags::STREAM_IDLE_TIMEOUT),
            End::TooLong => exchange.flag(ResponseFlags::DURATION_TIMEOUT),
            End::Upstream(_) => exchange.flag(ResponseFlags::UPSTREAM_TERMINATED),
        }
    }

    /// A connection to an instance of a cluster.
    async fn connect(&self, cluster: &ClusterRuntime, exchange: &Exchange) -> Option<(BusyGuard, TcpStream)> {
        let source = exchange.connection.remote.ip().to_canonical();
        let hash = self.config.hash_source.then(|| hash_policy::hash(source.to_string().as_bytes()));
        let destination = exchange.connection.original_destination;
        for attempt in 1..=self.config.connect_attempts {
            exchange.attempts.set(attempt);
            let Some(target) = cluster.pick(&LbContext { hash, destination, ..LbContext::default() }) else {
                exchange.flag(ResponseFlags::NO_HEALTHY_UPSTREAM);
                return None;
            };
            exchange.target.replace(Some(target.clone()));
            let Ok(permit) = cluster.take(Resource::Connections) else {
                exchange.flag(ResponseFlags::UPSTREAM_OVERFLOW);
                return None;
            };
            match connect(&cluster.policy(), target.host.address).await {
                Ok(stream) => {
                    exchange.upstream_local.set(stream.local_addr().ok());
                    cluster.with_stats(|stats| stats.count_connect(None));
                    cluster.report(&target.host, outlier::Outcome::Status(200));
                    return Some((target.busy(permit), stream));
                }
                Err(error) => {
                    cluster.report(&target.host, outlier::Outcome::Failed);
                    cluster.with_stats(|stats| stats.count_connect(Some(&error)));
                    exchange.transport_failure.replace(Some(error.reason()));
                }
            }
        }
        exchange.flag(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        if self.config.connect_attempts > 1 {
            exchange.flag(ResponseFlags::UPSTREAM_RETRY_LIMIT);
        }
        None
    }

    /// The series that a connection is counted in.
    fn series(&self, exchange: &Exchange) -> Arc<Series> {
        let outcome = Outcome { protocol: "tcp", code: 0, grpc_status: None, flags: exchange.flags.get() };
        let cluster = exchange.cluster.borrow();
        let target = exchange.target.borrow();
        let make = |outcome: Outcome| {
            let own = self.instance.identity.workload.clone();
            let theirs = target.as_ref().map_or_else(Workload::default, |target| target.host.workload.clone());
            let (source, destination) = match self.reporter {
                Reporter::Source => (own, theirs),
                Reporter::Destination => (Workload::default(), own),
            };
            self.instance.series(Labels {
                reporter: self.reporter,
                source,
                destination,
                service: cluster.as_ref().map_or_else(Service::default, |cluster| cluster.policy().service.clone()),
                protocol: outcome.protocol,
                code: 0,
                grpc_status: None,
                flags: outcome.flags,
            })
        };
        let mut known = match target.as_ref() {
            Some(target) => target.series.borrow_mut(),
            None => self.series.borrow_mut(),
        };
        known.get(outcome, make).clone()
    }
}

/// Ends a connection's exchange: it is written to the access logs and counted.
struct Ending {
    exchange: Rc<Exchange>,
    tcp: Rc<TcpRuntime>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.exchange.duration.set(Some(self.exchange.start.elapsed()));
        for (log, sink) in &self.tcp.logs {
            if log.filter.takes(self.exchange.flags.get()) {
                sink.line(|out| log.format.write(&*self.exchange, out));
            }
        }
        let series = self.tcp.series(&self.exchange);
        series.closed.add(1);
        series.sent_bytes.add(self.exchange.bytes_sent.get());
        series.received_bytes.add(self.exchange.bytes_received.get());
    }
}
