//! Rules of EnvoyFilter. Whether a patch's value is an object of Envoy's is not known here.

use serde_json::Value;

use super::checker::Checker;
use super::{re2, values};
use crate::resources::EnvoyFilter;
use crate::resources::envoy_filter::{
    ApplyTo, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, FilterMatch, ListenerMatch, PatchContext, PatchOperation,
    PolicyTargetReference, ProxyMatch, WaypointMatch,
};

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Old names of filters, and how they are called now.
const OLD_NAMES: &[(&str, &str)] = &[
    ("envoy.buffer", "envoy.filters.http.buffer"),
    ("envoy.cors", "envoy.filters.http.cors"),
    ("envoy.csrf", "envoy.filters.http.csrf"),
    ("envoy.ext_authz", "envoy.filters.http.ext_authz"),
    ("envoy.fault", "envoy.filters.http.fault"),
    ("envoy.grpc_http1_bridge", "envoy.filters.http.grpc_http1_bridge"),
    ("envoy.grpc_json_transcoder", "envoy.filters.http.grpc_json_transcoder"),
    ("envoy.grpc_web", "envoy.filters.http.grpc_web"),
    ("envoy.gzip", "envoy.filters.http.compressor"),
    ("envoy.health_check", "envoy.filters.http.health_check"),
    ("envoy.ip_tagging", "envoy.filters.http.ip_tagging"),
    ("envoy.lua", "envoy.filters.http.lua"),
    ("envoy.rate_limit", "envoy.filters.http.ratelimit"),
    ("envoy.router", "envoy.filters.http.router"),
    ("envoy.squash", "envoy.filters.http.squash"),
    ("envoy.echo", "envoy.filters.network.echo"),
    ("envoy.http_connection_manager", CONNECTION_MANAGER),
    ("envoy.mongo_proxy", "envoy.filters.network.mongo_proxy"),
    ("envoy.ratelimit", "envoy.filters.network.ratelimit"),
    ("envoy.redis_proxy", "envoy.filters.network.redis_proxy"),
    ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
    ("envoy.listener.http_inspector", "envoy.filters.listener.http_inspector"),
    ("envoy.listener.original_dst", "envoy.filters.listener.original_dst"),
    ("envoy.listener.original_src", "envoy.filters.listener.original_src"),
    ("envoy.listener.proxy_protocol", "envoy.filters.listener.proxy_protocol"),
    ("envoy.listener.tls_inspector", "envoy.filters.listener.tls_inspector"),
];

/// What an EnvoyFilter may be attached to: group and kind.
const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// Whether a patch is for proxies of a version.
pub fn takes_version(proxy: &ProxyMatch, version: &str) -> bool {
    proxy.proxy_version.is_empty() || re2::compile(&proxy.proxy_version).is_ok_and(|expression| expression.is_match(version))
}

/// Checks an EnvoyFilter.
pub(super) fn check(c: &mut Checker<'_>, filter: &EnvoyFilter) {
    c.exclusive(&[("workloadSelector", filter.workload_selector.is_some()), ("targetRefs", !filter.target_refs.is_empty())]);
    c.some("workloadSelector", &filter.workload_selector, |c, selector| values::check_selector(c, "labels", &selector.labels));
    c.each("targetRefs", &filter.target_refs, check_target);
    if filter.config_patches.is_empty() {
        c.warn_help("it changes nothing", "add `configPatches`");
    }
    c.each("configPatches", &filter.config_patches, check_patch);
}

fn check_target(c: &mut Checker<'_>, target: &PolicyTargetReference) {
    if target.name.is_empty() {
        c.error_help("the name is missing", "add `name`");
    }
    if !target.namespace.is_empty() {
        c.field("namespace", |c| c.error_help("it can only be attached within its own namespace", "leave `namespace` away"));
    }
    if !TARGETS.contains(&(target.group.as_str(), target.kind.as_str())) {
        let known: Vec<String> =
            TARGETS.iter().filter(|(group, _)| *group != "core").map(|(group, kind)| format!("{kind} ({group:?})")).collect();
        c.error_help(format!("it cannot be attached to {} ({:?})", target.kind, target.group), format!("to {}", known.join(", ")));
    }
}

