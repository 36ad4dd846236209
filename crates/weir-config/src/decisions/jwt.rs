//! The filter that checks tokens.

use super::{Decided, of};

const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3";
const CORE: &str = "envoy.config.core.v3";

const USUAL_RETRIES: &str = "what is tried again is what Envoy tries again where nothing is said";

pub(super) const TABLE: &[Decided] = &[
    of(JWT, "JwtAuthentication").packed().carried_out(
        "providers rules filter_state_rules bypass_cors_preflight requirement_map strip_failure_response stat_prefix",
    ),
    of(JWT, "JwtProvider")
        .carried_out(
            "issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward from_headers from_params from_cookies \
             forward_payload_header pad_forward_payload_header payload_in_metadata normalize_payload_in_metadata header_in_metadata \
             failed_status_in_metadata clock_skew_seconds claim_to_headers clear_route_cache",
        )
        .unseen("jwt_cache_config"),
    of(JWT, "JwtProvider.NormalizePayload").carried_out("space_delimited_claims"),
    of(JWT, "RemoteJwks").carried_out("http_uri cache_duration async_fetch retry_policy"),
    // Whether the listener or the keys come first: requests wait for the keys.
    of(JWT, "JwksAsyncFetch").carried_out("failed_refetch_duration").unseen("fast_listener"),
    of(JWT, "JwtHeader").carried_out("name value_prefix"),
    of(JWT, "ProviderWithAudiences").carried_out("provider_name audiences"),
    of(JWT, "JwtRequirement")
        .carried_out("provider_name provider_and_audiences requires_any requires_all")
        .as_whole("allow_missing allow_missing_or_failed")
        // Anybody could write such a token.
        .refused("extract_only_without_validation"),
    of(JWT, "JwtRequirementOrList").carried_out("requirements"),
    of(JWT, "JwtRequirementAndList").carried_out("requirements"),
    of(JWT, "RequirementRule").carried_out("match requires requirement_name"),
    // No filter leaves state behind, so that none of it is ever found.
    of(JWT, "FilterStateRule").carried_out("requires").unseen("name"),
    of(JWT, "JwtClaimToHeader").carried_out("header_name claim_name claim_path"),
    of(JWT, "JwtClaimToHeader.PathSegment").carried_out("key"),
    of(JWT, "PerRouteConfig").packed().carried_out("disabled requirement_name"),
    of(CORE, "BackoffStrategy").carried_out("base_interval max_interval"),
    of(CORE, "RetryPolicy")
        .carried_out("retry_back_off num_retries")
        .reported(&[("retry_on retry_priority retry_host_predicate host_selection_retry_max_attempts", USUAL_RETRIES)]),
];
