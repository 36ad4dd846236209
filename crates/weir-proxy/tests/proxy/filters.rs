//! What routes ask of filters: faults and cross-origin requests.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes};

/// A route for every path, to `a`, with the configuration of a filter.
fn filtered(name: &str, config: Value) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}, "typedPerFilterConfig": {name: config}})
}

fn fault(mut config: Value) -> Value {
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault");
    filtered("envoy.filters.http.fault", config)
}

fn cors(mut config: Value) -> Value {
    config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy");
    config["allowOriginStringMatch"] = json!([{"exact": "https://a.test"}]);
    config["filterEnabled"] = json!({"defaultValue": {"numerator": 100}});
    filtered("envoy.filters.http.cors", config)
}

const ALWAYS: fn() -> Value = || json!({"numerator": 100});

/// What a client hears that no instance hears of, and the line of the access log.
async fn answered(route: Value, request: &str) -> (String, Vec<String>, String, Vec<String>) {
    // Had it been sent on, it would be refused.
    let gone = Upstream::start().await;
    let clusters = [cluster("a", &[&gone], json!({}))];
    drop(gone);
    let proxy = Proxy::start(routes(json!([route])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say(request).await;
    let (status, headers) = client.answer().await;
    let body = client.end().await;
    (status, headers, body, proxy.stop().await)
}

#[tokio::test]
async fn a_request_is_aborted() {
    let route = fault(json!({"abort": {"httpStatus": 418, "percentage": ALWAYS()}}));
    let (status, _, body, log) = answered(route, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(status.starts_with("HTTP/1.1 418"), "{status}");
    assert_eq!((body.as_str(), log), ("fault filter abort", vec!["418 FI fault_filter_abort".to_owned()]));
}

#[tokio::test]
async fn a_request_is_aborted_if_it_meets_the_conditions() {
    let abort = json!({"headerAbort": {}, "percentage": ALWAYS()});
    let route = || fault(json!({"abort": abort, "headers": [{"name": "x-a"}], "upstreamCluster": "a"}));
    let asked = "x-envoy-fault-abort-request: 418\r\nconnection: close";
    for (header, expected) in [("x-a: 1", "418 FI "), ("x-b: 1", "503 ")] {
        let (_, _, _, log) = answered(route(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{header}\r\n{asked}\r\n\r\n")).await;
        assert!(log.concat().starts_with(expected), "{log:?}");
    }
}

#[tokio::test]
async fn a_grpc_call_is_aborted_by_a_grpc_status() {
    let request = "POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let route = fault(json!({"abort": {"grpcStatus": 7, "percentage": ALWAYS()}}));
    let (status, headers, _, _) = answered(route, request).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains(&"grpc-status: 7".to_owned()), "{headers:?}");
}

#[tokio::test]
async fn a_delay_and_an_abort_both_are_told() {
    let route =
        fault(json!({"delay": {"fixedDelay": "0.001s", "percentage": ALWAYS()}, "abort": {"httpStatus": 503, "percentage": ALWAYS()}}));
    let (_, _, _, log) = answered(route, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(log, ["503 DI,FI fault_filter_abort"]);
}

#[tokio::test]
async fn a_request_with_a_delay_and_an_abort_has_one_fault_of_those_that_may_be() {
    let both = json!({"delay": {"fixedDelay": "0.001s", "percentage": ALWAYS()}, "abort": {"httpStatus": 503, "percentage": ALWAYS()},
        "maxActiveFaults": 1});
    let (_, _, _, log) = answered(fault(both), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(log, ["503 DI,FI fault_filter_abort"]);
}

#[tokio::test]
async fn a_route_s_timeout_begins_after_the_delay() {
    let upstream = Upstream::start().await;
    let mut route = fault(json!({"delay": {"fixedDelay": "0.3s", "percentage": ALWAYS()}}));
    route["route"]["timeout"] = json!("0.25s");
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    assert_eq!(proxy.stop().await, ["200 DI via_upstream"]);
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let route = cors(json!({"allowMethods": "GET,PUT", "maxAge": "60", "exposeHeaders": "x-a"}));
    let request =
        "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\naccess-control-request-method: PUT\r\nconnection: close\r\n\r\n";
    let (status, headers, body, log) = answered(route, request).await;
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    for line in [
        "access-control-allow-methods: GET,PUT",
        "access-control-allow-origin: https://a.test",
        "access-control-expose-headers: x-a",
        "access-control-max-age: 60",
    ] {
        assert!(headers.contains(&line.to_owned()), "{line} not in {headers:?}");
    }
    assert_eq!(log, ["200 - cors_response"]);
}

#[tokio::test]
async fn an_origin_may_read_what_the_instance_answers_and_what_the_proxy_does() {
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::start(routes(json!([cors(json!({"exposeHeaders": "x-a", "allowCredentials": true}))])), &clusters).await;
    let mut client = proxy.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\norigin: https://a.test\r\n\r\n";
    client.say(request).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: nobody\r\n\r\n").await;
    let allowed =
        ["access-control-allow-credentials: true", "access-control-allow-origin: https://a.test", "access-control-expose-headers: x-a"];
    let said = |headers: Vec<String>| headers.into_iter().filter(|line| line.starts_with("access-control")).collect::<Vec<_>>();
    assert_eq!(said(client.answer().await.1), allowed);
    drop((instance, upstream));
    client.say(request).await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(said(headers), allowed);
}

#[tokio::test]
async fn a_body_that_is_held_back_and_never_whole_reaches_nobody() {
    let upstream = Upstream::start().await;
    let named = |name: &str, config: Value| json!({"name": name, "typedConfig": config});
    let of = |kind: &str| json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    let buffer = named("buffer", json!({"@type": of("buffer.v3.Buffer"), "maxRequestBytes": 10}));
    let manager = json!({"httpFilters": [buffer, named("router", json!({"@type": of("router.v3.Router")}))]});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}});
    let proxy = Proxy::with_manager(manager, routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    let mut malformed = proxy.connect().await;
    malformed.say(&format!("{head}zz\r\n")).await;
    assert_eq!(malformed.answer().await.0, "HTTP/1.1 400 Bad Request");
    let mut large = proxy.connect().await;
    large.say(&format!("{head}9\r\nnine more\r\n0\r\n\r\n")).await;
    assert_eq!(large.answer().await.0, "HTTP/1.1 413 Payload Too Large");
    let mut aborted = proxy.connect().await;
    aborted.say(head).await;
    drop((malformed, large, aborted));
    // The first that the instance hears of is whole.
    let mut whole = proxy.connect().await;
    whole.say(&format!("{head}0\r\n\r\n")).await;
    let mut instance = upstream.accept().await;
    assert!(instance.head().await.contains(&"content-length: 2".to_owned()));
    instance.hears("ok").await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(whole.answer().await.0, "HTTP/1.1 200 OK");
    drop(whole);
    let mut log = proxy.stop().await;
    log.sort();
    let expected =
        ["0 DC downstream_remote_disconnect", "200 - via_upstream", "400 DPE http1.codec_error", "413 - request_payload_too_large"];
    assert_eq!(log, expected);
}

#[tokio::test]
async fn a_fault_of_a_listener_is_for_all_its_requests() {
    let config = |name: &str, kind: &str, more: Value| {
        let mut config = json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{kind}")});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": name, "typedConfig": config})
    };
    let abort = json!({"abort": {"httpStatus": 418, "percentage": ALWAYS()}});
    let manager = json!({"httpFilters": [config("f", "fault.v3.HTTPFault", abort), config("r", "router.v3.Router", json!({}))]});
    let routes = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    let proxy = Proxy::with_manager(manager, routes, &[]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    client.end().await;
    assert_eq!(proxy.stop().await, ["418 FI fault_filter_abort"]);
}

/// A connection manager with one HTTP filter before the router, and more fields.
fn with_filter(kind: &str, config: Value, more: Value) -> Value {
    let packed = |kind: &str, config: Value| {
        let mut typed = json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{kind}")});
        typed.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        json!({"name": kind, "typedConfig": typed})
    };
    let mut manager = json!({"httpFilters": [packed(kind, config), packed("router.v3.Router", json!({}))]});
    manager.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    manager
}

/// As with Envoy: what follows the request has no end.
#[tokio::test]
async fn another_protocol_does_not_pass_a_filter_that_waits_for_bodies() {
    let more = json!({"streamIdleTimeout": "0.2s"});
    let manager = with_filter("buffer.v3.Buffer", json!({"maxRequestBytes": 10}), more);
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}});
    let proxy = Proxy::with_manager(manager, routes(json!([route])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 408 Request Timeout");
    client.hears("stream timeout").await;
    drop(client);
    assert_eq!(proxy.stop().await, ["408 SI stream_idle_timeout"]);
}

#[tokio::test]
async fn what_is_made_of_an_answers_headers_sees_them_as_they_are() {
    let append = |name: &str, value: &str| json!({"append": {"header": {"key": name, "value": value}}});
    let mutations =
        json!({"responseMutations": [append("x-first", "%RESP(x-own)%"), append("x-second", "%RESP(x-first)%-%RESPONSE_CODE%")]});
    let manager = with_filter("header_mutation.v3.HeaderMutation", json!({"mutations": mutations}), json!({}));
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}});
    let proxy = Proxy::with_manager(manager, routes(json!([route])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\nx-own: 1\r\ncontent-length: 0\r\n\r\n").await;
    let headers = client.answer().await.1;
    assert!(["x-first: 1", "x-second: 1-200"].iter().all(|line| headers.contains(&(*line).to_owned())), "{headers:?}");
}
