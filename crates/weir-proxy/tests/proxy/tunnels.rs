//! Bytes that go through an instance to a host beyond it.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster};

const CONNECT: &str = "CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\n";

async fn proxy(tunnel: Value, upstream: &Upstream) -> Proxy {
    let mut config = json!({"hostname": "far.test:443"});
    config.as_object_mut().unwrap().extend(tunnel.as_object().unwrap().clone());
    Proxy::of_tcp(json!({"tunnelingConfig": config}), &[cluster("a", &[upstream], json!({}))]).await
}

#[tokio::test]
async fn a_tunnel_passes_bytes_both_ways_once_the_instance_agrees() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    // What an answer of success says of its length is nothing: what follows are the bytes of the host beyond.
    for answer in
        ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 201 Yes\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]
    {
        let mut client = proxy.connect().await;
        client.say("hello").await;
        let mut instance = upstream.accept().await;
        instance.hears(CONNECT).await;
        instance.say(&format!("{answer}welcome")).await;
        instance.hears("hello").await;
        client.hears("welcome").await;
        client.finish().await;
        assert_eq!(instance.end().await, "");
        instance.say("bye").await;
        drop(instance);
        assert_eq!(client.end().await, "bye");
    }
    assert_eq!(proxy.stop().await, ["0 - -", "0 - -", "0 - -"]);
}

#[tokio::test]
async fn a_client_of_a_tunnel_that_is_refused_is_closed() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    for answer in ["HTTP/1.1 407 Who\r\ncontent-length: 2\r\n\r\nno", "HTTP/1.1 302 Away\r\nlocation: a\r\n\r\n", "SSH-2.0\r\n"] {
        let mut client = proxy.connect().await;
        client.say("secret").await;
        let mut instance = upstream.accept().await;
        instance.hears(CONNECT).await;
        instance.say(answer).await;
        assert_eq!((client.end().await, instance.end().await), (String::new(), String::new()), "{answer}");
    }
}

#[tokio::test]
async fn bytes_may_go_as_the_body_of_a_post_and_come_as_that_of_its_answer() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({"usePost": true, "postPath": "/tunnel"}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("hello").await;
    let mut instance = upstream.accept().await;
    instance.hears("POST /tunnel HTTP/1.1\r\nhost: far.test:443\r\ntransfer-encoding: chunked\r\n\r\n").await;
    instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nwelcome\r\n").await;
    instance.hears("5\r\nhello\r\n").await;
    client.hears("welcome").await;
    client.finish().await;
    instance.hears("0\r\n\r\n").await;
    instance.say("3\r\nbye\r\n0\r\n\r\n").await;
    assert_eq!(client.end().await, "bye");
    assert_eq!(instance.end().await, "");
}

#[tokio::test]
async fn a_tunnel_by_http2_is_a_stream() {
    use bytes::Bytes;
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut connection = h2::server::handshake(upstream.accept().await.unwrap().0).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("CONNECT", "far.test:443"));
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut sending = respond.send_response(http::Response::new(()), false).unwrap();
        let mut body = request.into_body();
        let heard = body.data().await.unwrap().unwrap();
        assert_eq!(&heard[..], b"hello");
        sending.send_data(Bytes::from_static(b"welcome"), true).unwrap();
        while body.data().await.is_some() {}
    });
    let more = json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"http2ProtocolOptions": {}},
    }}});
    let endpoint = json!({"endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": address.port()}}}});
    let mut of_http2 =
        json!({"name": "a", "type": "STATIC", "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": [endpoint]}]}});
    of_http2.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let proxy = Proxy::of_tcp(json!({"tunnelingConfig": {"hostname": "far.test:443"}}), &[of_http2]).await;
    let mut client = proxy.connect().await;
    client.say("hello").await;
    client.hears("welcome").await;
    client.finish().await;
    assert_eq!(client.end().await, "");
    serving.await.unwrap();
}
