//! Active health checks: each instance of a cluster with `health_checks` is asked again and again whether it is well, and is
//! left out while it is not. The rules are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>): an instance counts as
//! unhealthy until its first check, the first answer decides at once, and later ones by thresholds.
//!
//! One cluster may be the probe of the proxy's own workload (see `weir_xds::health`): what it finds is told to the control plane.
//!
//! [`HealthCheckPolicy`] is what the configuration says, [`schedule`] what follows from a result, [`http`], [`tcp`] and [`grpc`] and [`exec`]
//! are one check each. They run on the runtime of the control side: workers only see a flag of the instance.

mod checker;
mod exec;
mod failure;
mod grpc;
mod http;
mod payload;
mod schedule;
mod tcp;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use weir_config::health_check::HealthCheckPolicy;

use crate::cluster::Cluster;
use crate::cluster::host::{Host, Hosts};
use crate::tls::transports::Transports;
use checker::Checker;
pub use checker::Told;
pub use grpc::ask_health;

/// The checks of one cluster: one for each instance, for as long as it is in the cluster.
#[derive(Default)]
pub struct Checks {
    policy: Option<Arc<HealthCheckPolicy>>,
    transports: Arc<Transports>,
    running: HashMap<SocketAddr, Running>,
    /// Whether every instance has been checked once; what comes later does not undo that.
    warm: bool,
}

/// The check of one instance; it ends when it is dropped.
struct Running {
    host: Arc<Host>,
    /// Whether a first result is known.
    is_known: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Checks just the instances that the cluster has now. Those that it had before keep their checks and their state,
    /// others are unhealthy until they have passed.
    pub fn follow(&mut self, cluster: &Arc<Cluster>, before: &Hosts, told: &Told) {
        if !Arc::ptr_eq(&self.transports, &cluster.transports) {
            self.running.clear();
            self.transports = cluster.transports.clone();
        }
        if self.policy != cluster.policy.health_check {
            self.running.clear();
            self.policy.clone_from(&cluster.policy.health_check);
            if self.policy.is_none() {
                // Nobody would bring those back that fail now.
                for host in instances(before) {
                    cluster.health.checked(host, true);
                }
            }
        }
        let Some(policy) = &self.policy else { return };
        let checked: HashMap<SocketAddr, &Arc<Host>> =
            instances(&cluster.hosts).filter(|host| host.is_checked()).map(|host| (host.address, host)).collect();
        self.running.retain(|address, running| checked.get(address).is_some_and(|host| Arc::ptr_eq(host, &running.host)));
        for (address, host) in checked {
            if self.running.contains_key(&address) {
                continue;
            }
            if !before.contains(host) {
                cluster.health.checked(host, false);
            }
            let is_known = Arc::new(AtomicBool::new(false));
            let checker = Checker::new(cluster, policy.clone(), host.clone(), told.clone());
            let task = tokio::spawn(checker.run(is_known.clone()));
            self.running.insert(address, Running { host: host.clone(), is_known, task });
        }
    }

    /// Whether the cluster may be used: every instance has been checked once.
    pub fn are_warm(&mut self) -> bool {
        self.warm = self.warm || self.running.values().all(|running| running.is_known.load(Ordering::Relaxed));
        self.warm
    }
}

/// All instances of a cluster.
fn instances(hosts: &Hosts) -> impl Iterator<Item = &Arc<Host>> {
    hosts.list.iter().map(|weighted| &weighted.host)
}

/// How many instances pass their checks.
pub fn passing(hosts: &Hosts) -> usize {
    instances(hosts).filter(|host| !host.health.is_failing()).count()
}
