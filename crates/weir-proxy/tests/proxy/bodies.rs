//! Bodies pass as they come, piece by piece, and end as they ended.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

/// A client that has asked, the instance that was asked, and the proxy between them.
async fn asked(request: &str) -> (Wire, Wire, Proxy) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(request).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    (client, instance, proxy)
}

#[tokio::test]
async fn a_piece_of_an_answer_does_not_wait_for_the_next() {
    let (mut client, mut instance, proxy) = asked("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.head().await;
    for piece in ["5\r\nhello\r\n", "6\r\n world\r\n", "0\r\n\r\n"] {
        instance.say(piece).await;
        client.hears(piece).await;
    }
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

#[tokio::test]
async fn a_piece_of_a_request_does_not_wait_for_the_next() {
    let (mut client, mut instance, _proxy) = asked("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in ["5\r\nhello\r\n", "6\r\n world\r\n", "0\r\n\r\n"] {
        client.say(piece).await;
        instance.hears(piece).await;
    }
    instance.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 204 No Content");
    assert!(!headers.iter().any(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding")), "{headers:?}");
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let (mut client, mut instance, _proxy) = asked("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    instance.hears("half").await;
    instance.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno!").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 413 Payload Too Large");
    client.hears("no!").await;
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (mut client, mut instance, proxy) = asked("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    instance.say("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    drop(instance);
    let (_, headers) = client.answer().await;
    assert!(headers.contains(&"transfer-encoding: chunked".to_owned()), "{headers:?}");
    assert_eq!(client.end().await, "9\r\nall of it\r\n0\r\n\r\n");
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

#[tokio::test]
async fn the_answer_to_head_has_a_length_and_no_body() {
    let (mut client, mut instance, _proxy) = asked("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    assert!(headers.contains(&"content-length: 1000".to_owned()), "{headers:?}");
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_client_that_expects_to_be_asked_to_go_on_is() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await, ["HTTP/1.1 100 Continue"]);
    client.say("body").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.hears("body").await;
}

#[tokio::test]
async fn a_body_that_has_come_when_something_was_waited_for_does_not_cost_the_connection() {
    let always = json!({"numerator": 100, "denominator": "HUNDRED"});
    let fault = |fields: Value| {
        let mut fields = fields;
        fields["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault");
        json!({"match": {"prefix": "/aborted"}, "directResponse": {"status": 200}, "typedPerFilterConfig": {"envoy.filters.http.fault": fields}})
    };
    let delayed =
        fault(json!({"delay": {"fixedDelay": "0.03s", "percentage": always}, "abort": {"httpStatus": 418, "percentage": always}}));
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    drop(upstream);
    let proxy = Proxy::start(routes(json!([delayed, to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    for (path, status) in [("/", "HTTP/1.1 503 Service Unavailable"), ("/aborted", "HTTP/1.1 418 Unknown")] {
        for body in ["hello", "again"] {
            client.say(&format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{body}")).await;
            let (found, headers) = client.answer().await;
            assert_eq!(found, status);
            assert!(!headers.contains(&"connection: close".to_owned()), "{headers:?}");
            let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            client.skip(length).await.unwrap();
        }
    }
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal").await;
    assert!(client.answer().await.1.contains(&"connection: close".to_owned()), "the rest may come or not");
}