fn check_patch(c: &mut Checker<'_>, patch: &EnvoyConfigObjectPatch) {
    if patch.apply_to == ApplyTo::Invalid {
        return c.error_help("it is not said what is changed", "add `applyTo`");
    }
    match &patch.patch {
        None => c.error_help("the change is missing", "add `patch`"),
        Some(change) => c.field("patch", |c| {
            if change.operation == PatchOperation::Invalid {
                c.error_help("it is not said what is done", "add `operation`");
            } else if change.operation != PatchOperation::Remove && change.value.is_none() {
                c.error_help("the value is missing", "add `value`; only REMOVE needs none");
            }
            c.some("value", &change.value, |c, value| match value {
                Value::Object(_) => check_types(c, value),
                _ => c.error_help("the value is not an object of Envoy's", "write its fields as a map"),
            });
        }),
    }
    c.some("match", &patch.r#match, |c, m| check_match(c, m, patch.apply_to));
}

/// Types of Envoy's configuration before its version 3 exist no more.
fn check_types(c: &mut Checker<'_>, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                c.field(key.clone(), |c| match value.as_str() {
                    Some(name) if key == "@type" => check_type(c, name),
                    _ => check_types(c, value),
                });
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| c.item(index, |c| check_types(c, item))),
        _ => {}
    }
}

fn check_type(c: &mut Checker<'_>, url: &str) {
    let name = url.rsplit('/').next().unwrap_or(url);
    let is_old = name.split('.').any(|part| part == "v1" || part == "v2" || part.starts_with("v2alpha"));
    if name.starts_with("envoy.") && is_old {
        c.error_help(format!("the type `{name}` exists no more"), "use the one of Envoy's version 3 API");
    }
}

fn check_match(c: &mut Checker<'_>, m: &EnvoyConfigObjectMatch, apply_to: ApplyTo) {
    c.some("proxy", &m.proxy, |c, proxy| {
        if !proxy.proxy_version.is_empty()
            && let Err(wrong) = re2::compile(&proxy.proxy_version)
        {
            c.field("proxyVersion", |c| c.error_help(wrong, re2::SYNTAX));
        }
    });
    let given = [
        ("listener", m.listener.is_some()),
        ("routeConfiguration", m.route_configuration.is_some()),
        ("cluster", m.cluster.is_some()),
        ("waypoint", m.waypoint.is_some()),
    ];
    c.exclusive(&given);
    if m.context == PatchContext::Waypoint || m.waypoint.is_some() {
        return check_waypoint(c, m, apply_to);
    }
    let fitting = match apply_to {
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter => "listener",
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => "routeConfiguration",
        ApplyTo::Cluster => "cluster",
        ApplyTo::Invalid | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => return,
    };
    for (key, _) in given.into_iter().filter(|(key, given)| *given && *key != fitting) {
        c.field(key, |c| {
            c.error_help(format!("`{key}` cannot match what `applyTo: {}` changes", apply_to.name()), format!("match by `{fitting}`"))
        });
    }
    c.some("listener", &m.listener, |c, listener| check_listener(c, listener, apply_to));
}

fn check_listener(c: &mut Checker<'_>, listener: &ListenerMatch, apply_to: ApplyTo) {
    check_old_name(c, "listenerFilter", &listener.listener_filter);
    let Some(filter) = listener.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref()) else { return };
    c.field("filterChain", |c| {
        c.field("filter", |c| {
            if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
                c.warn_help(format!("`filter` has no effect with `applyTo: {}`", apply_to.name()), "leave it away");
            }
            check_filter(c, filter, apply_to);
        });
    });
}

