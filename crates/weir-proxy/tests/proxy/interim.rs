//! Interim answers, and who tells a client that it may send its body.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{client, server};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http2::http2;
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

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
async fn a_client_that_goes_away_after_an_interim_answer_is_logged_with_it() {
    for (passes, interim) in [(false, "100"), (true, "103")] {
        let upstream = Upstream::start().await;
        let proxy = proxy(passes, &upstream).await;
        let mut client = proxy.connect().await;
        client.say(EXPECTS).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        if passes {
            instance.say("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        }
        assert!(client.head().await[0].contains(interim));
        drop(client);
        instance.end().await;
        assert_eq!(proxy.stop().await, [format!("{interim} DC downstream_remote_disconnect")]);
    }
}

#[tokio::test]
async fn who_expects_two_things_is_told_by_the_instance_alone() {
    let upstream = Upstream::start().await;
    let proxy = proxy(false, &upstream).await;
    let mut client = proxy.connect().await;
    client.say("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\nexpect: other\r\n\r\nhello").await;
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    assert!(head.contains(&"expect: 100-continue,other".to_owned()), "{head:?}");
    instance.hears("hello").await;
    instance.say(OK).await;
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

/// A client of HTTP/2 that sends a request and waits for all that comes: the statuses.
async fn statuses(proxy: &Proxy, expects: bool) -> Vec<u16> {
    let (mut client, connection) = client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::put("http://a/").header("content-length", "5");
    if expects {
        request = request.header("expect", "100-continue");
    }
    let (mut answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let mut heard = vec![];
    if !expects {
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    }
    while let Some(interim) = in_time("something is answered", poll_fn(|cx| answer.poll_informational(cx))).await {
        heard.push(interim.unwrap().status().as_u16());
        if heard == [100] {
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        }
    }
    heard.push(in_time("an answer comes", answer).await.unwrap().status().as_u16());
    heard
}

#[tokio::test]
async fn interim_answers_reach_a_client_of_http2() {
    let upstream = Upstream::start().await;
    let proxy = proxy(true, &upstream).await;
    let instance = async {
        let mut instance = upstream.accept().await;
        assert!(instance.head().await.contains(&"expect: 100-continue".to_owned()));
        instance.say("HTTP/1.1 100 Continue\r\n\r\n").await;
        instance.hears("hello").await;
        instance.say(OK).await;
        instance.head().await;
        instance.hears("hello").await;
        instance.say(&format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x\r\n\r\n{OK}")).await;
    };
    let client = async {
        assert_eq!(statuses(&proxy, true).await, [100, 200]);
        assert_eq!(statuses(&proxy, false).await, [103, 200]);
    };
    tokio::join!(instance, client);
}

#[tokio::test]
async fn where_it_is_not_asked_the_proxy_tells_a_client_of_http2_to_go_on() {
    let upstream = Upstream::start().await;
    let proxy = proxy(false, &upstream).await;
    let instance = async {
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.hears("hello").await;
        instance.say(&format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}")).await;
    };
    let ((), heard) = tokio::join!(instance, statuses(&proxy, true));
    assert_eq!(heard, [100, 200]);
}

/// One of 101 is none: HTTP/2 has other ways to change the protocol.
#[tokio::test]
async fn interim_answers_of_an_instance_of_http2_reach_the_client() {
    for (interim, heard) in [(103, "HTTP/1.1 103 Early Hints"), (101, "HTTP/1.1 502 Bad Gateway")] {
        let upstream = Upstream::start().await;
        let manager: Value = json!({"proxy100Continue": true});
        let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut connection: server::Connection<_, Bytes> =
            in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap();
        let (_request, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
        respond.send_informational(Response::builder().status(interim).header("link", "</a>").body(()).unwrap()).unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        assert_eq!(client.head().await[0], heard);
        if interim == 103 {
            respond.send_response(Response::new(()), true).unwrap();
            assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        }
    }
}
