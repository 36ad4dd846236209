//! `lb_policy`, the configuration beside it, and `common_lb_config`.

use weir_routing::CompileError;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::cluster::cluster::common_lb_config::{ConsistentHashingLbConfig, LocalityConfigSpecifier, ZoneAwareLbConfig};
use weir_xds::cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, OriginalDstLbConfig, RingHashLbConfig, RoundRobinLbConfig,
};

use super::{Balance, CommonLb, Settings, SlowStart, least_request, maglev, ring};

/// Compiles what a cluster says without `load_balancing_policy`.
pub(super) fn compile(cluster: &XdsCluster) -> Result<Settings, CompileError> {
    let slow_start = match &cluster.lb_config {
        Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config })) => slow_start_config.as_ref(),
        Some(LbConfig::LeastRequestLbConfig(config)) => config.slow_start_config.as_ref(),
        _ => None,
    };
    Ok(Settings {
        balance: balance(cluster)?,
        common: CommonLb { slow_start: SlowStart::compile(slow_start), ..common(cluster.common_lb_config.as_ref()) },
    })
}

/// What `common_lb_config` says.
pub(super) fn common(config: Option<&CommonLbConfig>) -> CommonLb {
    const HALF: u32 = 50;
    let none = CommonLbConfig::default();
    let CommonLbConfig {
        healthy_panic_threshold,
        locality_config_specifier,
        consistent_hashing_lb_config,
        // It would only make changes slower.
        update_merge_window: _,
        // Only for sessions that are kept by a filter, which is refused.
        override_host_status: _,
        // Reported.
        ignore_new_hosts_until_first_hc: _,
        close_connections_on_host_set_change: _,
    } = config.unwrap_or(&none);
    let (locality_weighted, fail_traffic_on_panic) = match locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => (true, false),
        // Who is in this proxy's own zone could be known only by a cluster of the proxies like this one.
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            let ZoneAwareLbConfig { routing_enabled: _, min_cluster_size: _, fail_traffic_on_panic } = zone;
            (false, *fail_traffic_on_panic)
        }
        None => (false, false),
    };
    let nothing = ConsistentHashingLbConfig::default();
    let ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor } =
        consistent_hashing_lb_config.as_ref().unwrap_or(&nothing);
    CommonLb {
        panic_percent: healthy_panic_threshold.as_ref().map_or(HALF, |percent| percent.value.clamp(0.0, 100.0) as u32),
        fail_traffic_on_panic,
        locality_weighted,
        hash_by_hostname: *use_hostname_for_hashing,
        hash_balance_percent: *hash_balance_factor,
        slow_start: None,
    }
}

/// The policy; a configuration of another policy is passed over, as with Envoy.
fn balance(cluster: &XdsCluster) -> Result<Balance, CompileError> {
    let config = cluster.lb_config.as_ref();
    match cluster.lb_policy() {
        LbPolicy::RoundRobin => Ok(Balance::RoundRobin),
        LbPolicy::ClusterProvided => original_destination(config),
        LbPolicy::Random => Ok(Balance::Random),
        LbPolicy::LeastRequest => match config {
            Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig { choice_count, active_request_bias, slow_start_config: _ })) => {
                let bias = active_request_bias.as_ref().map(|bias| bias.default_value);
                least_request(*choice_count, bias).map_err(|error| error.within("least_request_lb_config"))
            }
            _ => least_request(None, None),
        },
        LbPolicy::RingHash => match config {
            // Another hash function is reported.
            Some(LbConfig::RingHashLbConfig(RingHashLbConfig { minimum_ring_size, maximum_ring_size, hash_function: _ })) => {
                ring(*minimum_ring_size, *maximum_ring_size).map_err(|error| error.within("ring_hash_lb_config"))
            }
            _ => ring(None, None),
        },
        LbPolicy::Maglev => match config {
            Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size })) => {
                maglev(*table_size).map_err(|error| error.within("maglev_lb_config"))
            }
            _ => maglev(None),
        },
        LbPolicy::LoadBalancingPolicyConfig => Err(CompileError::missing("load_balancing_policy")),
    }
}

/// A cluster that brings its own policy goes where the client wanted to; there is nothing to choose. What would lead requests
/// to another place than that is refused.
fn original_destination(config: Option<&LbConfig>) -> Result<Balance, CompileError> {
    let Some(LbConfig::OriginalDstLbConfig(config)) = config else { return Ok(Balance::RoundRobin) };
    let OriginalDstLbConfig { use_http_header, http_header_name: _, upstream_port_override, metadata_key } = config;
    let refused = [
        ("use_http_header", *use_http_header),
        ("upstream_port_override", upstream_port_override.is_some()),
        ("metadata_key", metadata_key.is_some()),
    ];
    match refused.into_iter().find(|(_, used)| *used) {
        Some((field, _)) => Err(CompileError::unsupported(field).within("original_dst_lb_config")),
        None => Ok(Balance::RoundRobin),
    }
}
