//! Checks one instance, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::uri::Scheme;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::failure::{CheckFailure, CheckFailureKind, Result};
use super::schedule::{CheckSchedule, Step};
use super::{exec, grpc, http, tcp};
use weir_config::cluster::ClusterPolicy;
use weir_config::health_check::{HealthCheckPolicy, Method};

use crate::cluster::Cluster;
use crate::cluster::host::Host;
use crate::cluster::outlier::Health;
use crate::stats::cluster::ClusterStats;
use crate::tls::client::Offer;
use crate::tls::transports::{Said, Way};
use crate::upstream::connect::connect;
use crate::upstream::transport::{Transport, TransportKey};

/// Whom to ask.
pub(super) struct CheckedHost {
    cluster: Arc<ClusterPolicy>,
    /// How it is spoken to.
    way: Way,
    /// What is offered by ALPN, where the check says it.
    alpn: Vec<Vec<u8>>,
    /// Where it answers checks.
    pub address: SocketAddr,
    host: Arc<Host>,
}

impl CheckedHost {
    /// A new connection to it.
    pub async fn connect(&self, offer: Offer) -> Result<Transport> {
        let key = TransportKey::of_instance(&self.way, offer, self.host.hostname.as_ref()).offering(&self.alpn);
        connect(&self.cluster, self.address, &key).await.map_err(|error| CheckFailure::network(error.reason()))
    }

    /// The scheme of requests to it.
    pub fn scheme(&self) -> Scheme {
        if self.way.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The authority of requests to it: its own, else the one that the check names, else the cluster's name.
    pub fn authority<'a>(&'a self, named: Option<&'a weir_http1::HeaderValue>) -> &'a [u8] {
        let own = self.host.check.as_ref().map(|check| check.hostname.as_bytes()).filter(|name| !name.is_empty());
        own.or(named.map(|name| name.as_bytes())).unwrap_or(self.cluster.name.as_bytes())
    }
}

/// Checks one instance.
pub(super) struct Checker {
    instance: CheckedHost,
    policy: Arc<HealthCheckPolicy>,
    health: Arc<Health>,
    stats: Arc<ClusterStats>,
    schedule: CheckSchedule,
    kept: Kept,
    told: Told,
}

/// Who is told of results.
#[derive(Clone)]
pub struct Told {
    /// Notified when an instance has been checked for the first time.
    pub first: Arc<Notify>,
    /// How the proxy's own workload is, where that is probed.
    pub workload: watch::Sender<Option<std::result::Result<(), String>>>,
}

/// Connections that serve for the next check as well.
#[derive(Default)]
struct Kept {
    http: Option<http::Connection>,
    tcp: Option<Transport>,
    grpc: Option<grpc::Connection>,
}

impl Checker {
    pub fn new(cluster: &Cluster, policy: Arc<HealthCheckPolicy>, host: Arc<Host>, told: Told) -> Self {
        let address = host.check_address();
        let way = match &policy.transport {
            Some(criteria) => cluster.transports.of(&Said { endpoint: criteria.clone(), ..Said::default() }),
            None => cluster.transports.of(&host.transport),
        };
        Self {
            instance: CheckedHost { cluster: cluster.policy.clone(), way, alpn: policy.alpn.clone(), address, host },
            policy,
            health: cluster.health.clone(),
            stats: cluster.stats.clone(),
            schedule: CheckSchedule::default(),
            kept: Kept::default(),
            told,
        }
    }

    /// Checks until the task is dropped.
    pub async fn run(mut self, is_known: Arc<AtomicBool>) {
        if let Some(probe) = &self.policy.probe {
            sleep(Duration::try_from_secs_f64(probe.initial_delay).unwrap_or_default()).await;
        }
        sleep(self.policy.pauses.before_first(below)).await;
        loop {
            let result = self.check().await;
            let step = self.schedule.take(&self.policy, self.instance.host.health.is_failing(), &result);
            let is_first = !is_known.load(Ordering::Relaxed);
            self.note(&step, &result, is_first);
            self.tell(&step, &result);
            if is_first {
                is_known.store(true, Ordering::Relaxed);
                self.told.first.notify_one();
            }
            let used = self.stats.sum(|stats| &stats.cx_total) > 0;
            sleep(self.policy.pauses.after(result.is_ok(), step.is_pending, used, below)).await;
        }
    }

    async fn check(&mut self) -> Result {
        self.stats.health_checks.attempt.fetch_add(1, Ordering::Relaxed);
        let policy = &self.policy;
        let checked = timeout(policy.timeout, ask(&policy.method, &self.instance, &mut self.kept)).await;
        if !policy.reuse_connection {
            self.kept = Kept::default();
        }
        checked.unwrap_or_else(|_| Err(CheckFailure::network(format!("no answer within {:?}", policy.timeout))))
    }

    /// Tells how the workload is, when that is decided and new.
    fn tell(&self, step: &Step, result: &Result) {
        if self.policy.probe.is_none() || !step.is_decided {
            return;
        }
        self.told.workload.send_if_modified(|told| {
            let is_new = told.as_ref().map(std::result::Result::is_ok) != Some(step.passes);
            if is_new {
                let reason = result.as_ref().err().map(|failure| failure.reason.clone());
                *told = Some(if step.passes { Ok(()) } else { Err(reason.unwrap_or_default()) });
            }
            is_new
        });
    }

    /// Takes note of a result.
    fn note(&self, step: &Step, result: &Result, is_first: bool) {
        let stats = &self.stats.health_checks;
        match result {
            Ok(()) => stats.success.fetch_add(1, Ordering::Relaxed),
            Err(failure) => {
                if failure.kind == CheckFailureKind::Network {
                    stats.network_failure.fetch_add(1, Ordering::Relaxed);
                }
                stats.failure.fetch_add(1, Ordering::Relaxed)
            }
        };
        let (cluster, instance) = (&*self.instance.cluster.name, self.instance.host.address);
        let is_new = self.health.checked(&self.instance.host, step.passes);
        match result {
            Ok(()) if is_new => tracing::info!(cluster, %instance, "passes its health checks"),
            Err(failure) if is_new || is_first => tracing::warn!(cluster, %instance, "fails its health checks: {}", failure.reason),
            Err(failure) => tracing::debug!(cluster, %instance, "a health check failed: {}", failure.reason),
            Ok(()) => {}
        }
    }
}

/// A number below `limit`, by chance.
fn below(limit: u64) -> u64 {
    fastrand::u64(..limit)
}

/// One check. A connection is kept as soon as it has carried an answer to its end: of a check that is broken off, none is.
async fn ask(method: &Method, instance: &CheckedHost, kept: &mut Kept) -> Result {
    match method {
        Method::Http(policy) => http::check(policy, instance, &mut kept.http).await,
        Method::Tcp(policy) => tcp::check(policy, instance, &mut kept.tcp).await,
        Method::Grpc(policy) => grpc::check(policy, instance, &mut kept.grpc).await,
        Method::Exec(command) => exec::check(command).await,
    }
}
