//! Rate limits: what routes say of them, and the filter for those that the proxy counts itself.

use super::{Decided, of};

const ROUTE: &str = "envoy.config.route.v3";
const COMMON: &str = "envoy.extensions.common.ratelimit.v3";

pub(super) const TABLE: &[Decided] = &[
    of("envoy.extensions.filters.http.local_ratelimit.v3", "LocalRateLimit")
        .packed()
        .carried_out(
            "stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced \
             response_headers_to_add descriptors stage local_rate_limit_per_downstream_connection enable_x_ratelimit_headers \
             vh_rate_limits always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits \
             enable_retry_after_header",
        )
        // Of descriptors with wildcards, which are refused.
        .unseen("max_dynamic_descriptors")
        .refused("local_cluster_rate_limit"),
    of(COMMON, "LocalRateLimitDescriptor").carried_out("entries token_bucket shadow_mode"),
    of(COMMON, "RateLimitDescriptor.Entry").carried_out("key value"),
    of("envoy.type.v3", "TokenBucket").carried_out("max_tokens tokens_per_fill fill_interval"),
    of(ROUTE, "RateLimit")
        .carried_out("stage disable_key actions hits_addend x_ratelimit_option")
        // It would come from metadata, and filters leave none behind.
        .unseen("limit")
        .refused("apply_on_stream_done"),
    of(ROUTE, "RateLimit.HitsAddend").carried_out("number").refused("format is_negative_hits"),
    of(ROUTE, "RateLimit.Action")
        .carried_out(
            "source_cluster destination_cluster request_headers query_parameters remote_address generic_key header_value_match \
             masked_remote_address query_parameter_value_match remote_address_match metadata",
        )
        .refused("dynamic_metadata extension"),
    // Metadata of clusters and of their instances is refused.
    of(ROUTE, "RateLimit.Action.MetaData").carried_out("descriptor_key metadata_key default_value source skip_if_absent"),
    of("envoy.type.metadata.v3", "MetadataKey").carried_out("key path"),
    of("envoy.type.metadata.v3", "MetadataKey.PathSegment").carried_out("key").refused("index"),
    of(ROUTE, "RateLimit.Action.RequestHeaders").carried_out("header_name descriptor_key skip_if_absent"),
    of(ROUTE, "RateLimit.Action.QueryParameters").carried_out("query_parameter_name descriptor_key skip_if_absent"),
    // A default counts where a value has operators, which are refused.
    of(ROUTE, "RateLimit.Action.GenericKey").carried_out("descriptor_value descriptor_key").unseen("default_value"),
    of(ROUTE, "RateLimit.Action.HeaderValueMatch")
        .carried_out("descriptor_value descriptor_key expect_match headers")
        .unseen("default_value"),
    of(ROUTE, "RateLimit.Action.QueryParameterValueMatch")
        .carried_out("descriptor_value descriptor_key expect_match query_parameters")
        .unseen("default_value"),
    of(ROUTE, "RateLimit.Action.RemoteAddressMatch").carried_out("descriptor_value descriptor_key address_matcher").unseen("default_value"),
    of(ROUTE, "RateLimit.Action.MaskedRemoteAddress").carried_out("v4_prefix_mask_len v6_prefix_mask_len"),
    of("envoy.type.matcher.v3", "AddressMatcher").carried_out("ranges invert_match"),
    of("xds.core.v3", "CidrRange").carried_out("address_prefix prefix_len"),
];
