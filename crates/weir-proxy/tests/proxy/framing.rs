//! Where messages end: nobody's bytes are taken for another message.

use bytes::Bytes;
use h2::client;
use http::Request;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

const GET: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn start() -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    (proxy, upstream)
}

/// The next client's request arrives as it is, over the connection that was used or over a new one.
///
/// Behind so many bytes that the instance has been promised, if it was used.
async fn the_next_request_arrives(proxy: &Proxy, upstream: &Upstream, mut used: Wire, promised: usize) {
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let new = async {
        let mut new = upstream.accept().await;
        let head = new.head().await;
        (new, head)
    };
    let old = async {
        // It may end instead.
        used.skip(promised).await?;
        let line = used.line().await?;
        Some((used, line))
    };
    let mut instance = tokio::select! {
        (new, head) = new => {
            assert_eq!(head[0], "GET /next HTTP/1.1");
            new
        }
        Some((mut used, line)) = old => {
            assert_eq!(line, "GET /next HTTP/1.1");
            used.head().await;
            used
        }
    };
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\ncontent-length: 60\r\n\r\n";

#[tokio::test]
async fn the_body_of_a_refused_upgrade_is_not_taken_from_the_next_request() {
    for whole in [true, false] {
        let (proxy, upstream) = start().await;
        let mut client = proxy.connect().await;
        client.say(UPGRADE).await;
        let body = "b".repeat(if whole { 60 } else { 20 });
        client.say(&body).await;
        let mut instance = upstream.accept().await;
        let head = instance.head().await;
        let promised = if head.contains(&"content-length: 60".to_owned()) { 60 } else { 0 };
        instance.say("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 404 Not Found");
        client.hears("no").await;
        the_next_request_arrives(&proxy, &upstream, instance, promised).await;
    }
}

#[tokio::test]
async fn a_body_that_is_unusual_for_its_method_reaches_an_instance_of_http1_whole() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let (proxy, upstream) = start().await;
        let mut client = proxy.connect().await;
        client.say(&format!("{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")).await;
        let mut instance = upstream.accept().await;
        let head = instance.head().await;
        assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
        instance.hears("2\r\nok\r\n0\r\n\r\n").await;
        instance.say(OK).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        the_next_request_arrives(&proxy, &upstream, instance, 0).await;
    }
}

#[tokio::test]
async fn data_of_http2_without_a_length_reaches_an_instance_of_http1_whole() {
    for method in ["GET", "HEAD", "POST"] {
        for length in [None, Some("2")] {
            let (proxy, upstream) = start().await;
            let stream = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut sender, connection) = client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut request = Request::builder().method(method).uri("http://a/").body(()).unwrap();
            request.headers_mut().extend(length.map(|length| (http::header::CONTENT_LENGTH, length.parse().unwrap())));
            let (answer, mut body) = sender.send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"ok"), true).unwrap();
            let mut instance = upstream.accept().await;
            let head = instance.head().await;
            match length {
                Some(_) => {
                    assert!(head.contains(&"content-length: 2".to_owned()), "{head:?}");
                    instance.hears("ok").await;
                }
                None => {
                    assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
                    instance.hears("2\r\nok\r\n0\r\n\r\n").await;
                }
            }
            instance.say(OK).await;
            assert_eq!(answer.await.unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn an_answer_whose_end_is_in_doubt_is_502_and_its_connection_is_not_used_again() {
    let framings = [
        "content-length: 5, 5",
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: gzip",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity",
    ];
    for framing in framings {
        let (proxy, upstream) = start().await;
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.say(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway", "{framing}");
        assert_eq!(instance.end().await, "", "{framing}");
        drop(client);
        assert_eq!(proxy.stop().await, ["502 UPE upstream_reset_before_response_started{protocol_error}"], "{framing}");
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_has_the_same_length() {
    let upstream = Upstream::start().await;
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "retryPolicy": {"retryOn": "reset", "numRetries": 2}}});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let cases = [("content-length: 4", "body", "body"), ("transfer-encoding: chunked", "4\r\nbody\r\n0\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n")];
    for (framing, body, heard) in cases {
        let mut client = proxy.connect().await;
        client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}")).await;
        for _ in 0..2 {
            let mut instance = upstream.accept().await;
            let head = instance.head().await;
            assert!(head.contains(&framing.to_owned()), "{head:?}");
            instance.hears(heard).await;
        }
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.hears(heard).await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

/// HTTP/2 itself says where a message ends; whoever reads it behind us might believe one length or the other.
#[tokio::test]
async fn a_length_that_is_said_twice_over_http2_goes_nowhere() {
    let (proxy, upstream) = start().await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut sender, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/").header("content-length", "2").header("content-length", "2").body(()).unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
    let refused = tokio::select! {
        answer = answer => answer.is_ok_and(|answer| answer.status() == 400),
        _ = upstream.accept() => panic!("it is sent on"),
    };
    assert!(refused);
}

#[tokio::test]
async fn what_an_instance_says_unasked_is_no_answer_to_the_next_request() {
    let (proxy, upstream) = start().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(&format!("{OK}HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    client.say(GET).await;
    let mut other = tokio::select! {
        other = upstream.accept() => other,
        (status, _) = client.answer() => panic!("an answer to nobody's request: {status}"),
    };
    assert_eq!(other.head().await[0], "GET /next HTTP/1.1");
}
