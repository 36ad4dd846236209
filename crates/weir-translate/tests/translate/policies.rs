//! What becomes of the blocks of a traffic policy, field by field. The facts are those of Istio's
//! cluster_traffic_policy.go.

use serde_json::{Value, json};
use weir_model::Proxy;
use weir_translate::{Translation, translate};
use weir_xds::json::{Names, any_to_value};

use crate::support::{cluster, gateway, json_of, mesh_with, sidecar};

const PORTS: &str = "[{number: 80, name: http, protocol: HTTP}, {number: 81, name: http2, protocol: HTTP2}, {number: 82, name: tcp, protocol: TCP}, {number: 83, name: x}]";

fn made(config: &str, policy: &str, proxy: &Proxy) -> Translation {
    let policy = if policy.is_empty() { String::new() } else { format!(", trafficPolicy: {{{policy}}}") };
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: shop}}\nspec: {{hosts: [shop.test], addresses: [10.9.0.1], \
         resolution: STATIC, ports: {PORTS}, endpoints: [{{address: 10.0.0.1}}]}}\n---\napiVersion: networking.istio.io/v1\n\
         kind: DestinationRule\nmetadata: {{name: shop}}\nspec: {{host: shop.test{policy}}}\n"
    );
    translate(&mesh_with(config, &[("mesh.yaml", &text)]), proxy)
}

/// A field of the cluster of a port under a policy, as Envoy's JSON; null if it is not set.
fn field(config: &str, policy: &str, port: u16, field: &str) -> Value {
    let made = made(config, policy, &sidecar("10.0.9.9", &[]));
    json_of(cluster(&made, &format!("outbound|{port}||shop.test")))[field].take()
}

/// The HTTP options of the cluster of a port.
fn http_options(config: &str, policy: &str, port: u16, proxy: &Proxy) -> Value {
    let made = made(config, policy, proxy);
    let options = &cluster(&made, &format!("outbound|{port}||shop.test")).typed_extension_protocol_options;
    let Some(options) = options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions") else { return Value::Null };
    let mut value = any_to_value(options, Names::Proto).unwrap();
    value.as_object_mut().unwrap().remove("@type");
    value
}

#[test]
fn outlier_detection() {
    for (written, expected) in [
        ("", json!({"enforcing_success_rate": 0})),
        ("consecutive5xxErrors: 7", json!({"consecutive_5xx": 7, "enforcing_consecutive_5xx": 100, "enforcing_success_rate": 0})),
        ("consecutive5xxErrors: 0", json!({"consecutive_5xx": 0, "enforcing_consecutive_5xx": 0, "enforcing_success_rate": 0})),
        (
            "consecutiveGatewayErrors: 3",
            json!({"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100, "enforcing_success_rate": 0}),
        ),
        (
            "consecutiveGatewayErrors: 0",
            json!({"consecutive_gateway_failure": 0, "enforcing_consecutive_gateway_failure": 0, "enforcing_success_rate": 0}),
        ),
        // Istio does not look at it any more.
        ("consecutiveErrors: 4", json!({"enforcing_success_rate": 0})),
        (
            "interval: 5s, baseEjectionTime: 1m, maxEjectionPercent: 50",
            json!({"interval": "5s", "base_ejection_time": "60s", "max_ejection_percent": 50, "enforcing_success_rate": 0}),
        ),
        ("maxEjectionPercent: 0", json!({"enforcing_success_rate": 0})),
        (
            "splitExternalLocalOriginErrors: true",
            json!({"split_external_local_origin_errors": true, "enforcing_local_origin_success_rate": 0, "enforcing_success_rate": 0}),
        ),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2",
            json!({
                "split_external_local_origin_errors": true, "enforcing_local_origin_success_rate": 0, "enforcing_success_rate": 0,
                "consecutive_local_origin_failure": 2, "enforcing_consecutive_local_origin_failure": 100,
            }),
        ),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 0",
            json!({"split_external_local_origin_errors": true, "enforcing_local_origin_success_rate": 0, "enforcing_success_rate": 0}),
        ),
    ] {
        let policy = format!("outlierDetection: {{{written}}}");
        assert_eq!(field("", &policy, 80, "outlier_detection"), expected, "{written}");
    }
    assert_eq!(field("", "", 80, "outlier_detection"), Value::Null);
}

