//! Requests that filters send themselves: to a service that decides, and to one that counts.

use serde_json::{Value, json};

use crate::http2::http2;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, fields, frame};
use crate::support::{Proxy, Upstream, cluster, routes, to};

const PASS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({"name": name, "typedConfig": config})
}

/// A connection manager with this filter before the router.
fn manager(name: &str, kind: &str, config: Value) -> Value {
    json!({"httpFilters": [filter(name, kind, config), filter("router", "router.v3.Router", json!({}))]})
}

fn authz(timeout: &str, mut more: Value) -> Value {
    more["httpService"] = json!({"serverUri": {"uri": "http://auth", "cluster": "auth", "timeout": timeout}});
    manager("authz", "ext_authz.v3.ExtAuthz", more)
}

/// A proxy, an instance, and a service that decides; one failure of an instance leaves it out.
async fn start(config: Value) -> (Proxy, Upstream, Upstream) {
    let (instance, service) = (Upstream::start().await, Upstream::start().await);
    let detection = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "600s"});
    let own = json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let clusters = [cluster("a", &[&instance], own), cluster("auth", &[&service], json!({}))];
    let proxy = Proxy::with_manager(config, routes(json!([to("a")])), &clusters).await;
    (proxy, instance, service)
}

#[tokio::test]
async fn a_service_is_asked_on_connections_that_are_kept() {
    let (proxy, instance, service) = start(authz("5s", json!({}))).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    assert_eq!(asked.head().await[0], "GET / HTTP/1.1");
    asked.say(PASS).await;
    let mut heard = instance.accept().await;
    for _ in 0..2 {
        heard.head().await;
        heard.say(PASS).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        client.say(GET).await;
        asked.head().await;
        asked.say(PASS).await;
    }
    heard.head().await;
    // What the service ends unseen is no failure: nothing had been sent.
    drop(asked);
    heard.say(PASS).await;
    client.answer().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    asked.head().await;
    asked.say("HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\nx-why: so\r\n\r\nwhy").await;
    let (status, headers) = client.answer().await;
    client.hears("why").await;
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    assert!(headers.contains(&"x-why: so".to_owned()), "{headers:?}");
    let statistics = proxy.ask_admin("/stats").await;
    for (name, count) in [("ok", 3), ("denied", 1)] {
        let line = format!("envoy_cluster_ext_authz_{name}{{cluster_name=\"a\",proxy=\"test\"}} {count}");
        assert!(statistics.contains(&line), "no {line} in {statistics}");
    }
    assert!(!statistics.contains("envoy_cluster_ext_authz_ok{cluster_name=\"auth\""), "{statistics}");
    drop(client);
    let passed = "200 - via_upstream";
    assert_eq!(proxy.stop().await, [passed, passed, passed, "403 UAEX ext_authz_denied"]);
}

#[tokio::test]
async fn a_service_that_fails_is_no_failure_of_the_instance() {
    let (proxy, instance, service) = start(authz("0.3s", json!({}))).await;
    let broken = [
        "",
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "what?\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ];
    for said in broken {
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let mut asked = service.accept().await;
        asked.head().await;
        asked.say(said).await;
        drop(asked);
        assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden", "{said:?}");
    }
    // Slow before its head, and after that.
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let mut asked = service.accept().await;
        asked.head().await;
        asked.say(said).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden", "{said:?}");
        assert_eq!(asked.end().await, "");
    }
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    asked.head().await;
    asked.say(PASS).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(PASS).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    let failed = "403 UAEX ext_authz_error";
    assert_eq!(proxy.stop().await, [vec![failed; 7], vec!["200 - via_upstream"]].concat());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let (proxy, instance, service) = start(authz("600s", json!({}))).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut asked = service.accept().await;
    asked.head().await;
    drop(client);
    assert_eq!(asked.end().await, "");
    assert!(instance.was_left_alone());
}

