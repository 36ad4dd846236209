//! Every operation on every kind of object, and what a patch costs that is for none.

use proptest::prelude::*;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Labels};

use crate::patches::{KINDS, MANAGER, OPERATIONS, any_patch, changes, client, filter, named, parses, with};
use crate::support::gateway;

/// What a kind of object is looked for by, what is put in or put in its place, and what is merged into it.
fn patched(kind: &str) -> (String, &'static str, &'static str) {
    const LIMIT: &str = "{name: new, typed_config: {'@type': \
                         type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, max_connections: 1}}";
    const MERGED: &str = "{typed_config: {'@type': \
                          type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
                          stream_idle_timeout: 3s, upgrade_configs: [{upgrade_type: x}]}}";
    const BUFFER: &str =
        "{name: new, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}}";
    let listener = |inner: &str| format!("listener: {{portNumber: 8080{inner}}}");
    let routes = |inner: &str| format!("routeConfiguration: {{portNumber: 8080{inner}}}");
    let filter = |sub: &str| format!(", filterChain: {{filter: {{name: {MANAGER}{sub}}}}}");
    match kind {
        "LISTENER" => (listener(""), "{name: new, address: {pipe: {path: /x}}}", "{stat_prefix: x}"),
        "FILTER_CHAIN" => (listener(""), "{name: new, filters: []}", "{transport_socket_connect_timeout: 1s}"),
        "NETWORK_FILTER" => (listener(&filter("")), LIMIT, MERGED),
        "HTTP_FILTER" => (listener(&filter(", subFilter: {name: envoy.filters.http.cors}")), BUFFER, "{is_optional: true}"),
        "LISTENER_FILTER" => (listener(""), "{name: new}", "{name: new}"),
        "ROUTE_CONFIGURATION" => (routes(""), "{name: new}", "{response_headers_to_remove: [x]}"),
        "VIRTUAL_HOST" => (routes(", vhost: {name: 'a.test:8080'}"), "{name: new, domains: [new.test]}", "{domains: [more.test]}"),
        "HTTP_ROUTE" => (
            routes(", vhost: {name: 'a.test:8080', route: {name: first}}"),
            "{name: new, match: {path: /new}, direct_response: {status: 202}}",
            "{response_headers_to_remove: [x]}",
        ),
        "CLUSTER" => ("cluster: {name: 'outbound|80||a.test'}".to_owned(), "{name: new, type: STATIC}", "{connect_timeout: 1s}"),
        _ => (String::new(), "{name: new, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct}}", "{name: new}"),
    }
}

#[test]
fn every_operation_on_every_kind_of_object() {
    let mut golden = String::new();
    for kind in KINDS {
        let (matched, whole, merged) = patched(kind);
        for operation in OPERATIONS {
            let value = match operation {
                "MERGE" | "MERGE_AND_REPLACE_LIST" => format!(", value: {merged}"),
                "REMOVE" => String::new(),
                _ => format!(", value: {whole}"),
            };
            let condition = if matched.is_empty() { String::new() } else { format!(", {matched}") };
            let patch = format!("{{applyTo: {kind}, match: {{context: GATEWAY{condition}}}, patch: {{operation: {operation}{value}}}}}");
            golden += &format!("{kind} {operation}\n{}\n", changes(&gateway(), &[&filter(&patch)]));
        }
    }
    insta::assert_snapshot!(golden);
}

fn class(mesh: &MeshSnapshot, proxy: &Proxy) -> Class {
    let mut class = Class::new(ClassKey::of(mesh, &Labels::of(mesh), proxy));
    class.refresh(mesh, proxy);
    class
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever patches do at a port that nobody has: no resource is looked into, and none is anew.
    #[test]
    fn patches_that_select_nothing_cost_nothing_and_change_no_byte(picks in prop::collection::vec((0..10_usize, 0..4000_usize), 1..5)) {
        // Where there is no order, what is inserted is added.
        let inserts = |patch: &str| patch.contains("INSERT_") && ["LISTENER,", "CLUSTER,"].iter().any(|kind| patch.contains(kind));
        let is_adding = |patch: &str| patch.contains("operation: ADD") || patch.contains("EXTENSION_CONFIG") || inserts(patch);
        let patches: Vec<String> = picks.iter().map(|(kind, choice)| any_patch(*kind, *choice, 7)).filter(|patch| !is_adding(patch)).collect();
        let patches: Vec<&str> = patches.iter().map(String::as_str).collect();
        let text = named("f", "istio-system", "", &patches);
        prop_assume!(!patches.is_empty() && parses(&text));
        for proxy in [gateway(), client()] {
            let plain = with(&[]);
            let mut class = class(&plain, &proxy);
            let before = class.work();
            let filters = with(&[&text]).envoy_filters.iter().map(|filter| filter.object.clone()).collect::<Vec<_>>();
            let added: Vec<_> = filters.into_iter().map(|new| weir_api::ObjectChange { old: None, new: Some(new) }).collect();
            let patched = plain.update(&added, None, &[]);
            let update = class.refresh(&patched, &proxy);
            prop_assert!(update.upserts.is_empty() && update.removals.is_empty(), "{:?}", update.upserts);
            let now = class.work();
            prop_assert_eq!((now.clusters, now.route_lists), (before.clusters, before.route_lists));
            prop_assert_eq!(now.patched, before.patched);
        }
    }
}
