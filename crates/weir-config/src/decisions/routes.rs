//! Route configurations.

use super::{Decided, of};

const ROUTE: &str = "envoy.config.route.v3";

const BUFFER: &str = "requests are not buffered for it: only what a retry needs is";
const POLICY: &str = "`retry_policy` alone says when a request is repeated";
const CORS: &str = "only what `typed_per_filter_config` says of it counts";
const INTERNAL: &str = "a redirect of an instance goes to the client";

pub(super) const TABLE: &[Decided] = &[
    of(ROUTE, "RouteConfiguration")
        .carried_out(
            "name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove request_headers_to_add \
             request_headers_to_remove most_specific_header_mutations_wins max_direct_response_body_size_bytes \
             request_mirror_policies ignore_port_in_host_matching vhost_header ignore_path_parameters_in_path_matching \
             typed_per_filter_config vhds",
        )
        .as_whole("metadata")
        // A route that goes by one is refused.
        .unseen("cluster_specifier_plugins")
        .refused("route_specifiers")
        .reported(&[("validate_clusters", "a cluster that is not there is noticed when a request comes")]),
    of(ROUTE, "Vhds").carried_out("config_source"),
    of(ROUTE, "VirtualHost")
        .carried_out(
            "name domains routes require_tls rate_limits request_headers_to_add request_headers_to_remove response_headers_to_add \
             response_headers_to_remove typed_per_filter_config include_request_attempt_count include_attempt_count_in_response \
             include_is_timeout_retry_header retry_policy request_mirror_policies",
        )
        .as_whole("metadata")
        .refused("matcher route_specifiers")
        .reported(&[
            ("virtual_clusters", "they have no statistics"),
            ("cors", CORS),
            ("retry_policy_typed_config", POLICY),
            ("hedge_policy", "a request is at one instance at a time"),
            ("per_request_buffer_limit_bytes request_body_buffer_limit", BUFFER),
        ]),
    of(ROUTE, "Route")
        .carried_out(
            "name match route redirect direct_response typed_per_filter_config request_headers_to_add request_headers_to_remove \
             response_headers_to_add response_headers_to_remove",
        )
        .as_whole("metadata")
        // Nothing is traced.
        .unseen("decorator tracing")
        .refused("filter_action non_forwarding_action route_specifiers")
        .reported(&[
            ("stat_prefix", "it has no statistics of its own"),
            ("per_request_buffer_limit_bytes request_body_buffer_limit", BUFFER),
        ]),
    of(ROUTE, "RouteAction")
        .carried_out(
            "cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite \
             host_rewrite_literal host_rewrite_header host_rewrite_path_regex auto_host_rewrite append_x_forwarded_host timeout \
             idle_timeout retry_policy request_mirror_policies rate_limits include_vh_rate_limits hash_policy max_grpc_timeout \
             grpc_timeout_offset upgrade_configs max_stream_duration priority",
        )
        // There is no early data, and clusters with subsets are refused.
        .unseen("early_data_policy metadata_match")
        // Requests would go elsewhere, or arrive under another path or host.
        .refused("cluster_specifier_plugin inline_cluster_specifier_plugin path_rewrite_policy path_rewrite host_rewrite")
        .reported(&[
            ("flush_timeout", "what a client does not take is given up with the stream's idle timeout"),
            ("retry_policy_typed_config", POLICY),
            ("cors", CORS),
            ("internal_redirect_policy internal_redirect_action max_internal_redirects", INTERNAL),
            ("hedge_policy", "a request is at one instance at a time"),
        ]),
    of(ROUTE, "RouteAction.MaxStreamDuration").carried_out("max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset"),
    of(ROUTE, "RouteAction.UpgradeConfig")
        .carried_out("upgrade_type enabled")
        // Of CONNECT, which is refused where it is enabled.
        .unseen("connect_config"),
    of(ROUTE, "RouteAction.RequestMirrorPolicy")
        .carried_out(
            "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append request_headers_mutations host_rewrite_literal",
        )
        // Nothing is traced.
        .unseen("trace_sampled"),
    of(ROUTE, "RouteAction.HashPolicy")
        .carried_out("header cookie connection_properties query_parameter terminal")
        // There is no filter state, and what is not there makes no hash.
        .unseen("filter_state"),
    of(ROUTE, "RouteAction.HashPolicy.Header").carried_out("header_name regex_rewrite"),
    of(ROUTE, "RouteAction.HashPolicy.Cookie").carried_out("name ttl path attributes"),
    of(ROUTE, "RouteAction.HashPolicy.CookieAttribute").carried_out("name value"),
    of(ROUTE, "RouteAction.HashPolicy.ConnectionProperties").carried_out("source_ip"),
    of(ROUTE, "RouteAction.HashPolicy.QueryParameter").carried_out("name"),
    of(ROUTE, "WeightedCluster")
        .carried_out("clusters header_name use_hash_policy")
        // Envoy counts the weights itself; there is no runtime.
        .unseen("total_weight runtime_key_prefix"),
    of(ROUTE, "WeightedCluster.ClusterWeight")
        .carried_out(
            "name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add \
             response_headers_to_remove typed_per_filter_config host_rewrite_literal",
        )
        .unseen("metadata_match"),
    of(ROUTE, "RouteMatch")
        .carried_out("prefix path safe_regex path_separated_prefix case_sensitive runtime_fraction headers query_parameters cookies grpc")
        // No filter leaves state behind, and what is not there satisfies no condition on it.
        .as_whole("dynamic_metadata filter_state")
        .refused("connect_matcher path_match_policy")
        .reported(&[("tls_context", "no client counts as one with a certificate")]),
    of(ROUTE, "HeaderMatcher").carried_out(
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match \
         invert_match treat_missing_header_as_empty",
    ),
    of(ROUTE, "QueryParameterMatcher").carried_out("name string_match present_match"),
    of(ROUTE, "CookieMatcher").carried_out("name string_match invert_match"),
    of(ROUTE, "RedirectAction")
        .carried_out(
            "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code \
             strip_query",
        )
        .refused("path_rewrite"),
    of(ROUTE, "DirectResponseAction").carried_out("status body").reported(&[("body_format", "the body is sent as it stands in `body`")]),
    of(ROUTE, "RetryPolicy")
        .carried_out(
            "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate \
             host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers \
             retriable_request_headers",
        )
        // A request would be repeated where it must not be.
        .refused("retry_options_predicates")
        .reported(&[("refresh_cluster_on_retry", "a repeated request goes to the cluster that was chosen first")]),
    of(ROUTE, "RetryPolicy.RetryBackOff").carried_out("base_interval max_interval"),
    of(ROUTE, "RetryPolicy.RateLimitedRetryBackOff").carried_out("reset_headers max_interval"),
    of(ROUTE, "RetryPolicy.ResetHeader").carried_out("name format"),
    of(ROUTE, "RetryPolicy.RetryHostPredicate").carried_out("name typed_config"),
    of(ROUTE, "RetryPolicy.RetryPriority").carried_out("name typed_config"),
    of("envoy.extensions.retry.host.previous_hosts.v3", "PreviousHostsPredicate").packed(),
    of("envoy.extensions.retry.priority.previous_priorities.v3", "PreviousPrioritiesConfig").packed().carried_out("update_frequency"),
    of(ROUTE, "FilterConfig").packed().carried_out("config is_optional disabled"),
];
