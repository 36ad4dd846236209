//! Interim answers, and who tells a client that it may send its body.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

async fn proxy(passes: bool, upstream: &Upstream) -> Proxy {
    let manager: Value = json!({"proxy100Continue": passes});
    Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[upstream], json!({}))]).await
}

const EXPECTS: &str = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn early_hints_reach_the_client() {
    let upstream = Upstream::start().await;
    let proxy = proxy(true, &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
    assert_eq!(client.head().await, ["HTTP/1.1 103 Early Hints", "link: </a>"]);
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn the_instance_decides_whether_the_body_may_come() {
    let upstream = Upstream::start().await;
    let proxy = proxy(true, &upstream).await;
    let mut client = proxy.connect().await;
    client.say(EXPECTS).await;
    let mut instance = upstream.accept().await;
    assert!(instance.head().await.contains(&"expect: 100-continue".to_owned()));
    instance.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, ["HTTP/1.1 100 Continue"]);
    client.say("hello").await;
    instance.hears("hello").await;
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");

    client.say(EXPECTS).await;
    instance.head().await;
    instance.say("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden");
    client.end().await;
}

#[tokio::test]
async fn where_it_is_not_asked_the_proxy_tells_the_client_to_go_on() {
    let upstream = Upstream::start().await;
    let proxy = proxy(false, &upstream).await;
    let mut client = proxy.connect().await;
    client.say(EXPECTS).await;
    assert_eq!(client.head().await, ["HTTP/1.1 100 Continue"]);
    client.say("hello").await;
    let mut instance = upstream.accept().await;
    assert!(!instance.head().await.iter().any(|line| line.starts_with("expect")));
    instance.hears("hello").await;
    instance.say(&format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_interim_answer_that_announces_a_body_is_no_answer() {
    let upstream = Upstream::start().await;
    let proxy = proxy(true, &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(&format!("HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\n{OK}")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway");
}