#[test]
fn the_panic_threshold_is_0_unless_a_share_is_named() {
    for (policy, expected) in [
        ("", json!({"healthy_panic_threshold": {}})),
        ("outlierDetection: {}", json!({"healthy_panic_threshold": {}})),
        ("outlierDetection: {minHealthPercent: 60}", json!({"healthy_panic_threshold": {"value": 60.0}})),
    ] {
        assert_eq!(field("", policy, 80, "common_lb_config"), expected, "{policy}");
    }
}

#[test]
fn statuses_that_count_as_failures_are_matched_by_the_response() {
    let status = |code: &str| json!({"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": code}}]}});
    for (codes, expected) in [("[429]", status("429")), ("[429, 500]", json!({"or_match": {"rules": [status("429"), status("500")]}}))] {
        let policy = format!("outlierDetection: {{outlierDetectionHttpErrorCodes: {codes}}}");
        let options = http_options("", &policy, 80, &sidecar("10.0.9.9", &[]));
        assert_eq!(options["outlier_detection"], json!({"error_matcher": expected}), "{codes}");
        // Envoy wants a version of HTTP beside it, and what the pool says stays.
        assert_eq!(options["explicit_http_config"], json!({"http_protocol_options": {}}));
        let policy = format!("{policy}, connectionPool: {{http: {{idleTimeout: 7s, h2UpgradePolicy: UPGRADE}}}}");
        let options = http_options("", &policy, 80, &sidecar("10.0.9.9", &[]));
        assert_eq!(options["common_http_protocol_options"], json!({"idle_timeout": "7s"}));
        assert_eq!(options["explicit_http_config"], json!({"http2_protocol_options": {}}));
        assert_ne!(options["outlier_detection"], Value::Null);
    }
}

#[test]
fn warm_up() {
    let full = |aggression: f64, percent: f64| {
        json!({"slow_start_config": {
            "slow_start_window": "30s",
            "aggression": {"default_value": aggression, "runtime_key": "("},
            "min_weight_percent": {"value": percent},
        }})
    };
    for (written, name, expected) in [
        ("warmup: {duration: 30s}", "least_request_lb_config", full(1.0, 10.0)),
        ("simple: ROUND_ROBIN, warmup: {duration: 30s, aggression: 2, minimumPercent: 5}", "round_robin_lb_config", full(2.0, 5.0)),
        ("simple: LEAST_REQUEST, warmup: {duration: 30s}, warmupDurationSecs: 9s", "least_request_lb_config", full(1.0, 10.0)),
        (
            "simple: LEAST_REQUEST, warmupDurationSecs: 9s",
            "least_request_lb_config",
            json!({"slow_start_config": {"slow_start_window": "9s"}}),
        ),
        ("simple: RANDOM, warmup: {duration: 30s}", "least_request_lb_config", Value::Null),
        ("consistentHash: {useSourceIp: true}, warmup: {duration: 30s}", "round_robin_lb_config", Value::Null),
    ] {
        assert_eq!(field("", &format!("loadBalancer: {{{written}}}"), 80, name), expected, "{written}");
    }
}

#[test]
fn limits_of_a_pool() {
    const MAX: u32 = u32::MAX;
    let limits = |connections: u32, pending: u32, requests: u32, retries: u32| json!({"max_connections": connections, "max_pending_requests": pending, "max_requests": requests, "max_retries": retries});
    for (policy, expected) in [
        ("", limits(MAX, MAX, MAX, MAX)),
        ("connectionPool: {tcp: {maxConnections: 1}}", limits(1, MAX, MAX, MAX)),
        ("connectionPool: {http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRetries: 4}}", limits(MAX, 2, 3, 4)),
        // 0 stands for what is not set.
        ("connectionPool: {tcp: {maxConnections: 0}, http: {maxRetries: 0}}", limits(MAX, MAX, MAX, MAX)),
    ] {
        assert_eq!(field("", policy, 80, "circuit_breakers"), json!({"thresholds": [expected]}), "{policy}");
    }
}

