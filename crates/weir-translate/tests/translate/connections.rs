//! `connectionSettings` of the mesh: what gateways and sidecars get of it. The facts are those of Istio's
//! connection_settings.go and of its page on edge proxies.

use serde_json::{Value, json};
use weir_model::Proxy;
use weir_translate::{Translation, translate};

use crate::support::{cluster, gateway, json_of, mesh_with, sidecar};

const MESH: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: shop}\nspec: {selector: {istio: ingressgateway}, \
    servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.test]}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: shop}\nspec: {hosts: [shop.test], addresses: [10.9.0.1], \
    resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}\n---\n\
    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec: {hosts: [shop.test], gateways: [shop, mesh], \
    http: [{route: [{destination: {host: shop.test}}]}]}\n";

fn made(settings: &str, proxy: &Proxy) -> Translation {
    let config = format!("defaultConfig: {{connectionSettings: {{{settings}}}}}\n");
    translate(&mesh_with(&config, &[("mesh.yaml", MESH)]), proxy)
}

/// The filters of the listener of port 80, and the listener.
fn listener(made: &Translation) -> (Vec<Value>, Value) {
    let found = made.listeners.iter().map(json_of).find(|listener| listener["name"].as_str().is_some_and(|name| name.ends_with("_80")));
    let listener = found.unwrap();
    let chain =
        if listener["filter_chains"][0]["filters"].is_array() { &listener["filter_chains"][0] } else { &listener["default_filter_chain"] };
    (chain["filters"].as_array().unwrap().clone(), listener)
}

/// The fields of the connection manager that the settings are about, those that are set.
fn manager(made: &Translation) -> Value {
    let (filters, _) = listener(made);
    let manager = &filters.last().unwrap()["typed_config"];
    let names = [
        "common_http_protocol_options",
        "http2_protocol_options",
        "stream_idle_timeout",
        "request_timeout",
        "request_headers_timeout",
        "drain_timeout",
        "merge_slashes",
        "path_with_escaped_slashes_action",
    ];
    names
        .into_iter()
        .filter(|name| !manager[*name].is_null())
        .map(|name| (name.to_owned(), manager[name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn buffers(made: &Translation) -> (Value, Value) {
    let of_cluster = json_of(cluster(made, "outbound|80||shop.test"))["per_connection_buffer_limit_bytes"].take();
    (listener(made).1["per_connection_buffer_limit_bytes"].take(), of_cluster)
}

#[test]
fn a_gateway_at_the_edge_has_limits_fit_for_strangers() {
    let edge = made("profile: EDGE", &gateway());
    assert_eq!(
        manager(&edge),
        json!({
            "common_http_protocol_options": {"idle_timeout": "3600s", "headers_with_underscores_action": "REJECT_REQUEST"},
            "http2_protocol_options": {
                "max_concurrent_streams": 100, "initial_stream_window_size": 65536, "initial_connection_window_size": 1_048_576,
            },
            "stream_idle_timeout": "300s",
            "request_timeout": "300s",
            "request_headers_timeout": "60s",
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        })
    );
    assert_eq!(buffers(&edge), (json!(32768), json!(32768)));
}

#[test]
fn profiles_leave_others_as_they_are() {
    let usual = json!({"stream_idle_timeout": "0s", "path_with_escaped_slashes_action": "KEEP_UNCHANGED"});
    for (settings, proxy) in [
        ("", gateway()),
        ("profile: SIDECAR", gateway()),
        ("profile: EDGE", sidecar("10.0.9.9", &[])),
        ("httpMaxConcurrentStreams: -1", gateway()),
    ] {
        let made = made(settings, &proxy);
        assert_eq!((manager(&made), buffers(&made)), (usual.clone(), (Value::Null, Value::Null)), "{settings} {}", proxy.id);
    }
}

#[test]
fn what_is_written_counts_for_all_and_before_the_profile() {
    let settings = "profile: EDGE, httpMaxConcurrentStreams: 7, httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_ALLOW, \
        httpPathWithEscapedSlashesAction: KEEP_UNCHANGED, httpMergeSlashes: false, httpIdleTimeout: 5s, httpMaxConnectionDuration: 6s, \
        httpMaxStreamDuration: 8s, httpStreamIdleTimeout: 9s, httpRequestTimeout: 10s, httpRequestHeadersTimeout: 11s, httpDrainTimeout: 12s, \
        http2InitialStreamWindowSize: 70000, http2InitialConnectionWindowSize: 80000, listenerPerConnectionBufferLimitBytes: 12345, \
        clusterPerConnectionBufferLimitBytes: 23456";
    for proxy in [gateway(), sidecar("10.0.9.9", &[])] {
        let made = made(settings, &proxy);
        let expected = json!({
            "common_http_protocol_options": {"idle_timeout": "5s", "max_connection_duration": "6s", "max_stream_duration": "8s"},
            "http2_protocol_options": {
                "max_concurrent_streams": 7, "initial_stream_window_size": 70000, "initial_connection_window_size": 80000,
            },
            "stream_idle_timeout": "9s",
            "request_timeout": "10s",
            "request_headers_timeout": "11s",
            "drain_timeout": "12s",
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        });
        assert_eq!((manager(&made), buffers(&made)), (expected, (json!(12345), json!(23456))), "{}", proxy.id);
        assert_eq!(json_of(cluster(&made, "BlackHoleCluster"))["per_connection_buffer_limit_bytes"], Value::Null);
    }
}

#[test]
fn a_listener_has_so_many_connections_as_it_may() {
    for proxy in [gateway(), sidecar("10.0.9.9", &[])] {
        let (filters, _) = listener(&made("listenerConnectionLimit: 50", &proxy));
        let limit = &filters[0]["typed_config"];
        assert_eq!((&limit["max_connections"], filters.len()), (&json!("50"), 2), "{limit}");
        assert!(limit["stat_prefix"].as_str().is_some_and(|prefix| prefix.ends_with("_80") && !prefix.contains('.')), "{limit}");
    }
    assert_eq!(listener(&made("listenerConnectionLimit: 0", &gateway())).0.len(), 1);
}
