//! HTTP filters, and what routes say of them.

use super::{Decided, of};

const FILTERS: &str = "envoy.extensions.filters.http";
const FAULT: &str = "envoy.extensions.filters.common.fault.v3";
const MUTATION: &str = "envoy.config.common.mutation_rules.v3";
const CORE: &str = "envoy.config.core.v3";
const MATCHER: &str = "xds.type.matcher.v3";
const PEERS: &str = "io.istio.http.peer_metadata";
const SESSION: &str = "envoy.extensions.http.stateful_session";
const COMPRESSION: &str = "envoy.extensions.compression";

/// There is no runtime that could say otherwise; what is left for logs no operator can ask for.
const FAULT_UNSEEN: &str = "delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime \
                            max_active_faults_runtime response_rate_limit_percent_runtime abort_grpc_status_runtime \
                            disable_downstream_cluster_stats filter_metadata";

pub(super) const TABLE: &[Decided] = &[
    of(FILTERS, "router.v3.Router")
        .packed()
        .carried_out("suppress_envoy_headers")
        // Headers that they speak of are taken away from every request; HTTP/3 is refused; nothing is traced.
        .unseen("start_child_span strict_check_headers respect_expected_rq_timeout reject_connect_request_early_data")
        // Requests would pass fewer filters than asked for.
        .refused("upstream_http_filters")
        .reported(&[
            ("dynamic_stats suppress_grpc_request_failure_code_stats", "the usual statistics are kept"),
            ("upstream_log upstream_log_options", "attempts have no log of their own"),
        ]),
    of(FILTERS, "admission_control.v3.AdmissionControl")
        .packed()
        .carried_out("enabled sampling_window aggression sr_threshold rps_threshold max_rejection_probability success_criteria"),
    of(FILTERS, "admission_control.v3.AdmissionControl.SuccessCriteria").carried_out("http_criteria grpc_criteria"),
    of(FILTERS, "admission_control.v3.AdmissionControl.SuccessCriteria.HttpCriteria").carried_out("http_success_status"),
    of(FILTERS, "admission_control.v3.AdmissionControl.SuccessCriteria.GrpcCriteria").carried_out("grpc_success_status"),
    of(CORE, "RuntimePercent").carried_out("default_value").unseen("runtime_key"),
    of(FILTERS, "bandwidth_limit.v3.BandwidthLimit")
        .packed()
        .carried_out("enable_mode limit_kbps fill_interval runtime_enabled")
        .unseen("stat_prefix")
        .reported_unless_zero(&[(
            "enable_response_trailers response_trailer_prefix",
            "clients are not told how long a body was held back",
        )]),
    of(FILTERS, "basic_auth.v3.BasicAuth")
        .packed()
        .carried_out("users forward_username_header authentication_header")
        // Who is let in without a password would be refused by what nobody tells.
        .refused("allow_missing")
        .reported(&[("emit_dynamic_metadata", "this filter leaves no dynamic metadata")]),
    of(FILTERS, "basic_auth.v3.BasicAuthPerRoute").packed().carried_out("users"),
    of(FILTERS, "buffer.v3.Buffer").packed().carried_out("max_request_bytes"),
    of(FILTERS, "buffer.v3.BufferPerRoute").packed().carried_out("disabled buffer"),
    of(FILTERS, "cdn_loop.v3.CdnLoopConfig").packed().carried_out("cdn_id max_allowed_occurrences"),
    of(FILTERS, "compressor.v3.Compressor").packed().carried_out(
        "content_length content_type disable_on_etag_header remove_accept_encoding_header runtime_enabled compressor_library \
         request_direction_config response_direction_config choose_first",
    ),
    of(FILTERS, "compressor.v3.Compressor.CommonDirectionConfig")
        .carried_out("enabled min_content_length content_type content_type_matcher"),
    of(FILTERS, "compressor.v3.Compressor.RequestDirectionConfig").carried_out("common_config"),
    of(FILTERS, "compressor.v3.Compressor.ResponseDirectionConfig").carried_out(
        "common_config disable_on_etag_header weaken_etag_on_compress remove_accept_encoding_header uncompressible_response_codes \
         status_header_enabled",
    ),
    of(FILTERS, "compressor.v3.CompressorPerRoute").packed().carried_out("disabled overrides"),
    of(FILTERS, "compressor.v3.CompressorOverrides").carried_out("response_direction_config compressor_library"),
    of(FILTERS, "compressor.v3.ResponseDirectionOverrides").carried_out("remove_accept_encoding_header"),
    of(FILTERS, "csrf.v3.CsrfPolicy").packed().carried_out("filter_enabled shadow_enabled additional_origins"),
    of(FILTERS, "custom_response.v3.CustomResponse").packed().carried_out("custom_response_matcher"),
    of("envoy.extensions.http.custom_response.local_response_policy.v3", "LocalResponsePolicy")
        .packed()
        .carried_out("body body_format status_code response_headers_to_add preserve_response_code_details response_code_details"),
    of(MATCHER, "Matcher").carried_out("matcher_list matcher_tree on_no_match"),
    of(MATCHER, "Matcher.OnMatch").carried_out("matcher action").refused("keep_matching"),
    of(MATCHER, "Matcher.MatcherList").carried_out("matchers"),
    of(MATCHER, "Matcher.MatcherList.FieldMatcher").carried_out("predicate on_match"),
    of(MATCHER, "Matcher.MatcherList.Predicate").carried_out("single_predicate or_matcher and_matcher not_matcher"),
    of(MATCHER, "Matcher.MatcherList.Predicate.SinglePredicate").carried_out("input value_match").refused("custom_match"),
    of(MATCHER, "Matcher.MatcherList.Predicate.PredicateList").carried_out("predicate"),
    of(MATCHER, "Matcher.MatcherTree").carried_out("input exact_match_map prefix_match_map").refused("custom_match"),
    of(MATCHER, "Matcher.MatcherTree.MatchMap").carried_out("map"),
    of(MATCHER, "StringMatcher").carried_out("exact prefix suffix safe_regex contains ignore_case").refused("custom"),
    of(MATCHER, "RegexMatcher").carried_out("regex").unseen("google_re2"),
    of("xds.core.v3", "TypedExtensionConfig").carried_out("name typed_config"),
    of("envoy.type.matcher.v3", "HttpRequestHeaderMatchInput").packed().carried_out("header_name"),
    of("envoy.type.matcher.v3", "HttpResponseHeaderMatchInput").packed().carried_out("header_name"),
    of("envoy.type.matcher.v3", "HttpResponseStatusCodeMatchInput").packed(),
    of("envoy.type.matcher.v3", "HttpResponseStatusCodeClassMatchInput").packed(),
    of(FILTERS, "decompressor.v3.Decompressor")
        .packed()
        .carried_out("decompressor_library request_direction_config response_direction_config"),
    of(FILTERS, "decompressor.v3.Decompressor.CommonDirectionConfig").carried_out("enabled ignore_no_transform_header"),
    of(FILTERS, "decompressor.v3.Decompressor.RequestDirectionConfig").carried_out("common_config advertise_accept_encoding"),
    of(FILTERS, "decompressor.v3.Decompressor.ResponseDirectionConfig").carried_out("common_config"),
    // How much memory a library takes, and how large its parts are, nobody sees.
    of(COMPRESSION, "gzip.compressor.v3.Gzip")
        .packed()
        .carried_out("compression_level window_bits")
        .unseen("memory_level chunk_size")
        .reported_unless_zero(&[("compression_strategy", "the usual strategy is used")]),
    of(COMPRESSION, "gzip.decompressor.v3.Gzip").packed().carried_out("max_inflate_ratio").unseen("window_bits chunk_size"),
    of(COMPRESSION, "brotli.compressor.v3.Brotli")
        .packed()
        .carried_out("quality encoder_mode window_bits input_block_bits disable_literal_context_modeling")
        .unseen("chunk_size"),
    of(COMPRESSION, "brotli.decompressor.v3.Brotli").packed().unseen("disable_ring_buffer_reallocation chunk_size"),
    // Nobody who has not the dictionary could read what was compressed with it.
    of(COMPRESSION, "zstd.compressor.v3.Zstd")
        .packed()
        .carried_out("compression_level enable_checksum strategy")
        .unseen("chunk_size")
        .refused("dictionary"),
    of(COMPRESSION, "zstd.decompressor.v3.Zstd").packed().unseen("chunk_size").refused("dictionaries"),
    of(FILTERS, "cors.v3.Cors").packed(),
    of(FILTERS, "cors.v3.CorsPolicy").packed().carried_out(
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled \
         shadow_enabled allow_private_network_access forward_not_matching_preflights",
    ),
    of(FILTERS, "fault.v3.HTTPFault")
        .packed()
        .carried_out("delay abort upstream_cluster headers downstream_nodes max_active_faults response_rate_limit")
        .unseen(FAULT_UNSEEN),
    of(FILTERS, "fault.v3.FaultAbort").carried_out("http_status grpc_status percentage response_body").as_whole("header_abort"),
    of(FAULT, "FaultRateLimit").carried_out("fixed_limit percentage").as_whole("header_limit"),
    of(FAULT, "FaultRateLimit.FixedLimit").carried_out("limit_kbps"),
    of(FAULT, "FaultDelay").carried_out("fixed_delay percentage").as_whole("header_delay"),
    // They count, or look up names that the proxy looks up where it connects.
    of(FILTERS, "grpc_stats.v3.FilterConfig").packed().unseen(
        "emit_filter_state individual_method_stats_allowlist stats_for_all_methods enable_upstream_stats \
         replace_dots_in_grpc_service_name",
    ),
    of(FILTERS, "dynamic_forward_proxy.v3.FilterConfig").packed().carried_out("dns_cache_config").unseen("save_upstream_address").reported(
        &[
            ("sub_cluster_config", "hosts have no clusters of their own"),
            ("allow_dynamic_host_from_filter_state", "the host is the one that the request names"),
        ],
    ),
    of(PEERS, "Config")
        .packed()
        .carried_out("downstream_discovery upstream_discovery downstream_propagation upstream_propagation")
        // No connection leads to a listener of the same process.
        .unseen("shared_with_upstream")
        .reported(&[("additional_labels", "workloads tell each other their usual labels")]),
    of(PEERS, "Config.DiscoveryMethod")
        .carried_out("istio_headers")
        // Such resources no control plane has, unless a bootstrap asks for them.
        .unseen("workload_discovery")
        .reported(&[("baggage", "what `baggage` says of a workload is not believed")]),
    of(PEERS, "Config.PropagationMethod").carried_out("istio_headers"),
    of(PEERS, "Config.IstioHeaders").carried_out("skip_external_clusters"),
    of(FILTERS, "grpc_http1_bridge.v3.Config").packed().carried_out("upgrade_protobuf_to_grpc ignore_query_parameters"),
    of(FILTERS, "grpc_web.v3.GrpcWeb").packed(),
    // Scripts load nothing from files but themselves.
    of(FILTERS, "lua.v3.Lua")
        .packed()
        .carried_out("inline_code stat_prefix clear_route_cache")
        .as_whole("default_source_code source_codes filter_context")
        .refused("package_paths package_cpaths"),
    of(FILTERS, "lua.v3.LuaPerRoute")
        .packed()
        .carried_out("disabled name")
        .as_whole("source_code filter_context")
        .refused("package_paths package_cpaths"),
    of(FILTERS, "header_mutation.v3.HeaderMutation").packed().carried_out("mutations most_specific_header_mutations_wins"),
    of(FILTERS, "header_mutation.v3.HeaderMutationPerRoute").packed().carried_out("mutations"),
    of(FILTERS, "header_mutation.v3.Mutations").carried_out(
        "request_mutations query_parameter_mutations response_mutations response_trailers_mutations request_trailers_mutations",
    ),
    // Nothing is counted by a prefix.
    of(FILTERS, "header_to_metadata.v3.Config").packed().carried_out("request_rules response_rules").unseen("stat_prefix"),
    of(FILTERS, "header_to_metadata.v3.Config.Rule").carried_out("header cookie on_header_present on_header_missing remove"),
    of(FILTERS, "header_to_metadata.v3.Config.KeyValuePair").carried_out("metadata_namespace key value regex_value_rewrite type encode"),
    of(FILTERS, "set_metadata.v3.Config").packed().carried_out("metadata_namespace metadata").as_whole("value"),
    of(FILTERS, "set_metadata.v3.Metadata")
        .carried_out("metadata_namespace allow_overwrite")
        .as_whole("value")
        .reported(&[("typed_value", "no filter reads typed metadata")]),
    of(FILTERS, "health_check.v3.HealthCheck").packed().carried_out("pass_through_mode cache_time cluster_min_healthy_percentages headers"),
    of(FILTERS, "stateful_session.v3.StatefulSession")
        .packed()
        .carried_out("session_state strict")
        .unseen("stat_prefix")
        .reported_unless_zero(&[("status_on_strict_destination_not_found", "the answer is 503")]),
    of(FILTERS, "stateful_session.v3.StatefulSessionPerRoute").packed().carried_out("disabled stateful_session"),
    of(SESSION, "cookie.v3.CookieBasedSessionState").packed().carried_out("cookie"),
    of(SESSION, "header.v3.HeaderBasedSessionState").packed().carried_out("name"),
    of("envoy.type.http.v3", "Cookie").carried_out("name ttl path attributes"),
    of("envoy.type.http.v3", "CookieAttribute").carried_out("name value"),
    of(MUTATION, "HeaderMutation").carried_out("remove append remove_on_match"),
    of(MUTATION, "HeaderMutation.RemoveOnMatch").carried_out("key_matcher"),
    of(CORE, "KeyValueMutation").carried_out("append remove"),
    // Its older form Envoy does not read.
    of(CORE, "KeyValueAppend").carried_out("record action").unseen("entry"),
    of(CORE, "KeyValuePair").carried_out("key value"),
];
