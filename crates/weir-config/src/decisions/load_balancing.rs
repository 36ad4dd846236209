//! How a cluster's endpoints are chosen, said by `lb_policy` or by `load_balancing_policy`.

use super::{Decided, of};

const CLUSTER: &str = "envoy.config.cluster.v3";
const POLICIES: &str = "envoy.extensions.load_balancing_policies";

const ZONES: &str = "an endpoint's zone makes no difference";

pub(super) const TABLE: &[Decided] = &[
    of(CLUSTER, "LoadBalancingPolicy").carried_out("policies"),
    of(CLUSTER, "LoadBalancingPolicy.Policy").carried_out("typed_extension_config"),
    of(CLUSTER, "Cluster.CommonLbConfig")
        .carried_out("healthy_panic_threshold zone_aware_lb_config consistent_hashing_lb_config")
        .as_whole("locality_weighted_lb_config")
        // It would only make changes slower.
        .unseen("update_merge_window")
        .reported(&[
            ("override_host_status", "sessions stay at endpoints that are healthy or degraded"),
            ("ignore_new_hosts_until_first_hc", "new endpoints count as soon as they are known"),
            ("close_connections_on_host_set_change", "connections go on when other endpoints come or go"),
        ]),
    of(CLUSTER, "Cluster.CommonLbConfig.ZoneAwareLbConfig")
        .carried_out("fail_traffic_on_panic")
        .reported(&[("routing_enabled min_cluster_size", ZONES)]),
    of(CLUSTER, "Cluster.CommonLbConfig.ConsistentHashingLbConfig").carried_out("use_hostname_for_hashing hash_balance_factor"),
    of(CLUSTER, "Cluster.SlowStartConfig").carried_out("slow_start_window aggression min_weight_percent"),
    of(CLUSTER, "Cluster.RoundRobinLbConfig").carried_out("slow_start_config"),
    of(CLUSTER, "Cluster.LeastRequestLbConfig").carried_out("choice_count active_request_bias slow_start_config"),
    of(CLUSTER, "Cluster.RingHashLbConfig")
        .carried_out("minimum_ring_size maximum_ring_size")
        .reported(&[("hash_function", "hashes are XX_HASH")]),
    of(CLUSTER, "Cluster.MaglevLbConfig").carried_out("table_size"),
    // Connections would go where the client did not.
    of(CLUSTER, "Cluster.OriginalDstLbConfig").unseen("http_header_name").refused("use_http_header upstream_port_override metadata_key"),
    of(POLICIES, "round_robin.v3.RoundRobin").packed().carried_out("slow_start_config locality_lb_config"),
    of(POLICIES, "random.v3.Random").packed().carried_out("locality_lb_config"),
    of(POLICIES, "least_request.v3.LeastRequest")
        .packed()
        .carried_out("choice_count active_request_bias slow_start_config locality_lb_config")
        .reported(&[("enable_full_scan selection_method", "some endpoints are looked at, not all")]),
    of(POLICIES, "ring_hash.v3.RingHash")
        .packed()
        .carried_out("minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor consistent_hashing_lb_config")
        .as_whole("locality_weighted_lb_config")
        .reported(&[("hash_function", "hashes are XX_HASH")]),
    of(POLICIES, "maglev.v3.Maglev")
        .packed()
        .carried_out("table_size consistent_hashing_lb_config")
        .as_whole("locality_weighted_lb_config"),
    of(POLICIES, "common.v3.LocalityLbConfig").carried_out("zone_aware_lb_config").as_whole("locality_weighted_lb_config"),
    of(POLICIES, "common.v3.LocalityLbConfig.ZoneAwareLbConfig")
        .carried_out("fail_traffic_on_panic")
        // Requests would leave a zone that they must not leave.
        .refused("force_locality_direct_routing force_local_zone")
        .reported(&[("routing_enabled min_cluster_size locality_basis", ZONES)]),
    of(POLICIES, "common.v3.SlowStartConfig").carried_out("slow_start_window aggression min_weight_percent"),
    of(POLICIES, "common.v3.ConsistentHashingLbConfig")
        .carried_out("use_hostname_for_hashing hash_balance_factor")
        .reported(&[("hash_policy", "only what routes say makes hashes")]),
];
