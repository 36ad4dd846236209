//! How an instance of a cluster is chosen: the policies are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers>).

use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::cluster::cluster::common_lb_config::LocalityConfigSpecifier;
use weir_xds::cluster::cluster::{LbConfig, LbPolicy as XdsLbPolicy};

use super::slow_start::SlowStart;

/// What a cluster says of how its instances are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How an instance is chosen among its like.
    pub balance: Balance,
    /// How it is found who they are.
    pub common: CommonLb,
}

impl Settings {
    /// Compiles what an xDS cluster says of it.
    pub fn compile(cluster: &XdsCluster) -> Self {
        Self { balance: balance(cluster), common: common_lb(cluster) }
    }
}

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// Of some by chance, the one with the fewest requests; where weights differ, by weight and requests.
    LeastRequest {
        /// How many by chance.
        choices: u32,
        /// The power to which its requests count against its weight: `weight / (requests + 1)^bias`.
        bias: f64,
    },
    /// By the request's hash, on a ring with at least and at most so many points.
    RingHash(u64, u64),
    /// By the request's hash, in a table of this size.
    Maglev(u64),
}

impl Balance {
    /// Whether a request's hash decides.
    pub fn is_by_hash(self) -> bool {
        matches!(self, Self::RingHash(..) | Self::Maglev(_))
    }
}

/// What Envoy's `common_lb_config` says, and slow start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommonLb {
    /// If fewer percent of the instances than this are healthy, all are used; 0 is never.
    pub panic_percent: u32,
    /// Whether then none is used instead.
    pub fail_traffic_on_panic: bool,
    /// Whether localities have weights of their own.
    pub locality_weighted: bool,
    /// How new instances warm up.
    pub slow_start: Option<SlowStart>,
}

/// Zone-aware routing compares the zones of the instances with those of the proxies like this one, which it would have to
/// know as a cluster of its own (`cluster_manager.local_cluster_name`). It does not, and without that Envoy does nothing but
/// to heed `fail_traffic_on_panic`.
fn common_lb(cluster: &XdsCluster) -> CommonLb {
    /// Envoy's threshold where none is given.
    const HALF: u32 = 50;
    let config = cluster.common_lb_config.as_ref();
    let threshold = config.and_then(|config| config.healthy_panic_threshold.as_ref());
    let locality = config.and_then(|config| config.locality_config_specifier.as_ref());
    let slow_start = match &cluster.lb_config {
        Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
        Some(LbConfig::LeastRequestLbConfig(config)) => config.slow_start_config.as_ref(),
        _ => None,
    };
    CommonLb {
        panic_percent: threshold.map_or(HALF, |percent| percent.value.clamp(0.0, 100.0) as u32),
        fail_traffic_on_panic: matches!(locality, Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) if zone.fail_traffic_on_panic),
        locality_weighted: matches!(locality, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))),
        slow_start: SlowStart::compile(slow_start),
    }
}

fn balance(cluster: &XdsCluster) -> Balance {
    match cluster.lb_policy() {
        // A cluster that brings its own is one of the original destination: there is nothing to choose.
        XdsLbPolicy::RoundRobin | XdsLbPolicy::ClusterProvided => Balance::RoundRobin,
        XdsLbPolicy::Random => Balance::Random,
        XdsLbPolicy::LeastRequest => {
            let config = match &cluster.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => Some(config),
                _ => None,
            };
            let bias = config.and_then(|config| config.active_request_bias.as_ref()).map_or(1.0, |bias| bias.default_value);
            Balance::LeastRequest { choices: config.and_then(|config| config.choice_count).unwrap_or(2).max(2), bias: bias.max(0.0) }
        }
        XdsLbPolicy::RingHash => match &cluster.lb_config {
            Some(LbConfig::RingHashLbConfig(ring)) => {
                let limit = |size: Option<u64>, usual| size.unwrap_or(usual).clamp(1, MAX_RING);
                Balance::RingHash(limit(ring.minimum_ring_size, MIN_RING), limit(ring.maximum_ring_size, MAX_RING))
            }
            _ => Balance::RingHash(MIN_RING, MAX_RING),
        },
        XdsLbPolicy::Maglev => match &cluster.lb_config {
            Some(LbConfig::MaglevLbConfig(maglev)) => Balance::Maglev(maglev.table_size.unwrap_or(MAGLEV_TABLE)),
            _ => Balance::Maglev(MAGLEV_TABLE),
        },
        XdsLbPolicy::LoadBalancingPolicyConfig => Balance::LeastRequest { choices: 2, bias: 1.0 },
    }
}

/// Envoy's sizes where none are given.
const MIN_RING: u64 = 1024;
const MAX_RING: u64 = 8 << 20;
const MAGLEV_TABLE: u64 = 65_537;
