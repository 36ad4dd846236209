//! `load_balancing_policy`: of the policies that are named, the first that is known.

use weir_routing::CompileError;
use weir_xds::cluster::cluster::SlowStartConfig as ClusterSlowStart;
use weir_xds::cluster::{Cluster as XdsCluster, LoadBalancingPolicy};
use weir_xds::envoy::extensions::load_balancing_policies as policies;
use weir_xds::{Any, Message, Name};

use policies::common::v3::locality_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig};
use policies::common::v3::{ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig};
use policies::least_request::v3::LeastRequest;
use policies::maglev::v3::Maglev;
use policies::random::v3::Random;
use policies::ring_hash::v3::RingHash;
use policies::round_robin::v3::RoundRobin;

use super::{Balance, CommonLb, Settings, SlowStart, least_request, legacy, maglev, ring};

/// Compiles the policy of a cluster.
pub(super) fn compile(cluster: &XdsCluster, policy: &LoadBalancingPolicy) -> Result<Settings, CompileError> {
    if cluster.lb_subset_config.is_some() {
        return Err(CompileError::new("", "cannot stand beside lb_subset_config"));
    }
    let common = cluster.common_lb_config.as_ref();
    if common.is_some_and(|common| common.locality_config_specifier.is_some() || common.consistent_hashing_lb_config.is_some()) {
        return Err(CompileError::new("", "cannot stand beside what common_lb_config says of localities and hashes"));
    }
    let configs = policy.policies.iter().filter_map(|policy| policy.typed_extension_config.as_ref()?.typed_config.as_ref());
    let mut named = vec![];
    for config in configs {
        if let Some(settings) = known(config, legacy::common(common))? {
            return Ok(settings);
        }
        named.push(config.type_name());
    }
    Err(CompileError::new("policies", format!("none of [{}] is supported", named.join(", "))))
}

/// The settings of a policy, if it is one of those that are known.
fn known(config: &Any, common: CommonLb) -> Result<Option<Settings>, CompileError> {
    if let Some(policy) = unpack::<RoundRobin>(config)? {
        let RoundRobin { slow_start_config, locality_lb_config } = policy;
        let common = with_locality(CommonLb { slow_start: slow_start(slow_start_config), ..common }, locality_lb_config.as_ref())?;
        return Ok(Some(Settings { balance: Balance::RoundRobin, common }));
    }
    if let Some(policy) = unpack::<Random>(config)? {
        let Random { locality_lb_config } = policy;
        return Ok(Some(Settings { balance: Balance::Random, common: with_locality(common, locality_lb_config.as_ref())? }));
    }
    if let Some(policy) = unpack::<LeastRequest>(config)? {
        #[allow(deprecated)] // Reported, as is its successor.
        let LeastRequest {
            choice_count,
            active_request_bias,
            slow_start_config,
            locality_lb_config,
            enable_full_scan: _,
            selection_method: _,
        } = policy;
        let balance = least_request(choice_count, active_request_bias.map(|bias| bias.default_value))?;
        let common = with_locality(CommonLb { slow_start: slow_start(slow_start_config), ..common }, locality_lb_config.as_ref())?;
        return Ok(Some(Settings { balance, common }));
    }
    if let Some(policy) = unpack::<RingHash>(config)? {
        #[allow(deprecated)] // Envoy still reads them.
        let RingHash {
            minimum_ring_size,
            maximum_ring_size,
            use_hostname_for_hashing,
            consistent_hashing_lb_config,
            locality_weighted_lb_config,
            hash_balance_factor,
            // Reported.
            hash_function: _,
        } = policy;
        // What the policy itself says counts only where it has no configuration of its own for that.
        let old = ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor, ..Default::default() };
        let common = by_hash(common, &consistent_hashing_lb_config.unwrap_or(old), locality_weighted_lb_config.as_ref());
        return Ok(Some(Settings { balance: ring(minimum_ring_size, maximum_ring_size)?, common }));
    }
    if let Some(policy) = unpack::<Maglev>(config)? {
        let Maglev { table_size, consistent_hashing_lb_config, locality_weighted_lb_config } = policy;
        let common = by_hash(common, &consistent_hashing_lb_config.unwrap_or_default(), locality_weighted_lb_config.as_ref());
        return Ok(Some(Settings { balance: maglev(table_size)?, common }));
    }
    Ok(None)
}

/// The configuration, if it is of this type.
fn unpack<M: Message + Name + Default>(config: &Any) -> Result<Option<M>, CompileError> {
    if !config.is::<M>() {
        return Ok(None);
    }
    config.unpack::<M>().map(Some).map_err(|error| CompileError::new("policies", error.to_string()))
}

fn by_hash(common: CommonLb, hashing: &ConsistentHashingLbConfig, weighted: Option<&LocalityWeightedLbConfig>) -> CommonLb {
    let ConsistentHashingLbConfig {
        use_hostname_for_hashing,
        hash_balance_factor,
        // Reported.
        hash_policy: _,
    } = hashing;
    CommonLb {
        hash_by_hostname: *use_hostname_for_hashing,
        hash_balance_percent: *hash_balance_factor,
        locality_weighted: weighted.is_some(),
        ..common
    }
}

fn with_locality(common: CommonLb, config: Option<&LocalityLbConfig>) -> Result<CommonLb, CompileError> {
    match config.and_then(|config| config.locality_config_specifier.as_ref()) {
        None => Ok(common),
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => Ok(CommonLb { locality_weighted: true, ..common }),
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            #[allow(deprecated)] // Envoy still reads it.
            let ZoneAwareLbConfig {
                fail_traffic_on_panic,
                // Nobody knows who is in this proxy's own zone; where they are to be kept to it, that is refused.
                force_locality_direct_routing,
                force_local_zone,
                routing_enabled: _,
                min_cluster_size: _,
                locality_basis: _,
            } = zone;
            if *force_locality_direct_routing || force_local_zone.is_some() {
                return Err(CompileError::unsupported("policies.locality_lb_config.zone_aware_lb_config: keeping to a zone"));
            }
            Ok(CommonLb { fail_traffic_on_panic: *fail_traffic_on_panic, ..common })
        }
    }
}

fn slow_start(config: Option<SlowStartConfig>) -> Option<SlowStart> {
    let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config?;
    SlowStart::compile(Some(&ClusterSlowStart { slow_start_window, aggression, min_weight_percent }))
}
