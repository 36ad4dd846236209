//! What a client is told when an instance fails, and what the access log says of it.

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster, routes, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// The answer to a request that reaches nobody, with the line of the access log.
async fn outcome(route: serde_json::Value, clusters: &[serde_json::Value]) -> (String, Vec<String>) {
    let proxy = Proxy::start(routes(json!([route])), clusters).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (status, _) = client.answer().await;
    drop(client);
    (status, proxy.stop().await)
}

#[tokio::test]
async fn no_instance_is_503_and_the_log_says_so() {
    let (status, log) = outcome(to("a"), &[cluster("a", &[], json!({}))]).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(log, ["503 UH no_healthy_upstream"]);
}

#[tokio::test]
async fn an_instance_that_is_stopped_is_503_and_the_log_says_so() {
    let gone = Upstream::start().await;
    let clusters = [cluster("a", &[&gone], json!({}))];
    drop(gone);
    let (status, log) = outcome(to("a"), &clusters).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(log, ["503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"]);
}

#[tokio::test]
async fn no_route_is_404_and_the_log_says_so() {
    let route = json!({"match": {"path": "/other"}, "route": {"cluster": "a"}});
    let (status, log) = outcome(route, &[cluster("a", &[], json!({}))]).await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert_eq!(log, ["404 NR route_not_found"]);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_503_and_the_log_says_so() {
    let (status, log) = outcome(to("missing"), &[]).await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(log, ["503 NC cluster_not_found"]);
}

#[tokio::test]
async fn an_instance_that_hangs_up_without_a_word_is_503() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    drop(instance);
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UC upstream_reset_before_response_started{connection_termination}"]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    client.head().await;
    client.hears("4\r\nhalf\r\n").await;
    instance.reset();
    assert_eq!(client.end().await, "", "the end of the chunks would say that this is all");
    let log = proxy.stop().await;
    assert!(log[0].starts_with("200 U"), "{log:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used_again() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    for _ in 0..3 {
        client.say(GET).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        // It says that it keeps the connection, and closes it.
        drop(instance);
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"; 3]);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    drop(client);
    assert_eq!(instance.end().await, "");
    assert_eq!(proxy.stop().await, ["0 DC downstream_remote_disconnect"]);
}

#[tokio::test]
async fn a_route_that_retries_asks_the_next_instance() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "retryPolicy": {"retryOn": "reset", "numRetries": 1,
        "retryHostPredicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
        "hostSelectionRetryMaxAttempts": "5"}}});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&one, &two], json!({"lbPolicy": "ROUND_ROBIN"}))]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    // Whichever it asks first hangs up.
    let (mut first, next) = tokio::select! {
        first = one.accept() => (first, &two),
        first = two.accept() => (first, &one),
    };
    first.head().await;
    drop(first);
    let mut instance = next.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}
