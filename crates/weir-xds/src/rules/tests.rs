use prost::Name;
use serde_json::{Value as Json, json};

use super::*;
use crate::cluster::Cluster;
use crate::json::from_value;
use crate::listener::Listener;
use crate::route::RouteConfiguration;

fn broken<M: crate::Message + Name>(message: Json) -> String {
    let message: M = from_value(message).expect("well formed");
    let found = first_violation(&Any::pack(&message), |name| name.ends_with(".HttpConnectionManager")).expect("known");
    found.map(|Violation { path, what }| format!("{path} {what}")).unwrap_or_default()
}

#[test]
fn a_cluster_is_held_to_its_rules() {
    let cases = [
        (json!({"name": ""}), "name must not be empty"),
        (json!({"name": "a", "connectTimeout": "0s"}), "connect_timeout must be more than 0s"),
        (json!({"name": "a", "type": 99}), "type 99 is none of its values"),
        (json!({"name": "a", "lbPolicy": 7}), ""),
        (
            json!({"name": "a", "outlierDetection": {"enforcingFailurePercentage": 101}}),
            "outlier_detection.enforcing_failure_percentage must be at most 100",
        ),
        (json!({"name": "a", "outlierDetection": {"interval": "0s"}}), "outlier_detection.interval must be more than 0s"),
        (json!({"name": "a", "maglevLbConfig": {"tableSize": 5_000_012}}), "maglev_lb_config.table_size must be at most 5000011"),
        (json!({"name": "a", "healthChecks": [{"timeout": "1s"}]}), "health_checks[0].interval must be set"),
        (
            json!({"name": "a", "healthChecks": [{"timeout": "1s", "interval": "1s", "unhealthyThreshold": 1, "healthyThreshold": 1}]}),
            "health_checks[0].health_checker one of its fields must be set",
        ),
        (
            json!({"name": "a", "circuitBreakers": {"thresholds": [{"priority": 1, "retryBudget": {"budgetPercent": {"value": 101}}}]}}),
            "circuit_breakers.thresholds[0].retry_budget.budget_percent.value must be at most 100",
        ),
        (
            json!({"name": "a", "commonLbConfig": {"healthyPanicThreshold": {"value": 100.5}}}),
            "common_lb_config.healthy_panic_threshold.value must be at most 100",
        ),
        (
            json!({"name": "a", "upstreamHttpProtocolOptions": {"overrideAutoSniHeader": "a b"}}),
            "upstream_http_protocol_options.override_auto_sni_header must be a name of a header",
        ),
        (json!({"name": "a", "upstreamHttpProtocolOptions": {"overrideAutoSniHeader": ":a"}}), ""),
        (json!({"name": "a", "loadAssignment": {}}), "load_assignment.cluster_name must not be empty"),
        (json!({"name": "a"}), ""),
    ];
    for (cluster, wanted) in cases {
        assert_eq!(broken::<Cluster>(cluster.clone()), wanted, "{cluster}");
    }
}

#[test]
fn a_route_table_is_held_to_its_rules() {
    let with = |route: Json| json!({"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [route]}]});
    let of_route = "virtual_hosts[0].routes[0]";
    let cases = [
        (json!({"virtualHosts": [{"name": "h"}]}), "virtual_hosts[0].domains must not be empty".to_owned()),
        (json!({"internalOnlyHeaders": ["a\n"]}), "internal_only_headers item 0 must be on one line".to_owned()),
        (
            with(json!({"match": {"prefix": "/"}, "redirect": {"hostRedirect": "a\nb"}})),
            format!("{of_route}.redirect.host_redirect must be on one line"),
        ),
        (with(json!({"redirect": {}})), format!("{of_route}.match must be set")),
        (with(json!({"match": {}, "redirect": {}})), format!("{of_route}.match.path_specifier one of its fields must be set")),
        (
            with(json!({"match": {"prefix": "/"}, "directResponse": {"status": 99}})),
            format!("{of_route}.direct_response.status must be at least 200"),
        ),
        (
            with(json!({"match": {"prefix": "/", "headers": [{"name": "a\nb", "presentMatch": true}]}, "redirect": {}})),
            format!("{of_route}.match.headers[0].name must be on one line"),
        ),
        (with(json!({"match": {"prefix": "/", "headers": [{"name": "a:b", "presentMatch": true}]}, "redirect": {}})), String::new()),
        (with(json!({"match": {"prefix": "/"}, "redirect": {}})), String::new()),
    ];
    for (table, wanted) in cases {
        assert_eq!(broken::<RouteConfiguration>(table.clone()), wanted, "{table}");
    }
}

#[test]
fn what_is_packed_is_held_to_its_rules_where_it_is_looked_into() {
    let manager = |kind: &str| json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.network.{kind}")});
    let listener = |packed: Json| json!({"filterChains": [{"filters": [{"name": "f", "typedConfig": packed}]}]});
    let at = "filter_chains[0].filters[0].typed_config";
    let http = "http_connection_manager.v3.HttpConnectionManager";
    assert_eq!(broken::<Listener>(listener(manager(http))), format!("{at}.stat_prefix must not be empty"));
    assert_eq!(broken::<Listener>(listener(manager("tcp_proxy.v3.TcpProxy"))), "");
}
