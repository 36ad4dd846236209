//! WebSocket: after both sides have agreed, only bytes pass.

use serde_json::json;

use tokio::net::TcpStream;

use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_until_one_side_ends() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;

    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    for line in ["GET /chat HTTP/1.1", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: eA=="] {
        assert!(head.contains(&line.to_owned()), "{line} not in {head:?}");
    }
    // Its first words come with the answer.
    instance
        .say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: eQ==\r\n\r\nfirst")
        .await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
    for line in ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: eQ=="] {
        assert!(headers.contains(&line.to_owned()), "{line} not in {headers:?}");
    }
    client.hears("first").await;
    client.say("\u{1}question").await;
    instance.hears("\u{1}question").await;
    instance.say("answer").await;
    client.hears("answer").await;
    drop(instance);
    assert_eq!(client.end().await, "");
    drop(client);
    assert_eq!(proxy.stop().await, ["101 - via_upstream"]);
}

#[tokio::test]
async fn an_instance_that_does_not_agree_answers_as_always() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request");
    client.hears("no").await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(&UPGRADE.replace("websocket\r", "other\r")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden");
}

#[tokio::test]
async fn a_proxy_that_ends_waits_for_a_conversation_after_an_upgrade() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    let address = proxy.address();
    let ended = tokio::spawn(proxy.stop());
    in_time("it takes no more connections", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    client.say("still there?").await;
    instance.hears("still there?").await;
    drop((client, instance));
    assert_eq!(ended.await.unwrap(), ["101 - via_upstream"]);
}

#[tokio::test]
async fn the_body_of_a_request_for_an_upgrade_never_precedes_the_agreement() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(headers.contains(&"connection: close".to_owned()), "{headers:?}");
    // Nobody takes the next request on a connection that still waits for a body for the body.
    assert_eq!(instance.end().await, "");
    assert_eq!(client.end().await, "no");
}
