//! Filters that ask services about requests.

use super::{Decided, of};

const AUTHZ: &str = "envoy.extensions.filters.http.ext_authz.v3";
const LIMIT: &str = "envoy.extensions.filters.http.ratelimit.v3";
const CORE: &str = "envoy.config.core.v3";

const ONCE: &str = "the service is asked once";
const ONE_COUNT: &str = "what services say is counted for each cluster, whichever filter asks";

pub(super) const TABLE: &[Decided] = &[
    of(AUTHZ, "ExtAuthz")
        .packed()
        .carried_out(
            "grpc_service http_service transport_api_version failure_mode_allow failure_mode_allow_header_add with_request_body \
             clear_route_cache status_on_error validate_mutations filter_enabled filter_enabled_metadata deny_at_disable include_peer_certificate \
             allowed_headers disallowed_headers include_tls_session charge_cluster_response_stats encode_raw_headers \
             max_denied_response_body_bytes shadow_mode decoder_header_mutation_rules metadata_context_namespaces \
             route_metadata_context_namespaces enable_dynamic_metadata_ingestion stat_prefix",
        )
        // There is no state of filters that they could speak of; nothing is traced.
        .unseen("filter_metadata emit_filter_state_stats emit_client_span")
        .reported(&[
            ("bootstrap_metadata_labels_key", "the service is told no labels of this proxy"),
            (
                "typed_metadata_context_namespaces route_typed_metadata_context_namespaces",
                "the service is told no metadata of types of its own",
            ),
            ("enforce_response_header_limits", "all headers are added that the service asks for"),
        ]),
    of("envoy.extensions.filters.network.ext_authz.v3", "ExtAuthz")
        .packed()
        .carried_out(
            "stat_prefix grpc_service failure_mode_allow include_peer_certificate transport_api_version filter_enabled_metadata \
             include_tls_session shadow_mode",
        )
        .reported(&[
            ("bootstrap_metadata_labels_key", "the service is told no labels of this proxy"),
            ("metadata_context_namespaces typed_metadata_context_namespaces", "the service is told no metadata of the connection"),
            ("send_tls_alert_on_denial", "who is refused is told nothing"),
        ]),
    of(AUTHZ, "BufferSettings").carried_out("max_request_bytes allow_partial_message pack_as_bytes"),
    of(AUTHZ, "HttpService")
        .carried_out("server_uri path_prefix path_override authorization_request authorization_response")
        .reported(&[("retry_policy", ONCE)]),
    of(AUTHZ, "AuthorizationRequest").carried_out("allowed_headers headers_to_add"),
    of(AUTHZ, "AuthorizationResponse")
        .carried_out(
            "allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers allowed_client_headers_on_success \
             dynamic_metadata_from_headers",
        ),
    of(AUTHZ, "ExtAuthzPerRoute").packed().carried_out("disabled check_settings"),
    of(AUTHZ, "CheckSettings")
        .carried_out("context_extensions disable_request_body_buffering with_request_body grpc_service http_service")
        .unseen("emit_client_span"),
    of("envoy.config.common.mutation_rules.v3", "HeaderMutationRules")
        .carried_out("allow_all_routing allow_envoy disallow_system disallow_all allow_expression disallow_expression disallow_is_error"),
    of(CORE, "GrpcService").carried_out("envoy_grpc timeout initial_metadata").refused("google_grpc").reported(&[("retry_policy", ONCE)]),
    of(CORE, "GrpcService.EnvoyGrpc")
        .carried_out("cluster_name authority max_receive_message_length skip_envoy_headers")
        .reported(&[("retry_policy", ONCE)]),
    // Of the address only the cluster counts, in Envoy too, but where keys are fetched from it.
    of(CORE, "HttpUri").carried_out("cluster timeout uri"),
    of("envoy.type.matcher.v3", "ListStringMatcher").carried_out("patterns"),
    of(LIMIT, "RateLimit")
        .packed()
        .carried_out(
            "domain stage request_type timeout failure_mode_deny rate_limited_as_resource_exhausted rate_limit_service \
             enable_x_ratelimit_headers disable_x_envoy_ratelimited_header rate_limited_status response_headers_to_add \
             status_on_error filter_enabled filter_enforced failure_mode_deny_percent rate_limits enable_retry_after_header \
             metadata_namespace",
        )
        .reported(&[("stat_prefix", ONE_COUNT)]),
    // Envoy does not read the option.
    of(LIMIT, "RateLimitPerRoute").packed().carried_out("vh_rate_limits rate_limits domain").unseen("override_option"),
    of("envoy.config.ratelimit.v3", "RateLimitServiceConfig").carried_out("grpc_service transport_api_version"),
];
