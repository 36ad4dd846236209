//! How long things may take, where something is configured. Istio leaves most of it off, so an Envoy under Istio shows none.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, Wire, cluster, routes};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const UPLOAD: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";

/// A route without a timeout, with more fields.
fn route(more: Value) -> Value {
    let mut route = json!({"cluster": "a", "timeout": "0s"});
    for (name, value) in more.as_object().unwrap() {
        route[name] = value.clone();
    }
    json!({"match": {"prefix": "/"}, "route": route})
}

async fn start(manager: Value, more: Value) -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with_manager(manager, routes(json!([route(more)])), &[cluster("a", &[&upstream], json!({}))]).await;
    (proxy, upstream)
}

/// Sends the request to an instance that says this, and compares the answer with the line of the log. The answer is not
/// complete if the instance has begun it.
async fn expect(manager: Value, more: Value, request: &str, says: &str, answer: (&str, &str), log: &str) {
    let (proxy, upstream) = start(manager, more).await;
    let mut client = proxy.connect().await;
    client.say(request).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(says).await;
    assert_eq!(client.answer().await.0, format!("HTTP/1.1 {}", answer.0));
    client.hears(answer.1).await;
    if !says.is_empty() {
        assert_eq!(client.end().await, "");
    }
    drop(client);
    assert_eq!(proxy.stop().await, [log]);
}

#[tokio::test]
async fn a_stream_on_which_nothing_happens_is_given_up() {
    let idle = || json!({"idleTimeout": "0.1s"});
    let (answer, log) = (("504 Gateway Timeout", "stream timeout"), "504 SI stream_idle_timeout");
    expect(json!({}), idle(), GET, "", answer, log).await;
    expect(json!({"streamIdleTimeout": "0.1s"}), json!({}), GET, "", answer, log).await;
    // The client is the one that is silent.
    expect(json!({}), idle(), UPLOAD, "", ("408 Request Timeout", "stream timeout"), "408 SI stream_idle_timeout").await;
    expect(json!({}), idle(), GET, HALF, ("200 OK", "half"), "200 SI stream_idle_timeout").await;
}

#[tokio::test]
async fn an_attempt_that_would_not_be_made_again_is_limited_too() {
    let retries = |limit: &str| json!({"retryPolicy": {"retriableRequestHeaders": [{"name": "x-again"}], limit: "0.1s"}});
    let answer = ("504 Gateway Timeout", "upstream request timeout");
    expect(json!({}), retries("perTryTimeout"), GET, "", answer, "504 UT upstream_per_try_timeout").await;
    let log = "504 UT upstream_per_try_idle_timeout";
    expect(json!({}), retries("perTryIdleTimeout"), GET, "", answer, log).await;
}

#[tokio::test]
async fn a_stream_that_lasts_too_long_is_given_up() {
    let manager = json!({"commonHttpProtocolOptions": {"maxStreamDuration": "0.1s"}});
    let route = || json!({"maxStreamDuration": {"maxStreamDuration": "0.1s"}});
    let (answer, log) = (("504 Gateway Timeout", "downstream duration timeout"), "504 - max_duration_timeout");
    expect(manager, json!({}), GET, "", answer, log).await;
    expect(json!({}), route(), GET, "", answer, log).await;
    expect(json!({}), route(), GET, HALF, ("200 OK", "half"), "200 - max_duration_timeout").await;
}

#[tokio::test]
async fn a_route_turns_off_what_the_listener_limits() {
    let manager = json!({"streamIdleTimeout": "0.1s", "commonHttpProtocolOptions": {"maxStreamDuration": "0.1s"}});
    let more = json!({"idleTimeout": "0s", "maxStreamDuration": {"maxStreamDuration": "0s"}});
    let (proxy, upstream) = start(manager, more).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    // Longer than the limits: meanwhile another connection does something.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        drop(proxy.connect().await);
    }
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

