//! Who may do what.

use super::{Decided, of};

const RBAC: &str = "envoy.config.rbac.v3";
const HTTP: &str = "envoy.extensions.filters.http.rbac.v3";
const NETWORK: &str = "envoy.extensions.filters.network.rbac.v3";
const MATCHERS: &str = "envoy.type.matcher.v3";

const NO_AUDITOR: &str = "no auditor is told of it";

pub(super) const TABLE: &[Decided] = &[
    of(RBAC, "RBAC").carried_out("action policies").reported(&[("audit_logging_options", NO_AUDITOR)]),
    // What is not understood may be there to keep somebody out.
    of(RBAC, "Policy").carried_out("permissions principals").unseen("cel_config").refused("condition checked_condition"),
    of(RBAC, "Permission")
        .carried_out(
            "and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata not_rule \
             requested_server_name uri_template sourced_metadata",
        )
        .refused("matcher"),
    of(RBAC, "Permission.Set").carried_out("rules"),
    of(RBAC, "Principal")
        .carried_out(
            "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata filter_state not_id \
             sourced_metadata",
        )
        .refused("custom"),
    of(RBAC, "Principal.Set").carried_out("ids"),
    of(RBAC, "Principal.Authenticated").carried_out("principal_name"),
    of(RBAC, "SourcedMetadata").carried_out("metadata_matcher metadata_source"),
    of(HTTP, "RBAC")
        .packed()
        .carried_out("rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix")
        .refused("matcher shadow_matcher")
        .reported_unless_zero(&[("track_per_rule_stats", "policies are not counted one by one")]),
    of(HTTP, "RBACPerRoute").packed().carried_out("rbac"),
    of(NETWORK, "RBAC")
        .packed()
        .carried_out("rules shadow_rules shadow_rules_stat_prefix stat_prefix delay_deny")
        // What it looks at does not change while a connection lasts.
        .unseen("enforcement_type")
        .refused("matcher shadow_matcher"),
    of("envoy.extensions.path.match.uri_template.v3", "UriTemplateMatchConfig").packed().carried_out("path_template"),
    of(MATCHERS, "PathMatcher").carried_out("path"),
    of(MATCHERS, "MetadataMatcher").carried_out("filter path value invert"),
    of(MATCHERS, "MetadataMatcher.PathSegment").carried_out("key"),
    of(MATCHERS, "ValueMatcher").carried_out("null_match double_match string_match bool_match present_match list_match or_match"),
    of(MATCHERS, "ListMatcher").carried_out("one_of"),
    of(MATCHERS, "OrMatcher").carried_out("value_matchers"),
    of(MATCHERS, "DoubleMatcher").carried_out("range exact"),
    of("envoy.type.v3", "DoubleRange").carried_out("start end"),
    // Of the state that filters keep there is the client's name alone.
    of(MATCHERS, "FilterStateMatcher").carried_out("key string_match").refused("address_match"),
];