#[test]
fn a_budget_of_retries() {
    for (written, expected) in [
        ("", json!({"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3})),
        ("percent: 50, minRetryConcurrency: 5", json!({"budget_percent": {"value": 50.0}, "min_retry_concurrency": 5})),
        ("budgetInterval: 0s", json!({"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3})),
        ("budgetInterval: 2s", json!({"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3, "budget_interval": "2s"})),
    ] {
        let breakers = field("", &format!("retryBudget: {{{written}}}"), 80, "circuit_breakers");
        assert_eq!(breakers["thresholds"][0]["retry_budget"], expected, "{written}");
    }
}

#[test]
fn times_of_connecting_and_keeping_alive() {
    for (config, policy, timeout) in [
        ("", "", "10s"),
        ("connectTimeout: 3s", "", "3s"),
        ("connectTimeout: 3s", "connectionPool: {tcp: {connectTimeout: 100ms}}", "0.100s"),
    ] {
        assert_eq!(field(config, policy, 80, "connect_timeout"), timeout, "{config} {policy}");
    }
    let policy = "connectionPool: {tcp: {tcpKeepalive: {probes: 3, time: 60s, interval: 5s}}}";
    let expected = json!({"tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 60, "keepalive_interval": 5}});
    assert_eq!(field("", policy, 80, "upstream_connection_options"), expected);
    assert_eq!(field("tcpKeepalive: {time: 60s}", "", 80, "upstream_connection_options"), json!({"tcp_keepalive": {"keepalive_time": 60}}));
    assert_eq!(field("", "", 80, "upstream_connection_options"), Value::Null);
}

#[test]
fn options_of_http() {
    let http1 = json!({"http_protocol_options": {}});
    for (policy, expected) in [
        ("http: {idleTimeout: 7s}", json!({"common_http_protocol_options": {"idle_timeout": "7s"}, "explicit_http_config": http1})),
        ("tcp: {idleTimeout: 8s}", json!({"common_http_protocol_options": {"idle_timeout": "8s"}, "explicit_http_config": http1})),
        (
            "tcp: {idleTimeout: 8s}, http: {idleTimeout: 7s}",
            json!({"common_http_protocol_options": {"idle_timeout": "7s"}, "explicit_http_config": http1}),
        ),
        (
            "http: {maxRequestsPerConnection: 1}, tcp: {maxConnectionDuration: 1h}",
            json!({
                "common_http_protocol_options": {"max_requests_per_connection": 1, "max_connection_duration": "3600s"},
                "explicit_http_config": http1,
            }),
        ),
        // Only HTTP/2 has streams and PINGs.
        ("http: {maxConcurrentStreams: 9, http2KeepAlive: {interval: 1s, timeout: 2s}}", Value::Null),
        (
            "http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 9, http2KeepAlive: {interval: 1s, timeout: 2s}}",
            json!({"explicit_http_config": {"http2_protocol_options": {
                "max_concurrent_streams": 9, "connection_keepalive": {"interval": "1s", "timeout": "2s"},
            }}}),
        ),
    ] {
        let policy = format!("connectionPool: {{{policy}}}");
        assert_eq!(http_options("", &policy, 80, &sidecar("10.0.9.9", &[])), expected, "{policy}");
    }
}

#[test]
fn the_version_of_http() {
    let http2 = json!({"explicit_http_config": {"http2_protocol_options": {}}});
    let as_client = json!({"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}});
    let none = Value::Null;
    let (sidecar, gateway) = (sidecar("10.0.9.9", &[]), gateway());
    let (up, down) = ("connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}");
    let client = "connectionPool: {http: {useClientProtocol: true}}";
    let mesh = "h2UpgradePolicy: UPGRADE";
    for (config, policy, port, proxy, expected) in [
        ("", "", 80, &sidecar, &none),
        ("", "", 81, &sidecar, &http2),
        ("", "", 82, &sidecar, &none),
        // It is found out, and kept to; a gateway does not find it out.
        ("", "", 83, &sidecar, &as_client),
        ("", "", 83, &gateway, &none),
        ("", up, 80, &sidecar, &http2),
        ("", up, 83, &sidecar, &http2),
        ("", client, 80, &sidecar, &as_client),
        ("", client, 81, &sidecar, &as_client),
        (mesh, "", 80, &gateway, &http2),
        (mesh, "", 82, &sidecar, &none),
        (mesh, "", 83, &sidecar, &as_client),
        (mesh, down, 80, &sidecar, &none),
        (mesh, client, 80, &sidecar, &as_client),
    ] {
        assert_eq!(http_options(config, policy, port, proxy), *expected, "{config} {policy} {port} {:?}", proxy.kind);
    }
}

#[test]
fn a_sidecar_speaks_to_its_own_workload_as_its_port_says_whatever_the_mesh_upgrades() {
    let text = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  \
                ingress: [{port: {number: 8080, name: http, protocol: HTTP}, captureMode: NONE, defaultEndpoint: '127.0.0.1:9'}]\n  \
                egress: [{hosts: ['./*']}]\n";
    let made = translate(&mesh_with("h2UpgradePolicy: UPGRADE", &[("mesh.yaml", text)]), &sidecar("10.0.9.9", &[]));
    assert!(cluster(&made, "inbound|8080||").typed_extension_protocol_options.is_empty());
}
