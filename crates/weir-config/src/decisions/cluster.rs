//! Clusters.

use super::{Decided, of};

const CLUSTER: &str = "envoy.config.cluster.v3";
const CORE: &str = "envoy.config.core.v3";

const SYSTEM_DNS: &str = "names are looked up as the system says";
const SUCCESS_RATE: &str = "no endpoint is ejected for its success rate";
const FAILURES: &str = "no endpoint is ejected for its share of failures";
const BIND: &str = "connections come from a source address of the instance's family, or from the address that the system takes";

pub(super) const TABLE: &[Decided] = &[
    of(CLUSTER, "Cluster")
        .carried_out(
            "name type cluster_type eds_cluster_config connect_timeout lb_policy load_assignment health_checks \
             max_requests_per_connection circuit_breakers common_http_protocol_options http2_protocol_options \
             typed_extension_protocol_options dns_lookup_family outlier_detection upstream_bind_config ring_hash_lb_config \
             maglev_lb_config original_dst_lb_config least_request_lb_config round_robin_lb_config common_lb_config \
             transport_socket transport_socket_matches protocol_selection upstream_connection_options load_balancing_policy",
        )
        // Without selectors it makes no subsets; with them it is refused.
        .as_whole("metadata lb_subset_config")
        // A name; what is always so here; names are looked up again when they expire.
        .unseen("alt_stat_name ignore_health_on_host_removal respect_dns_ttl dns_refresh_rate dns_jitter cleanup_interval")
        // Requests would go elsewhere, or otherwise than asked for.
        .refused("transport_socket_matcher filters upstream_config")
        .reported(&[
            ("dns_failure_refresh_rate", "a name that is not found is looked up again after 5 seconds"),
            ("dns_resolvers use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config", SYSTEM_DNS),
            ("http_protocol_options upstream_http_protocol_options", "only `typed_extension_protocol_options` says how it is spoken to"),
            ("wait_for_warm_on_init", "requests come as soon as its endpoints are known"),
            ("close_connections_on_host_health_failure", "connections to an endpoint that fails its checks go on"),
            ("preconnect_policy", "connections are made when they are needed"),
            ("connection_pool_per_downstream_connection", "clients share its connections"),
            ("queuing_policies", "requests wait in the order in which they came"),
            ("stats_matcher", "all statistics are kept"),
            ("track_timeout_budgets track_cluster_stats", "the usual statistics are kept"),
            ("lrs_server lrs_report_endpoint_metrics", "no loads are told to the control plane"),
            ("per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout", "buffers have sizes of their own"),
        ]),
    of(CLUSTER, "Cluster.EdsClusterConfig").carried_out("eds_config service_name"),
    of(CLUSTER, "Cluster.CustomClusterType").carried_out("name typed_config"),
    of(CLUSTER, "Cluster.TransportSocketMatch").carried_out("name transport_socket").as_whole("match"),
    of("envoy.extensions.clusters.aggregate.v3", "ClusterConfig").packed().carried_out("clusters"),
    of("envoy.extensions.clusters.dynamic_forward_proxy.v3", "ClusterConfig")
        .packed()
        .carried_out("dns_cache_config")
        // Whether options are allowed that are read in any case.
        .unseen("allow_insecure_cluster_options")
        .reported(&[
            ("sub_clusters_config", "hosts have no clusters of their own"),
            ("allow_coalesced_connections", "each host has connections of its own"),
        ]),
    of("envoy.extensions.common.dynamic_forward_proxy.v3", "DnsCacheConfig")
        // Names are looked up where the proxy connects, and again when they expire.
        .unseen("name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl preresolve_hostnames")
        .reported(&[
            ("max_hosts dns_cache_circuit_breaker", "as many names are looked up as requests name"),
            ("disable_dns_refresh_on_failure dns_failure_refresh_rate", "a name that is not found is looked up again for the next request"),
            ("use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config dns_query_timeout", SYSTEM_DNS),
            ("key_value_config", "what was looked up is not kept over a restart"),
            ("resolved_address_filter", "every address of a name counts"),
        ]),
    of(CORE, "BindConfig")
        .carried_out("source_address extra_source_addresses")
        .reported(&[("freebind socket_options additional_source_addresses local_address_selector validate_network_namespaces", BIND)]),
    of(CORE, "ExtraSourceAddress").carried_out("address").reported(&[("socket_options", BIND)]),
    of(CLUSTER, "UpstreamConnectionOptions").carried_out("tcp_keepalive").reported(&[
        ("set_local_interface_name_on_upstream_connections", "the interface's name is not looked up"),
        ("happy_eyeballs_config", "an endpoint has one address"),
    ]),
    of(CLUSTER, "CircuitBreakers").carried_out("thresholds").reported(&[("per_host_thresholds", "single endpoints have no limits")]),
    of(CLUSTER, "CircuitBreakers.Thresholds")
        .carried_out("priority max_connections max_pending_requests max_requests max_retries retry_budget")
        // Statistics.
        .unseen("track_remaining")
        .reported(&[("max_connection_pools", "there may be as many pools as are needed")]),
    of(CLUSTER, "CircuitBreakers.Thresholds.RetryBudget").carried_out("budget_percent budget_interval min_retry_concurrency"),
    of(CLUSTER, "OutlierDetection")
        .carried_out(
            "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx \
             consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors \
             consecutive_local_origin_failure enforcing_consecutive_local_origin_failure max_ejection_time \
             max_ejection_time_jitter successful_active_health_check_uneject_host always_eject_one_host",
        )
        .reported(&[
            ("success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor", SUCCESS_RATE),
            ("failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume", FAILURES),
            ("monitors", "they see nothing"),
            ("detect_degraded_hosts", "an endpoint that calls itself degraded is used like others"),
        ])
        .reported_unless_zero(&[
            ("enforcing_success_rate enforcing_local_origin_success_rate", SUCCESS_RATE),
            ("enforcing_failure_percentage enforcing_failure_percentage_local_origin", FAILURES),
        ]),
];
