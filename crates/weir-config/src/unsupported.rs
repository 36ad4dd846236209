//! Fields of xDS resources that are set, and that this proxy does not carry out.
//!
//! What could make traffic go where it must not is refused when it is compiled. Everything else that is passed
//! over is at least said: here stands, for each message, what is carried out or makes no difference.

use weir_xds::Any;
use weir_xds::json;

use super::tls;

/// Its lists are carried out in part: see [`tls::parameters`].
const TLS_PARAMETERS: &str = "envoy.extensions.transport_sockets.tls.v3.TlsParameters";

/// Messages and those of their fields that are carried out, or that change nothing a client could see. Messages
/// that do not stand here are carried out as a whole.
const CARRIED_OUT: &[(&str, &[&str])] = &[
    ("envoy.config.core.v3.SocketAddress", &["protocol", "address", "port_value", "ipv4_compat"]),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            "allow_absolute_url",
            "accept_http_10",
            "default_host_for_http_10",
            "header_key_format",
            "enable_trailers",
            "allow_chunked_length",
            "override_stream_error_on_invalid_http_message",
            "use_balsa_parser",
            "allow_custom_methods",
            "ignore_http_11_upgrade",
        ],
    ),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_connection_duration",
            "max_headers_count",
            "max_stream_duration",
            "headers_with_underscores_action",
            "max_requests_per_connection",
        ],
    ),
    ("envoy.config.endpoint.v3.Endpoint", &["address", "health_check_config", "hostname", "observability_name"]),
    (
        "envoy.config.endpoint.v3.LocalityLbEndpoints",
        &["locality", "metadata", "lb_endpoints", "load_balancing_weight", "priority", "load_balancer_endpoints"],
    ),
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        &[
            "common_http_protocol_options",
            "upstream_http_protocol_options",
            "http_filters",
            "outlier_detection",
            "explicit_http_config",
            "use_downstream_protocol_config",
            "auto_config",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
        &[
            "minimum_ring_size",
            "maximum_ring_size",
            "use_hostname_for_hashing",
            "consistent_hashing_lb_config",
            "locality_weighted_lb_config",
        ],
    ),
    (
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        &["choice_count", "active_request_bias", "slow_start_config", "locality_lb_config"],
    ),
    ("envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig", &["locality_weighted_lb_config"]),
    ("envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig", &["use_hostname_for_hashing"]),
    ("envoy.config.cluster.v3.Cluster.RingHashLbConfig", &["minimum_ring_size", "maximum_ring_size"]),
    ("envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig", &["use_hostname_for_hashing"]),
    ("envoy.config.core.v3.BindConfig", &["source_address"]),
    ("envoy.config.cluster.v3.UpstreamConnectionOptions", &["tcp_keepalive"]),
    ("envoy.config.cluster.v3.CircuitBreakers", &["thresholds"]),
    ("envoy.type.v3.HashPolicy", &["source_ip"]),
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", &["name", "weight"]),
    ("envoy.config.listener.v3.FilterChain", &["filter_chain_match", "filters", "use_proxy_proto", "metadata", "transport_socket", "name"]),
    (
        "envoy.config.cluster.v3.Cluster",
        &[
            "name",
            "alt_stat_name",
            "type",
            "cluster_type",
            "eds_cluster_config",
            "connect_timeout",
            "load_assignment",
            "lb_policy",
            "least_request_lb_config",
            "round_robin_lb_config",
            "ring_hash_lb_config",
            "maglev_lb_config",
            "upstream_bind_config",
            "upstream_connection_options",
            "typed_extension_protocol_options",
            "http2_protocol_options",
            "metadata",
            "respect_dns_ttl",
            "dns_refresh_rate",
            "dns_jitter",
            "dns_lookup_family",
            "typed_dns_resolver_config",
            "cleanup_interval",
            "circuit_breakers",
            "outlier_detection",
            "health_checks",
            "transport_socket",
            "transport_socket_matches",
            "common_lb_config",
            "load_balancing_policy",
            "max_requests_per_connection",
            "common_http_protocol_options",
            "protocol_selection",
            // Without selectors it makes no subsets; with them it is refused.
            "lb_subset_config",
            // As it always is here.
            "ignore_health_on_host_removal",
        ],
    ),
    (
        "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        &[
            "healthy_panic_threshold",
            "locality_weighted_lb_config",
            // Only for sessions that are kept by a filter, which is refused.
            "override_host_status",
            // It would only make changes slower.
            "update_merge_window",
            "consistent_hashing_lb_config",
        ],
    ),
    ("envoy.config.endpoint.v3.ClusterLoadAssignment.Policy", &["overprovisioning_factor", "weighted_priority_health"]),
    (
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        &["priority", "max_connections", "max_pending_requests", "max_requests", "max_retries", "retry_budget", "track_remaining"],
    ),
    (
        "envoy.config.cluster.v3.OutlierDetection",
        &[
            "consecutive_5xx",
            "enforcing_consecutive_5xx",
            "consecutive_gateway_failure",
            "enforcing_consecutive_gateway_failure",
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
            "split_external_local_origin_errors",
            "interval",
            "base_ejection_time",
            "max_ejection_time",
            "max_ejection_percent",
            "max_ejection_time_jitter",
            "always_eject_one_host",
            "successful_active_health_check_uneject_host",
            // Istio turns them off, by a share of 0.
            "enforcing_success_rate",
            "enforcing_local_origin_success_rate",
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck",
        &[
            "timeout",
            "interval",
            "initial_jitter",
            "interval_jitter",
            "interval_jitter_percent",
            "unhealthy_threshold",
            "healthy_threshold",
            "reuse_connection",
            "http_health_check",
            "tcp_health_check",
            "grpc_health_check",
            "custom_health_check",
            "tls_options",
            "transport_socket_match_criteria",
            "no_traffic_interval",
            "no_traffic_healthy_interval",
            "unhealthy_interval",
            "unhealthy_edge_interval",
            "healthy_edge_interval",
        ],
    ),
    (
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        &[
            "host",
            "path",
            "send",
            "receive",
            "response_buffer_size",
            "request_headers_to_add",
            "request_headers_to_remove",
            "expected_statuses",
            "retriable_statuses",
            "codec_client_type",
            "method",
        ],
    ),
    (
        "envoy.config.listener.v3.Listener",
        &[
            "name",
            "address",
            "filter_chains",
            "default_filter_chain",
            "listener_filters",
            "listener_filters_timeout",
            "continue_on_listener_filters_timeout",
            "traffic_direction",
            "access_log",
            "bind_to_port",
            "use_original_dst",
            "deprecated_v1",
            "enable_reuse_port",
            "max_connections_to_accept_per_socket_event",
            "ignore_global_conn_limit",
            "metadata",
            "stat_prefix",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "alpn_protocols",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
        ],
    ),
    ("envoy.extensions.transport_sockets.tls.v3.TlsCertificate", &["certificate_chain", "private_key"]),
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        &[
            "trusted_ca",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "crl",
            "allow_expired_certificate",
            "trust_chain_verification",
            "only_verify_leaf_cert_crl",
            "max_verify_depth",
            "suppress_client_ca_list",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        &["common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "max_session_keys"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        &[
            "common_tls_context",
            "require_client_certificate",
            "require_sni",
            // How sessions are resumed, and staples that are never sent, make no difference to what a client gets.
            "disable_stateful_session_resumption",
            "disable_stateless_session_resumption",
            "session_ticket_keys",
            "session_ticket_keys_sds_secret_config",
            "session_timeout",
            "ocsp_staple_policy",
        ],
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        &[
            "name",
            "domains",
            "routes",
            "require_tls",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "retry_policy",
            "request_mirror_policies",
            "include_request_attempt_count",
            "include_attempt_count_in_response",
            "include_is_timeout_retry_header",
            "metadata",
            // There is no filter for rate limits.
            "rate_limits",
        ],
    ),
    (
        "envoy.config.route.v3.Route",
        &[
            "name",
            "match",
            "route",
            "redirect",
            "direct_response",
            "metadata",
            "decorator",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "typed_per_filter_config",
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction",
        &[
            "cluster",
            "cluster_header",
            "weighted_clusters",
            "cluster_not_found_response_code",
            "prefix_rewrite",
            "regex_rewrite",
            "host_rewrite_literal",
            "host_rewrite_header",
            "host_rewrite_path_regex",
            "append_x_forwarded_host",
            "timeout",
            "retry_policy",
            "idle_timeout",
            "max_stream_duration",
            "max_grpc_timeout",
            "grpc_timeout_offset",
            "request_mirror_policies",
            "hash_policy",
            "upgrade_configs",
            // There is no early data, and no filter for rate limits.
            "early_data_policy",
            "rate_limits",
            "include_vh_rate_limits",
        ],
    ),
    (
        "envoy.config.route.v3.RouteConfiguration",
        &[
            "name",
            "virtual_hosts",
            "internal_only_headers",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "most_specific_header_mutations_wins",
            "max_direct_response_body_size_bytes",
            "request_mirror_policies",
            "ignore_port_in_host_matching",
            "ignore_path_parameters_in_path_matching",
            "vhost_header",
            "metadata",
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        &[
            "name",
            "cluster_header",
            "weight",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "host_rewrite_literal",
        ],
    ),
    ("envoy.config.route.v3.DirectResponseAction", &["status", "body"]),
    (
        "envoy.config.route.v3.RetryPolicy",
        &[
            "retry_on",
            "num_retries",
            "per_try_timeout",
            "per_try_idle_timeout",
            "retriable_headers",
            "retriable_request_headers",
            "rate_limited_retry_back_off",
            "retriable_status_codes",
            "retry_back_off",
            "retry_host_predicate",
            "retry_priority",
            "host_selection_retry_max_attempts",
        ],
    ),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[
            "stat_prefix",
            "rds",
            "route_config",
            "http_filters",
            "codec_type",
            "http_protocol_options",
            "http2_protocol_options",
            "common_http_protocol_options",
            "server_name",
            "server_header_transformation",
            "access_log",
            "use_remote_address",
            "xff_num_trusted_hops",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "generate_request_id",
            "preserve_external_request_id",
            "request_id_extension",
            "upgrade_configs",
            "stream_idle_timeout",
            "request_timeout",
            "max_request_headers_kb",
            // Said of certificates that no client can present here, and of answers that always pass.
            "forward_client_cert_details",
            "set_current_client_cert_details",
            "proxy_100_continue",
            "scheme_header_transformation",
            "skip_xff_append",
            "via",
            "always_set_request_id_in_response",
            "delayed_close_timeout",
            "local_reply_config",
            "strip_matching_host_port",
            "strip_any_host_port",
            "strip_trailing_host_dot",
            "append_x_forwarded_port",
        ],
    ),
    ("envoy.config.core.v3.SchemeHeaderTransformation", &["scheme_to_overwrite"]),
    (
        "envoy.config.core.v3.HttpProtocolOptions",
        &[
            "idle_timeout",
            "max_connection_duration",
            "max_headers_count",
            "max_response_headers_kb",
            "max_stream_duration",
            "headers_with_underscores_action",
            "max_requests_per_connection",
        ],
    ),
    (
        "envoy.config.core.v3.Http1ProtocolOptions",
        &[
            "allow_absolute_url",
            "accept_http_10",
            "default_host_for_http_10",
            "header_key_format",
            "enable_trailers",
            "use_balsa_parser",
            "allow_custom_methods",
        ],
    ),
    (
        "envoy.config.core.v3.Http2ProtocolOptions",
        &[
            "max_concurrent_streams",
            "connection_keepalive",
            // How fast it goes, and what a peer may waste, which other limits bound as well.
            "hpack_table_size",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "use_oghttp2_codec",
            "enable_huffman_encoding",
            "stream_reset_burst",
            "stream_reset_rate",
        ],
    ),
    (
        "envoy.config.core.v3.SubstitutionFormatString",
        &["text_format", "text_format_source", "json_format", "content_type", "formatters", "json_format_options"],
    ),
    (
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        &[
            "stat_prefix",
            "cluster",
            "weighted_clusters",
            "idle_timeout",
            "access_log",
            "max_connect_attempts",
            "hash_policy",
            "max_downstream_connection_duration",
            "max_downstream_connection_duration_jitter_percentage",
        ],
    ),
];

/// The fields of a resource that are set and not carried out, each once, as `Message.field`.
pub fn fields(resource: &Any) -> Vec<String> {
    let mut found = vec![];
    let mut visit = |field: &json::SetField<'_>| {
        if field.message == TLS_PARAMETERS {
            let missing = tls::parameters::not_carried_out(field.name, &field.texts());
            found.extend(missing.iter().map(|value| format!("TlsParameters.{} `{value}`", field.name)));
        }
        let Some((_, known)) = CARRIED_OUT.iter().find(|(message, _)| *message == field.message) else { return };
        if known.contains(&field.name) || field.is_no_limit() {
            return;
        }
        let message = field.message.rsplit('.').next().unwrap_or_default();
        let text = format!("{message}.{}", field.name);
        if !found.contains(&text) {
            found.push(text);
        }
    };
    // A resource of an unknown type was refused before this.
    let _ = json::visit(resource, &mut visit);
    // Fields come in no order of their own.
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::cluster::circuit_breakers::Thresholds;
    use weir_xds::cluster::{CircuitBreakers, Cluster, OutlierDetection};
    use weir_xds::listener::Listener;
    use weir_xds::tls::UpstreamTlsContext;

    use super::*;

    #[test]
    fn what_is_not_carried_out_is_named() {
        let limits = |max_connections| Cluster {
            circuit_breakers: Some(CircuitBreakers {
                thresholds: vec![Thresholds { max_connections: Some(max_connections), ..Default::default() }],
                ..Default::default()
            }),
            outlier_detection: (max_connections == 1)
                .then(|| OutlierDetection { failure_percentage_threshold: Some(50), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(fields(&Any::pack(&limits(u32::MAX))), Vec::<String>::new());
        assert_eq!(fields(&Any::pack(&limits(1))), ["OutlierDetection.failure_percentage_threshold"]);
    }

    #[test]
    fn what_clusters_and_listeners_do_not_carry_out_is_named() {
        let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let least = "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
        let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let policy =
            json!({"policies": [{"typedExtensionConfig": {"name": "l", "typedConfig": {"@type": least, "enableFullScan": true}}}]});
        let written = json!({"explicitHttpConfig": {"httpProtocolOptions": {"sendFullyQualifiedUrl": true}}, "@type": options});
        let cluster: Cluster = weir_xds::json::from_value(json!({
            "circuitBreakers": {"perHostThresholds": [{"maxConnections": 1}]},
            "loadBalancingPolicy": policy,
            "loadAssignment": {"endpoints": [{"proximity": 1, "lbEndpoints": [{"endpoint": {"hostname": "a"}}]}]},
            "typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": written},
            "upstreamBindConfig": {"freebind": true},
        }))
        .expect("valid");
        let named = [
            "BindConfig.freebind",
            "CircuitBreakers.per_host_thresholds",
            "Http1ProtocolOptions.send_fully_qualified_url",
            "LeastRequest.enable_full_scan",
            "LocalityLbEndpoints.proximity",
        ];
        assert_eq!(fields(&Any::pack(&cluster)), named);
        let filter =
            json!({"name": "tcp", "typedConfig": {"@type": tcp, "hashPolicy": [{"filterState": {"key": "k"}}], "checkDrainClose": true}});
        let listener: Listener = weir_xds::json::from_value(json!({"filterChains": [{"filters": [filter]}]})).expect("valid");
        let named = ["HashPolicy.filter_state", "TcpProxy.check_drain_close"];
        assert_eq!(fields(&Any::pack(&listener)), named);
    }

    #[test]
    fn what_tls_passes_over_is_named() {
        let context: UpstreamTlsContext = weir_xds::json::from_value(json!({
            "allowRenegotiation": true,
            "commonTlsContext": {
                "keyLog": {"path": "/log"},
                "tlsParams": {"cipherSuites": ["AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"]},
            },
        }))
        .expect("valid");
        let expected = ["CommonTlsContext.key_log", "TlsParameters.cipher_suites `AES128-SHA`", "UpstreamTlsContext.allow_renegotiation"];
        assert_eq!(fields(&Any::pack(&context)), expected);
    }
}
