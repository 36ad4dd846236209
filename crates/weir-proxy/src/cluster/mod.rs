//! A cluster's run-time state that all workers share: its instances ([`host`]), which of them are left out ([`outlier`]), what
//! it uses of its limits ([`resources`]), and how one is chosen ([`balance`]).

pub mod balance;
mod budget;
pub mod host;
pub mod outlier;
pub mod resources;
#[cfg(test)]
pub mod testing;

use std::sync::Arc;

use weir_config::cluster::ClusterPolicy;

use crate::stats::cluster::ClusterStats;
use crate::tls::transports::Transports;
use host::Hosts;
use outlier::Health;
use resources::Resources;

/// A cluster as the workers use it.
#[derive(Debug)]
pub struct Cluster {
    /// Everything but the instances; shared by all states of the instances.
    pub policy: Arc<ClusterPolicy>,
    /// The instances that may be chosen now.
    pub hosts: Hosts,
    /// Counted by all workers; kept while the cluster changes.
    pub stats: Arc<ClusterStats>,
    /// Which of its instances fail too often; kept while the cluster changes.
    pub health: Arc<Health>,
    /// What all workers use of it; kept while the cluster changes.
    pub resources: Arc<Resources>,
    /// How its instances are spoken to.
    pub transports: Arc<Transports>,
}