fn check_filter(c: &mut Checker<'_>, filter: &FilterMatch, apply_to: ApplyTo) {
    if filter.name.is_empty() {
        return c.error_help("the filter's name is missing", "add `name`");
    }
    check_old_name(c, "name", &filter.name);
    let Some(sub_filter) = &filter.sub_filter else { return };
    c.field("subFilter", |c| {
        if apply_to != ApplyTo::HttpFilter {
            c.error_help("`subFilter` matches HTTP filters only", "choose `applyTo: HTTP_FILTER`");
        } else if filter.name != CONNECTION_MANAGER && filter.name != "envoy.http_connection_manager" {
            c.error_help(format!("`{}` has no HTTP filters", filter.name), format!("match the filter `{CONNECTION_MANAGER}`"));
        } else if sub_filter.name.is_empty() {
            c.error_help("the filter's name is missing", "add `name`");
        }
        check_old_name(c, "name", &sub_filter.name);
    });
}

fn check_old_name(c: &mut Checker<'_>, key: &'static str, name: &str) {
    if let Some((_, new)) = OLD_NAMES.iter().find(|(old, _)| *old == name) {
        c.field(key, |c| c.warn_help(format!("`{name}` is an old name"), format!("write `{new}`")));
    }
}

fn check_waypoint(c: &mut Checker<'_>, m: &EnvoyConfigObjectMatch, apply_to: ApplyTo) {
    if m.context != PatchContext::Waypoint {
        c.field("waypoint", |c| c.error_help("`waypoint` matches in the context WAYPOINT only", "add `context: WAYPOINT`"));
    }
    let others =
        [("listener", m.listener.is_some()), ("routeConfiguration", m.route_configuration.is_some()), ("cluster", m.cluster.is_some())];
    for (key, _) in others.into_iter().filter(|(_, given)| *given) {
        c.field(key, |c| c.error_help(format!("`{key}` does not match in the context WAYPOINT"), "match by `waypoint`"));
    }
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::ListenerFilter | ApplyTo::Bootstrap | ApplyTo::ExtensionConfig) {
        c.error_help(format!("a waypoint has nothing for `applyTo: {}` to change", apply_to.name()), "choose another context");
    }
    c.some("waypoint", &m.waypoint, |c, waypoint| check_waypoint_match(c, waypoint, apply_to));
}

