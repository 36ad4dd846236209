//! HTTP filters, and what routes say of them.

use super::{Decided, of};

const FILTERS: &str = "envoy.extensions.filters.http";
const FAULT: &str = "envoy.extensions.filters.common.fault.v3";
const MUTATION: &str = "envoy.config.common.mutation_rules.v3";
const CORE: &str = "envoy.config.core.v3";

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
    of(FILTERS, "buffer.v3.Buffer").packed().carried_out("max_request_bytes"),
    of(FILTERS, "buffer.v3.BufferPerRoute").packed().carried_out("disabled buffer"),
    of(FILTERS, "cors.v3.Cors").packed(),
    of(FILTERS, "cors.v3.CorsPolicy").packed().carried_out(
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled \
         shadow_enabled allow_private_network_access forward_not_matching_preflights",
    ),
    of(FILTERS, "fault.v3.HTTPFault")
        .packed()
        .carried_out("delay abort upstream_cluster headers downstream_nodes max_active_faults")
        .unseen(FAULT_UNSEEN)
        .refused("response_rate_limit"),
    of(FILTERS, "fault.v3.FaultAbort").carried_out("http_status grpc_status percentage response_body").as_whole("header_abort"),
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
    of(MUTATION, "HeaderMutation").carried_out("remove append remove_on_match"),
    of(MUTATION, "HeaderMutation.RemoveOnMatch").carried_out("key_matcher"),
    of(CORE, "KeyValueMutation").carried_out("append remove"),
    // Its older form Envoy does not read.
    of(CORE, "KeyValueAppend").carried_out("record action").unseen("entry"),
    of(CORE, "KeyValuePair").carried_out("key value"),
];
