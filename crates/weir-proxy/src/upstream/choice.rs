//! What the choice of an instance depends on, and what is made ready for it.

use std::net::SocketAddr;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::balance::selector::Selector;

/// The priorities of instances, as far as they are still known.
pub(super) fn priorities(cluster: &Cluster, addresses: &[SocketAddr]) -> Vec<Option<usize>> {
    let hosts = &cluster.hosts;
    addresses.iter().map(|address| hosts.position(*address).map(|position| hosts.level(position))).collect()
}

/// The instance that a request names.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its address, if it is one.
    pub address: Option<SocketAddr>,
    /// Whether no other will do.
    pub strict: bool,
}

/// What the choice of an instance may depend on: Envoy's `LoadBalancerContext`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LbContext<'c> {
    /// The request's hash; it decides where the cluster's load balancing goes by hashes.
    pub hash: Option<u64>,
    /// Instances that are avoided; if such a one is chosen again after `tries` more choices, it is taken after all.
    pub avoid: &'c [SocketAddr],
    /// See `avoid`.
    pub tries: u32,
    /// The instances of the attempts before, in their order.
    pub tried: &'c [SocketAddr],
    /// Whether their priorities are left out, and after how many attempts each time.
    pub other_priorities: Option<usize>,
    /// The instance that comes before all others, if it may be used.
    pub wanted: Option<Wanted>,
    /// Where the client's connection was going to, if that is known.
    pub destination: Option<SocketAddr>,
}

/// How instances are chosen, as their health is now.
pub(super) struct Usable {
    /// Finds who gets a request.
    pub(super) selector: Selector,
    /// Of the cluster's health when this was made.
    pub(super) version: u64,
}

impl Usable {
    /// For a cluster as it is now.
    pub(super) fn new(cluster: &Cluster) -> Self {
        // Read first: what changes meanwhile is seen at the next choice.
        let version = cluster.health.version();
        let selector = Selector::new(&cluster.policy.lb, &cluster.hosts, Instant::now(), || fastrand::u64(..));
        Self { selector, version }
    }
}
