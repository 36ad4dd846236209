use serde_json::{Value, json};
use weir_xds::cluster::Cluster;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener;
use weir_xds::route::RouteConfiguration;
use weir_xds::tls::{Secret, UpstreamTlsContext};
use weir_xds::{Message, Name};

use super::*;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn said<M: Message + Name>(resource: Value) -> Vec<String> {
    let message: M = weir_xds::json::from_value(resource).unwrap();
    report(&Any::pack(&message)).iter().map(ToString::to_string).collect()
}

fn typed(name: &str, mut config: Value) -> Value {
    config["@type"] = format!("{TYPES}.{name}").into();
    config
}

/// A listener with one connection manager.
fn http(manager: Value) -> Value {
    let config = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
    json!({"filterChains": [{"filters": [{"name": "http", "typedConfig": config}]}]})
}

#[test]
fn a_field_is_named_with_its_place_and_what_happens_instead() {
    let chain = "filter_chains[0].filters[0].typed_config";
    assert_eq!(
        said::<Listener>(http(json!({"streamFlushTimeout": "1s", "requestTimeout": "1s"}))),
        [format!(
            "HttpConnectionManager.stream_flush_timeout is not carried out: what a client does not take is given up with the stream's \
             idle timeout (at {chain}.stream_flush_timeout)"
        )]
    );
}

#[test]
fn a_field_that_stands_at_many_places_is_said_once() {
    let route = json!({"match": {"prefix": "/"}, "statPrefix": "a", "route": {"cluster": "a", "flushTimeout": "1s"}});
    let host = json!({"name": "h", "domains": ["*"], "routes": [route, route, route]});
    assert_eq!(
        said::<RouteConfiguration>(json!({"virtualHosts": [host]})),
        [
            "Route.stat_prefix is not carried out: it has no statistics of its own (at virtual_hosts[0].routes[0].stat_prefix and 2 other places)",
            "RouteAction.flush_timeout is not carried out: what a client does not take is given up with the stream's idle timeout (at virtual_hosts[0].routes[0].route.flush_timeout and 2 other places)",
        ]
    );
}

/// What is reported of a resource, by the names of the fields.
fn fields<M: Message + Name>(resource: Value) -> Vec<String> {
    let message: M = weir_xds::json::from_value(resource).unwrap();
    report(&Any::pack(&message)).into_iter().map(|unsupported| unsupported.field).collect()
}

#[test]
fn each_decision_does_what_it_says() {
    let none: [&str; 0] = [];
    // Carried out, as a whole, and without effect.
    let metadata =
        json!({"filterMetadata": {"a": {"b": 1}}, "typedFilterMetadata": {"a": {"@type": format!("{TYPES}.filters.http.cors.v3.Cors")}}});
    assert_eq!(fields::<Listener>(json!({"name": "l", "metadata": metadata, "enableReusePort": true})), none);
    assert_eq!(fields::<Cluster>(json!({"name": "c", "metadata": metadata})), none);
    // Refused; here nobody has.
    assert_eq!(fields::<Listener>(json!({"apiListener": {}})), ["Listener.api_listener"]);
    // Reported.
    assert_eq!(fields::<Cluster>(json!({"preconnectPolicy": {}})), ["Cluster.preconnect_policy"]);
    // Reported, but not where it asks for nothing.
    let limits = |max: u32| json!({"circuitBreakers": {"thresholds": [{"maxConnectionPools": max}]}});
    assert_eq!(fields::<Cluster>(limits(u32::MAX)), none);
    assert_eq!(fields::<Cluster>(limits(1)), ["Thresholds.max_connection_pools"]);
    assert_eq!(fields::<Cluster>(json!({"waitForWarmOnInit": false})), none);
    let source = |timeout: &str| json!({"edsClusterConfig": {"edsConfig": {"ads": {}, "initialFetchTimeout": timeout}}});
    assert_eq!(fields::<Cluster>(source("0s")), none);
    assert_eq!(fields::<Cluster>(source("1s")), ["ConfigSource.initial_fetch_timeout"]);
    // The agent that an Envoy asks is the proxy itself here.
    let asked = |cluster: &str| {
        let api = json!({"apiType": "GRPC", "grpcServices": [{"envoyGrpc": {"clusterName": cluster}}]});
        json!({"edsClusterConfig": {"edsConfig": {"apiConfigSource": api}}})
    };
    assert_eq!(fields::<Cluster>(asked("sds-grpc")), none);
    assert_eq!(fields::<Cluster>(asked("other")), ["ConfigSource.api_config_source"]);
    // A default that is not carried out.
    let outlier = |percent: Value| json!({"outlierDetection": {"enforcingSuccessRate": percent}});
    assert_eq!(fields::<Cluster>(outlier(0.into())), none);
    assert_eq!(fields::<Cluster>(outlier(50.into())), ["OutlierDetection.enforcing_success_rate"]);
    assert_eq!(fields::<Cluster>(outlier(Value::Null)), ["OutlierDetection.enforcing_success_rate"]);
}

