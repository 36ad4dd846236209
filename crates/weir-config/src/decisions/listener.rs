//! Listeners, filter chains, listener filters, network filters.

use super::{Decided, of};

const LISTENER: &str = "envoy.config.listener.v3";
const TCP: &str = "envoy.extensions.filters.network.tcp_proxy.v3";
const INSPECTORS: &str = "envoy.extensions.filters.listener";

const NO_TLVS: &str = "of what a header says besides addresses nothing is kept";
const SOCKET: &str = "the socket is opened without it";

pub(super) const TABLE: &[Decided] = &[
    of(LISTENER, "Listener")
        .carried_out(
            "name address filter_chains default_filter_chain listener_filters listener_filters_timeout \
             continue_on_listener_filters_timeout traffic_direction access_log bind_to_port deprecated_v1 use_original_dst \
             ignore_global_conn_limit per_connection_buffer_limit_bytes additional_addresses transparent",
        )
        // Only names; how connections are spread over workers; an overload that is not watched.
        .unseen(
            "stat_prefix metadata reuse_port enable_reuse_port connection_balance_config \
             max_connections_to_accept_per_socket_event bypass_overload_manager",
        )
        // They would choose other filter chains, or take other traffic than TCP.
        .refused("fcds_config filter_chain_matcher udp_listener_config api_listener internal_listener")
        .reported(&[
            ("freebind socket_options tcp_fast_open_queue_length tcp_backlog_size enable_mptcp", SOCKET),
            ("tcp_keepalive", "connections of clients have the system's keep-alive"),
            ("drain_type", "connections drain after every change that concerns them"),
            ("stats_matcher", "all statistics are kept"),
            ("per_connection_buffer_high_watermark_timeout", "what a client does not take is given up with the stream's idle timeout"),
        ]),
    // Where it would open a socket of its own, it is refused, but for that of all addresses.
    of(LISTENER, "AdditionalAddress")
        .carried_out("address")
        .reported(&[("socket_options", SOCKET), ("tcp_keepalive", "connections of clients have the system's keep-alive")]),
    of(LISTENER, "Listener.DeprecatedV1").carried_out("bind_to_port"),
    of(LISTENER, "FilterChain")
        .carried_out("filter_chain_match filters transport_socket transport_socket_connect_timeout name")
        .unseen("metadata")
        // The first bytes of a connection would count as the request.
        .refused("use_proxy_proto"),
    of(LISTENER, "FilterChainMatch")
        .carried_out("destination_port prefix_ranges server_names transport_protocol application_protocols")
        // Who must not be let in would be.
        .refused("address_suffix suffix_len direct_source_prefix_ranges source_type source_prefix_ranges source_ports"),
    of(LISTENER, "Filter").carried_out("name typed_config config_discovery"),
    of(LISTENER, "ListenerFilter").carried_out("name typed_config config_discovery filter_disabled"),
    of(LISTENER, "ListenerFilterChainMatchPredicate").carried_out("or_match and_match not_match any_match destination_port_range"),
    of(LISTENER, "ListenerFilterChainMatchPredicate.MatchSet").carried_out("rules"),
    of(INSPECTORS, "tls_inspector.v3.TlsInspector")
        .packed()
        // Fingerprints are for logs, whose operators for them are refused; how much is read at once nobody sees.
        .unseen("enable_ja3_fingerprinting enable_ja4_fingerprinting initial_read_buffer_size")
        .reported(&[
            ("close_connection_on_client_hello_parsing_errors", "a handshake that cannot be read counts as no TLS"),
            ("max_client_hello_size", "handshakes have a limit of their own"),
        ]),
    of(INSPECTORS, "http_inspector.v3.HttpInspector").packed(),
    of(INSPECTORS, "original_dst.v3.OriginalDst").packed(),
    of(INSPECTORS, "original_src.v3.OriginalSrc").packed().carried_out("bind_port mark"),
    of(INSPECTORS, "proxy_protocol.v3.ProxyProtocol")
        .packed()
        .carried_out("allow_requests_without_proxy_protocol disallowed_versions")
        // A name in statistics.
        .unseen("stat_prefix tlv_location")
        .reported(&[("rules pass_through_tlvs", NO_TLVS)]),
    of("envoy.extensions.filters.network.connection_limit.v3", "ConnectionLimit")
        .packed()
        .carried_out("stat_prefix max_connections delay runtime_enabled"),
    of("envoy.extensions.filters.network.local_ratelimit.v3", "LocalRateLimit")
        .packed()
        .carried_out("stat_prefix token_bucket runtime_enabled")
        .reported(&[("share_key", "each filter has a bucket of its own")]),
    of("envoy.extensions.filters.network.direct_response.v3", "Config").packed().carried_out("response"),
    of(TCP, "TcpProxy")
        .packed()
        .carried_out(
            "stat_prefix cluster weighted_clusters idle_timeout max_downstream_connection_duration \
             max_downstream_connection_duration_jitter_percentage hash_policy max_connect_attempts access_log tunneling_config",
        )
        // Of clusters with subsets, which are refused.
        .unseen("metadata_match")
        .reported(&[
            ("on_demand", "a cluster that is not there is not asked for: the connection is closed"),
            ("downstream_idle_timeout upstream_idle_timeout", "`idle_timeout` counts for both sides"),
            ("backoff_options", "the next attempt to connect follows at once"),
            (
                "access_log_flush_interval flush_access_log_on_connected access_log_options",
                "one line is written when the connection has ended",
            ),
            ("proxy_protocol_tlvs proxy_protocol_tlv_merge_policy", "instances are told the client's address, and nothing else"),
            ("upstream_connect_mode max_early_data_bytes", "the instance is connected to at once"),
            ("check_drain_close", "connections go on while the listener drains, until the drain ends"),
        ]),
    of(TCP, "TcpProxy.TunnelingConfig")
        .carried_out("hostname use_post post_path")
        // The instance decides by them.
        .refused("headers_to_add formatters")
        .reported(&[
            ("propagate_response_headers propagate_response_trailers", "what the instance answers is kept nowhere"),
            ("request_id_extension request_id_header request_id_metadata_key", "the request for a tunnel has no number"),
        ]),
    of(TCP, "TcpProxy.WeightedCluster").carried_out("clusters"),
    of(TCP, "TcpProxy.WeightedCluster.ClusterWeight").carried_out("name weight").unseen("metadata_match"),
    of("envoy.type.v3", "HashPolicy").as_whole("source_ip").reported(&[("filter_state", "it makes no hash")]),
];