#[tokio::test]
async fn what_was_held_back_for_the_service_reaches_the_instance() {
    let body = json!({"withRequestBody": {"maxRequestBytes": 4, "allowPartialMessage": true}});
    let (proxy, instance, service) = start(authz("5s", body)).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalfh").await;
    let mut asked = service.accept().await;
    let head = asked.head().await;
    assert!(head.contains(&"content-length: 4".to_owned()) && head.contains(&"x-envoy-auth-partial-body: true".to_owned()), "{head:?}");
    asked.hears("half").await;
    asked.say(PASS).await;
    let mut heard = instance.accept().await;
    let head = heard.head().await;
    assert!(head.contains(&"content-length: 8".to_owned()), "{head:?}");
    heard.hears("halfh").await;
    client.say("alf").await;
    heard.hears("alf").await;
    heard.say(PASS).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

/// A proxy whose requests are counted by a service.
async fn counted(more: Value) -> (Proxy, Upstream, Upstream) {
    let (instance, service) = (Upstream::start().await, Upstream::start().await);
    let mut config = json!({"domain": "d", "timeout": "5s",
        "rateLimitService": {"grpcService": {"envoyGrpc": {"clusterName": "rls"}}, "transportApiVersion": "V3"}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut table = routes(json!([to("a")]));
    table["virtualHosts"][0]["rateLimits"] = json!([{"actions": [{"genericKey": {"descriptorValue": "v"}}]}]);
    let clusters = [cluster("a", &[&instance], json!({})), cluster("rls", &[&service], http2())];
    let proxy = Proxy::with_manager(manager("limits", "ratelimit.v3.RateLimit", config), table, &clusters).await;
    (proxy, instance, service)
}

/// The service's side of a connection that has been asked something; the stream of that.
async fn asked(service: &Upstream) -> (Frames, u32) {
    let mut connection = Frames::of(service.accept().await.into_stream());
    connection.skip_preface().await;
    connection.say(&frame(SETTINGS, 0, 0, b"")).await;
    let (_, stream, _) = connection.hear(HEADERS).await;
    connection.hear(DATA).await;
    (connection, stream)
}

/// A good head, one message, and a status.
fn answer(stream: u32, message: &[u8], status: &str) -> Vec<u8> {
    let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    [
        frame(HEADERS, END_HEADERS, stream, &fields(&[(":status", "200"), ("content-type", "application/grpc")])),
        frame(DATA, 0, stream, &framed),
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&[("grpc-status", status)])),
    ]
    .concat()
}

/// `RateLimitResponse { overall_code: OVER_LIMIT }`.
const OVER: &[u8] = &[8, 2];

#[tokio::test]
async fn a_service_of_grpc_counts() {
    let (proxy, instance, service) = counted(json!({"failureModeDeny": true})).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (mut connection, stream) = asked(&service).await;
    connection.say(&answer(stream, OVER, "0")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 429 Too Many Requests");
    // The connection is kept, and what fails on it fails alone.
    let reset = |stream: u32| frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes());
    let head = frame(HEADERS, END_HEADERS, 7, &fields(&[(":status", "200"), ("content-type", "application/grpc")]));
    for said in [reset(3), answer(5, OVER, "14"), [head, reset(7)].concat()] {
        client.say(GET).await;
        connection.hear(HEADERS).await;
        connection.say(&said).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 500 Internal Server Error");
    }
    client.say(GET).await;
    connection.hear(HEADERS).await;
    connection.say(&answer(9, &[8, 1], "0")).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(PASS).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    let statistics = proxy.ask_admin("/stats").await;
    for (name, count) in [("ok", 1), ("over_limit", 1), ("error", 3)] {
        let line = format!("envoy_cluster_ratelimit_{name}{{cluster_name=\"a\",proxy=\"test\"}} {count}");
        assert!(statistics.contains(&line), "no {line} in {statistics}");
    }
    drop(client);
    let failed = "500 RLSE rate_limiter_error";
    assert_eq!(proxy.stop().await, ["429 RL request_rate_limited", failed, failed, failed, "200 - via_upstream"]);
}

#[tokio::test]
async fn a_client_that_leaves_resets_the_stream_of_the_call() {
    let (proxy, instance, service) = counted(json!({"timeout": "600s"})).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (mut connection, stream) = asked(&service).await;
    drop(client);
    assert_eq!(connection.hear(RST_STREAM).await.1, stream);
    assert!(instance.was_left_alone());
}