/// What the instance is told of a deadline: only routes that speak of their streams change it, and only that of gRPC calls.
#[tokio::test]
async fn the_deadline_of_a_grpc_call_becomes_the_limit_of_its_stream() {
    let listener = || json!({"commonHttpProtocolOptions": {"maxStreamDuration": "9s"}});
    let streams = |limits: Value| json!({"maxStreamDuration": limits});
    let grpc = "content-type: application/grpc\r\n";
    for (manager, more, sent, told) in [
        (listener(), json!({}), format!("{grpc}grpc-timeout: 3S\r\n"), Some("3S")),
        (json!({}), streams(json!({"maxStreamDuration": "10s"})), "grpc-timeout: 0m\r\n".into(), Some("0m")),
        (json!({}), streams(json!({"maxStreamDuration": "10s"})), grpc.into(), Some("10000m")),
        (json!({}), streams(json!({})), format!("{grpc}grpc-timeout: 3S\r\n"), Some("3S")),
        (listener(), streams(json!({})), format!("{grpc}grpc-timeout: 3S\r\n"), Some("9000m")),
        (listener(), streams(json!({"maxStreamDuration": "0s"})), format!("{grpc}grpc-timeout: 3S\r\n"), None),
        (json!({}), streams(json!({"grpcTimeoutHeaderMax": "5s"})), format!("{grpc}grpc-timeout: 20S\r\n"), Some("5000m")),
        (json!({}), streams(json!({"grpcTimeoutHeaderMax": "5s"})), "grpc-timeout: 20S\r\n".into(), Some("20S")),
    ] {
        let (proxy, upstream) = start(manager, more.clone()).await;
        let mut client = proxy.connect().await;
        client.say(&format!("GET / HTTP/1.1\r\nhost: a\r\n{sent}\r\n")).await;
        let head = upstream.accept().await.head().await;
        let found = head.iter().find_map(|line| line.strip_prefix("grpc-timeout: "));
        assert_eq!(found, told, "{more} {sent}");
    }
}

/// Where no retry is allowed, none was made.
#[tokio::test]
async fn the_only_attempt_is_not_called_a_retry() {
    let retry = json!({"retryPolicy": {"retryOn": "5xx", "numRetries": 0}});
    let (proxy, upstream) = start(json!({}), retry).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    drop(instance);
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    client.hears("upstream connect error or disconnect/reset before headers. reset reason: connection termination").await;
}

#[tokio::test]
async fn a_request_that_does_not_arrive_in_time_is_408() {
    let answer = ("408 Request Timeout", "request timeout");
    expect(json!({"requestTimeout": "0.1s"}), json!({}), UPLOAD, "", answer, "408 - request_overall_timeout").await;
}

#[tokio::test]
async fn an_attempt_that_brings_nothing_is_given_up() {
    let retry = || json!({"retryPolicy": {"retryOn": "connect-failure", "perTryTimeout": "9s", "perTryIdleTimeout": "0.1s"}});
    let answer = ("504 Gateway Timeout", "upstream request timeout");
    expect(json!({}), retry(), GET, "", answer, "504 UT upstream_per_try_idle_timeout").await;
    expect(json!({}), retry(), GET, HALF, ("200 OK", "half"), "200 UT upstream_per_try_idle_timeout").await;
}

/// The first answer to a request, and the second, which comes if the first makes the proxy try again.
async fn tries(retry: Value, request: &str, first: &str) -> (String, Duration) {
    let (proxy, upstream) = start(json!({}), json!({"retryPolicy": retry})).await;
    let mut client = proxy.connect().await;
    client.say(request).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    let begun = Instant::now();
    instance.say(first).await;
    let mut again = tokio::select! {
        again = upstream.accept() => again,
        (status, _) = client.answer() => return (status, Duration::ZERO),
    };
    let waited = begun.elapsed();
    again.head().await;
    again.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    (client.answer().await.0, waited)
}