#[test]
fn values_that_do_not_reach_the_client_are_named() {
    let routes = |route: Value| json!({"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [route]}]});
    let answer = |status: u16| json!({"match": {"prefix": "/"}, "directResponse": {"status": status, "body": {"inlineString": "hello"}}});
    assert_eq!(
        said::<RouteConfiguration>(routes(answer(204))),
        ["DirectResponseAction.body is not carried out: an answer by status 204 has no body (at \
          virtual_hosts[0].routes[0].direct_response)"]
    );
    assert_eq!(fields::<RouteConfiguration>(routes(answer(304))), ["DirectResponseAction.body"]);
    assert!(said::<RouteConfiguration>(routes(answer(200))).is_empty());
    let empty = json!({"match": {"prefix": "/"}, "directResponse": {"status": 204}});
    assert!(said::<RouteConfiguration>(routes(empty)).is_empty());
    let adds = |name: &str| json!({"responseHeadersToAdd": [{"header": {"key": "a"}}, {"header": {"key": name, "value": "v"}}]});
    assert_eq!(fields::<RouteConfiguration>(adds("Te")), ["RouteConfiguration.response_headers_to_add"]);
    assert!(fields::<RouteConfiguration>(adds("ten")).is_empty());
    let framing = json!({"requestHeadersToAdd": [{"header": {"key": "transfer-encoding", "value": "v"}}]});
    assert_eq!(
        said::<RouteConfiguration>(framing),
        ["RouteConfiguration.request_headers_to_add is not carried out: `transfer-encoding` is for the connection alone to say (at \
          request_headers_to_add)"]
    );
    let mutations = json!({"requestMutations": [{"remove": "a"}, {"append": {"header": {"key": "Content-Length", "value": "1"}}}]});
    let filter = typed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": mutations}));
    let manager = json!({"httpFilters": [{"name": "m", "typedConfig": filter}]});
    assert_eq!(fields::<Listener>(http(manager)), ["Mutations.request_mutations"]);
}

#[test]
fn packed_messages_that_are_not_carried_out_are_named() {
    let filter = |name: &str, config: Value| json!({"name": name, "isOptional": true, "typedConfig": config});
    let unknown = Any { type_url: "type.googleapis.com/no.Such".into(), ..Default::default() };
    let mut listener: Listener = weir_xds::json::from_value(http(json!({"httpFilters": [
        filter("known", typed("filters.http.cors.v3.Cors", json!({}))),
        filter("elsewhere", typed("transport_sockets.raw_buffer.v3.RawBuffer", json!({}))),
        filter("nowhere", typed("load_balancing_policies.pick_first.v3.PickFirst", json!({}))),
    ]})))
    .unwrap();
    let said = |listener: &Listener| report(&Any::pack(listener)).iter().map(ToString::to_string).collect::<Vec<_>>();
    let pick_first = "envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst";
    assert_eq!(
        said(&listener),
        [format!("filter_chains[0].filters[0].typed_config.http_filters[2].typed_config is not carried out: {pick_first} has no effect")]
    );
    let config_type = Some(weir_xds::listener::filter::ConfigType::TypedConfig(unknown));
    listener.filter_chains[0].filters = vec![weir_xds::listener::Filter { config_type, ..Default::default() }];
    assert_eq!(said(&listener), ["filter_chains[0].filters[0].typed_config is not carried out: unknown message type no.Such"]);
}

#[test]
fn examples_of_all_resources() {
    let least = json!({"policies": [{"typedExtensionConfig": {
        "name": "l", "typedConfig": typed("load_balancing_policies.least_request.v3.LeastRequest", json!({"enableFullScan": true})),
    }}]});
    let options = json!({"explicitHttpConfig": {"httpProtocolOptions": {"sendFullyQualifiedUrl": true}}});
    let cluster = json!({
        "circuitBreakers": {"perHostThresholds": [{"maxConnections": 1}]},
        "loadBalancingPolicy": least,
        "loadAssignment": {"endpoints": [{"proximity": 1, "lbEndpoints": [{"endpoint": {"hostname": "a"}}]}]},
        "typedExtensionProtocolOptions": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed("upstreams.http.v3.HttpProtocolOptions", options),
        },
        "upstreamBindConfig": {"freebind": true, "sourceAddress": {"address": "127.0.0.1", "resolverName": "a"}},
        "outlierDetection": {"enforcingSuccessRate": 0, "failurePercentageThreshold": 50},
    });
    assert_eq!(
        fields::<Cluster>(cluster),
        [
            "BindConfig.freebind",
            "CircuitBreakers.per_host_thresholds",
            "Http1ProtocolOptions.send_fully_qualified_url",
            "LeastRequest.enable_full_scan",
            "LocalityLbEndpoints.proximity",
            "OutlierDetection.failure_percentage_threshold",
            "SocketAddress.resolver_name",
        ]
    );
    let tcp =
        typed("filters.network.tcp_proxy.v3.TcpProxy", json!({"hashPolicy": [{"filterState": {"key": "k"}}], "checkDrainClose": true}));
    let listener = json!({"freebind": true, "filterChains": [{"filters": [{"name": "tcp", "typedConfig": tcp}]}]});
    assert_eq!(fields::<Listener>(listener), ["HashPolicy.filter_state", "Listener.freebind", "TcpProxy.check_drain_close"]);
    let endpoints = json!({"policy": {"endpointStaleAfter": "1s"}});
    assert_eq!(fields::<ClusterLoadAssignment>(endpoints), ["Policy.endpoint_stale_after"]);
    let secret = json!({"tlsCertificate": {"signedCertificateTimestamp": [{"inlineString": "a"}], "certificateChain": {"filename": "/a"}}});
    assert_eq!(fields::<Secret>(secret), ["TlsCertificate.signed_certificate_timestamp"]);
    let suites = json!(["AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256", "AES256-SHA"]);
    let context =
        json!({"allowRenegotiation": true, "commonTlsContext": {"keyLog": {"path": "/log"}, "tlsParams": {"cipherSuites": suites}}});
    assert_eq!(
        said::<UpstreamTlsContext>(context),
        [
            "CommonTlsContext.key_log is not carried out: no keys are written (at common_tls_context.key_log)",
            "TlsParameters.cipher_suites is not carried out: left out are AES128-SHA, AES256-SHA (at common_tls_context.tls_params.cipher_suites)",
            "UpstreamTlsContext.allow_renegotiation is not carried out: a server that wants to renegotiate is refused (at allow_renegotiation)",
        ]
    );
    let routes = json!({"virtualHosts": [{"name": "h", "domains": ["*"], "hedgePolicy": {}, "routes": [{
        "match": {"prefix": "/", "tlsContext": {"presented": true}}, "directResponse": {"status": 200, "bodyFormat": {"textFormat": "a"}},
    }]}]});
    assert_eq!(
        fields::<RouteConfiguration>(routes),
        ["DirectResponseAction.body_format", "RouteMatch.tls_context", "VirtualHost.hedge_policy"]
    );
}
