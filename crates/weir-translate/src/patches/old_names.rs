//! Names that Envoy's own filters had before its version 1.14. EnvoyFilters that were published then still have them, and find nothing.

use weir_api::FieldPath;
use weir_api::resources::envoy_filter::EnvoyConfigObjectMatch;

use super::matching;

const OLD: [(&str, &str); 8] = [
    ("envoy.http_connection_manager", "envoy.filters.network.http_connection_manager"),
    ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
    ("envoy.router", "envoy.filters.http.router"),
    ("envoy.cors", "envoy.filters.http.cors"),
    ("envoy.fault", "envoy.filters.http.fault"),
    ("envoy.listener.tls_inspector", "envoy.filters.listener.tls_inspector"),
    ("envoy.listener.http_inspector", "envoy.filters.listener.http_inspector"),
    ("envoy.listener.original_dst", "envoy.filters.listener.original_dst"),
];

/// The old names that a match has, each with its place below the match and the name that the filter has now.
pub(super) fn of(matched: &EnvoyConfigObjectMatch) -> Vec<(FieldPath, &'static str, &'static str)> {
    let listener = FieldPath::default().key("listener");
    let filter = listener.key("filterChain").key("filter");
    let named = [
        (filter.key("name"), matching::network_filter(matched)),
        (filter.key("subFilter").key("name"), matching::http_filter(matched)),
        (listener.key("listenerFilter"), matching::listener_filter(matched)),
    ];
    let new = |name: &str| OLD.iter().find(|(old, _)| *old == name);
    named.into_iter().filter_map(|(path, name)| new(name?).map(|(old, new)| (path, *old, *new))).collect()
}
