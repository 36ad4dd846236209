//! What is told of EnvoyFilters that are carried out, and could be better.

use weir_translate::{translate, unmatched, unsupported};

use crate::patches::{client, filter, named, with};
use crate::support::{findings, gateway};

#[test]
fn a_patch_for_all_sidecars_that_finds_nothing_at_one_is_told_to_who_asks_about_that_one() {
    let text = filter("{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND, cluster: {service: aa.test}}, patch: {operation: REMOVE}}");
    let mesh = with(&[&text]);
    assert!(findings(&translate(&mesh, &client())).iter().all(|said| !said.contains("EnvoyFilter")));
    let said: Vec<String> = unmatched(&mesh, &client()).iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("service `aa.test`") && said[0].contains("there are clusters outbound|80|"), "{said:?}");
    assert!(unmatched(&mesh, &gateway()).is_empty());
}

#[test]
fn old_names_and_what_needs_no_envoy_filter_are_told() {
    let patches = [
        "{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: envoy.http_connection_manager, subFilter: {name: envoy.router}}}}}, patch: {operation: INSERT_BEFORE, value: {name: x}}}",
        "{applyTo: CLUSTER, match: {cluster: {name: x}}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}",
        "{applyTo: HTTP_ROUTE, match: {}, patch: {operation: MERGE, value: {route: {timeout: 1s}, request_headers_to_add: [{header: {key: a, value: b}}]}}}",
    ];
    let mesh = with(&[&named("f", "istio-system", "", &patches)]);
    let objects: Vec<_> = mesh.envoy_filters.iter().map(|filter| filter.object.clone()).collect();
    let said: Vec<String> = unsupported::findings(&objects).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));
}