#[tokio::test]
async fn answers_are_asked_for_again_by_their_headers() {
    let retry = || json!({"retryOn": "retriable-headers", "retriableHeaders": [{"name": "x-again", "stringMatch": {"exact": "yes"}}]});
    let answer = |value: &str| format!("HTTP/1.1 202 Accepted\r\nx-again: {value}\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(tries(retry(), GET, &answer("yes")).await.0, "HTTP/1.1 200 OK");
    assert_eq!(tries(retry(), GET, &answer("no")).await.0, "HTTP/1.1 202 Accepted");
}

#[tokio::test]
async fn only_requests_with_a_header_are_tried_again_where_a_policy_says_so() {
    let retry = || json!({"retryOn": "5xx", "retriableRequestHeaders": [{"name": "x-safe", "presentMatch": true}]});
    let fails = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(tries(retry(), GET, fails).await.0, "HTTP/1.1 500 Internal Server Error");
    assert_eq!(tries(retry(), "GET / HTTP/1.1\r\nhost: a\r\nx-safe: 1\r\n\r\n", fails).await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_answer_of_a_limited_instance_is_asked_for_again_only_by_its_own_word() {
    let limited = "HTTP/1.1 429 No\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\n\r\n";
    let retry = |on: &str| json!({"retryOn": on, "retriableStatusCodes": [429]});
    assert_eq!(tries(retry("retriable-status-codes"), GET, limited).await.0, "HTTP/1.1 429 Too Many Requests");
    assert_eq!(tries(retry("envoy-ratelimited"), GET, limited).await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_answer_says_when_to_ask_again() {
    let retry = json!({"retryOn": "5xx", "rateLimitedRetryBackOff": {"resetHeaders": [{"name": "retry-after"}]}});
    let later = "HTTP/1.1 503 Later\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let (status, waited) = tries(retry, GET, later).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

/// A proxy that answers itself, with more fields of its connection manager.
async fn answering(manager: Value) -> Proxy {
    Proxy::with_manager(manager, routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}])), &[]).await
}

/// How long it takes until a connection is closed.
async fn until_end(client: &mut Wire) -> Duration {
    let since = Instant::now();
    assert_eq!(client.end().await, "");
    since.elapsed()
}

#[tokio::test]
async fn a_silent_or_old_connection_ends_after_its_drain_and_the_time_to_close() {
    let ms = Duration::from_millis;
    for (limit, delayed, expected) in [
        (json!({"idleTimeout": "0.1s"}), "0s", ms(200)..ms(800)),
        (json!({"maxConnectionDuration": "0.1s"}), "0s", ms(200)..ms(800)),
        (json!({"idleTimeout": "0.1s"}), "0.9s", ms(1000)..ms(2000)),
    ] {
        let manager = json!({"commonHttpProtocolOptions": limit, "drainTimeout": "0.1s", "delayedCloseTimeout": delayed});
        let proxy = answering(manager).await;
        let mut client = proxy.connect().await;
        client.say(GET).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 204 No Content");
        let took = until_end(&mut client).await;
        assert!(took > expected.start - ms(50) && took < expected.end, "{limit} {delayed}: {took:?}");
    }
    // Who has said nothing is not waited for.
    let proxy = answering(json!({"commonHttpProtocolOptions": {"idleTimeout": "0.1s"}, "drainTimeout": "9s"})).await;
    let took = until_end(&mut proxy.connect().await).await;
    assert!(took < ms(800), "{took:?}");
}

#[tokio::test]
async fn a_request_within_the_drain_is_the_last() {
    let proxy = answering(json!({"commonHttpProtocolOptions": {"maxConnectionDuration": "0.1s"}, "drainTimeout": "9s"})).await;
    let mut client = proxy.connect().await;
    let is_last = |headers: &[String]| headers.contains(&"connection: close".to_owned());
    let begun = Instant::now();
    loop {
        client.say(GET).await;
        if is_last(&client.answer().await.1) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_connection_is_not_silent_while_its_request_is_handled() {
    let manager = json!({"commonHttpProtocolOptions": {"idleTimeout": "0.1s"}, "drainTimeout": "9s"});
    let (proxy, upstream) = start(manager, json!({})).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(!headers.contains(&"connection: close".to_owned()), "{headers:?}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_answered_in_time() {
    let proxy = answering(json!({"requestHeadersTimeout": "0.2s"})).await;
    let mut client = proxy.connect().await;
    let since = Instant::now();
    client.say("GET / HTTP/1.1\r\nhost: a").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 408 Request Timeout");
    let took = since.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    client.hears("request header timeout").await;
}

/// As Envoy does it, so that the client may end it first.
#[tokio::test]
async fn an_answer_that_breaks_off_ends_its_connection_when_the_time_to_close_is_over() {
    let (proxy, upstream) = start(json!({"delayedCloseTimeout": "0.5s"}), json!({})).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(HALF).await;
    drop(instance);
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    client.hears("half").await;
    let took = until_end(&mut client).await;
    assert!(took >= Duration::from_millis(400), "{took:?}");
}
