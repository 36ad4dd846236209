//! A change of the configuration never touches a request that is under way.

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

#[tokio::test]
async fn a_request_ends_as_it_began() {
    let upstream = Upstream::start().await;
    let slow = json!({"match": {"prefix": "/slow"}, "route": {"cluster": "a"},
        "responseHeadersToAdd": [{"header": {"key": "x-version", "value": "old"}}]});
    let proxy = Proxy::start(routes(json!([slow])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;

    // Its route goes, and its cluster with it.
    proxy.change(routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 418}}])), &[]);
    let mut other = proxy.connect().await;
    in_time("the new route is in force", async {
        loop {
            other.say("GET /new HTTP/1.1\r\nhost: a\r\n\r\n").await;
            if other.answer().await.0.contains("418") {
                return;
            }
        }
    })
    .await;

    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains(&"x-version: old".to_owned()), "{headers:?}");
    client.hears("ok").await;
    // The same connection goes on under the new routes.
    client.say("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.answer().await.0.contains("418"));
}

#[tokio::test]
async fn connections_to_an_instance_outlive_a_change_of_routes() {
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::start(routes(json!([to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    instance.say(ok).await;
    client.head().await;

    let marked = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"},
        "requestHeadersToAdd": [{"header": {"key": "x-marked", "value": "yes"}}]});
    proxy.change(routes(json!([marked])), &clusters);
    in_time("the new route is in force, over the same connection", async {
        loop {
            client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let head = instance.head().await;
            instance.say(ok).await;
            client.head().await;
            if head.contains(&"x-marked: yes".to_owned()) {
                return;
            }
        }
    })
    .await;
}