fn check_waypoint_match(c: &mut Checker<'_>, waypoint: &WaypointMatch, apply_to: ApplyTo) {
    if waypoint.port_number != 0 {
        c.field("portNumber", |c| values::check_port(c, waypoint.port_number));
    }
    let filters = matches!(apply_to, ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::FilterChain);
    let routes = matches!(apply_to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute);
    for (key, given, fits) in [("filter", waypoint.filter.is_some(), filters), ("route", waypoint.route.is_some(), routes)] {
        if given && !fits {
            c.field(key, |c| c.error_help(format!("`{key}` cannot match what `applyTo: {}` changes", apply_to.name()), "leave it away"));
        }
    }
    if apply_to != ApplyTo::HttpFilter {
        return;
    }
    match &waypoint.filter {
        None => c.error_help("the filter is missing", format!("add `filter` with the name `{CONNECTION_MANAGER}` and a `subFilter`")),
        Some(filter) => c.field("filter", |c| match &filter.sub_filter {
            _ if filter.name != CONNECTION_MANAGER => {
                c.error_help(format!("`{}` has no HTTP filters", filter.name), format!("match the filter `{CONNECTION_MANAGER}`"));
            }
            Some(sub_filter) if !sub_filter.name.is_empty() => {}
            _ => c.error_help("the HTTP filter's name is missing", "add `subFilter` with a `name`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within};

    #[test]
    fn it_changes_something_somewhere() {
        check_table(
            "EnvoyFilter",
            &[
                ("workloadSelector: {labels: {a: b}}", &["warning: spec"]),
                ("targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]", &["warning: spec"]),
                ("targetRefs: [{kind: Pod, name: a}]", &["error: targetRefs[0]", "warning: spec"]),
                (
                    "targetRefs: [{kind: Service, namespace: b}]",
                    &["error: targetRefs[0]", "error: targetRefs[0].namespace", "warning: spec"],
                ),
                ("targetRefs: [{kind: Service, name: a}]\nworkloadSelector: {labels: {a: b}}", &["error: spec", "warning: spec"]),
            ],
        );
    }

    #[test]
    fn patches_are_complete() {
        check_within(
            "EnvoyFilter",
            "configPatches: [{…}]",
            "configPatches[0]",
            &[
                ("applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}", &[]),
                ("applyTo: CLUSTER, patch: {operation: REMOVE}", &[]),
                ("patch: {operation: REMOVE}", &["error: "]),
                ("applyTo: CLUSTER", &["error: "]),
                ("applyTo: CLUSTER, patch: {value: {a: b}}", &["error: .patch"]),
                ("applyTo: CLUSTER, patch: {operation: ADD}", &["error: .patch"]),
                ("applyTo: CLUSTER, patch: {operation: ADD, value: a}", &["error: .patch.value"]),
                (
                    "applyTo: CLUSTER, patch: {operation: ADD, value: {a: [{'@type': type.googleapis.com/envoy.api.v2.Cluster}]}}",
                    &["error: .patch.value.a[0][\"@type\"]"],
                ),
            ],
        );
    }

    #[test]
    fn matches_fit_what_is_changed() {
        let spec = "configPatches: [{…, patch: {operation: REMOVE}}]";
        check_within(
            "EnvoyFilter",
            spec,
            "configPatches[0]",
            &[
                ("applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {name: a}}}", &[]),
                ("applyTo: BOOTSTRAP, match: {cluster: {name: a}}", &[]),
                ("applyTo: HTTP_ROUTE, match: {cluster: {name: a}}", &["error: .match.cluster"]),
                ("applyTo: CLUSTER, match: {listener: {name: a}, cluster: {name: b}}", &["error: .match", "error: .match.listener"]),
                ("applyTo: CLUSTER, match: {proxy: {proxyVersion: '('}}", &["error: .match.proxy.proxyVersion"]),
                (
                    "applyTo: LISTENER, match: {listener: {filterChain: {filter: {name: a}}}}",
                    &["warning: .match.listener.filterChain.filter"],
                ),
                ("applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {}}}}", &["error: .match.listener.filterChain.filter"]),
                (
                    "applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: envoy.tcp_proxy}}}}",
                    &["warning: .match.listener.filterChain.filter.name"],
                ),
                (
                    "applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}",
                    &["error: .match.listener.filterChain.filter.subFilter"],
                ),
                (
                    "applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}",
                    &["error: .match.listener.filterChain.filter.subFilter"],
                ),
            ],
        );
    }

    #[test]
    fn waypoints() {
        let spec = "configPatches: [{applyTo: …, patch: {operation: REMOVE}}]";
        let manager = "name: envoy.filters.network.http_connection_manager";
        check_within(
            "EnvoyFilter",
            spec,
            "configPatches[0].match",
            &[
                ("CLUSTER, match: {context: WAYPOINT}", &[]),
                (&format!("HTTP_FILTER, match: {{context: WAYPOINT, waypoint: {{filter: {{{manager}, subFilter: {{name: a}}}}}}}}"), &[]),
                (&format!("HTTP_FILTER, match: {{context: WAYPOINT, waypoint: {{filter: {{{manager}}}}}}}"), &["error: .waypoint.filter"]),
                ("HTTP_FILTER, match: {context: WAYPOINT, waypoint: {filter: {name: a}}}", &["error: .waypoint.filter"]),
                ("HTTP_FILTER, match: {context: WAYPOINT, waypoint: {}}", &["error: .waypoint"]),
                ("HTTP_ROUTE, match: {waypoint: {route: {name: a}}}", &["error: .waypoint"]),
                ("CLUSTER, match: {context: WAYPOINT, cluster: {name: a}}", &["error: .cluster"]),
                ("LISTENER, match: {context: WAYPOINT}", &["error: "]),
                (
                    "CLUSTER, match: {context: WAYPOINT, waypoint: {portNumber: 70000, route: {name: a}}}",
                    &["error: .waypoint.portNumber", "error: .waypoint.route"],
                ),
            ],
        );
    }
}
