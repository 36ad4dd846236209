//! HTTP/2 on both sides: gRPC, with trailers, and many streams on one connection.

use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// What a cluster of HTTP/2 instances has.
fn http2() -> Value {
    json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"http2ProtocolOptions": {}},
    }}})
}

struct Grpc {
    proxy: Proxy,
    client: client::SendRequest<Bytes>,
    upstream: Upstream,
}

/// A client of HTTP/2 and an instance of HTTP/2, not connected yet.
async fn grpc() -> Grpc {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    Grpc { proxy, client, upstream }
}

/// A call.
fn call(path: &str) -> Request<()> {
    let uri = format!("http://shop{path}");
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

async fn data(body: &mut RecvStream) -> Bytes {
    let piece = in_time("data comes", body.data()).await.unwrap().unwrap();
    body.flow_control().release_capacity(piece.len()).unwrap();
    piece
}

async fn accept(upstream: &Upstream) -> server::Connection<TcpStream, Bytes> {
    in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap()
}

#[tokio::test]
async fn messages_pass_both_ways_and_the_status_comes_in_trailers() {
    let Grpc { proxy, mut client, upstream } = grpc().await;
    let (answer, mut requests) = client.send_request(call("/shop.Cart/Watch"), false).unwrap();
    requests.send_data(Bytes::from_static(b"one"), false).unwrap();

    let mut connection = accept(&upstream).await;
    let (request, mut respond) = in_time("a call comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!((request.uri().path(), &request.headers()["te"]), ("/shop.Cart/Watch", &"trailers".parse().unwrap()));
    let mut heard = request.into_body();
    assert_eq!(data(&mut heard).await, "one");

    // The answer begins while the request goes on.
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut answers = respond.send_response(head, false).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    answers.send_data(Bytes::from_static(b"first"), false).unwrap();
    assert_eq!(data(&mut body).await, "first");
    requests.send_data(Bytes::from_static(b"two"), true).unwrap();
    assert_eq!(data(&mut heard).await, "two");

    let trailers = HeaderMap::from_iter(
        [("grpc-status", "5"), ("grpc-message", "none")]
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))),
    );
    answers.send_trailers(trailers.clone()).unwrap();
    assert_eq!(in_time("trailers come", body.trailers()).await.unwrap().unwrap(), trailers);
    drop((client, body));
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

#[tokio::test]
async fn a_refusal_in_the_head_alone_passes() {
    let Grpc { proxy, mut client, upstream } = grpc().await;
    let (answer, _) = client.send_request(call("/shop.Cart/Get"), true).unwrap();
    let mut connection = accept(&upstream).await;
    let (_, mut respond) = in_time("a call comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", "7").body(()).unwrap();
    respond.send_response(head, true).unwrap();
    let answer = in_time("an answer comes", answer).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert!(answer.body().is_end_stream(), "no trailers follow");
    drop((client, answer));
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

#[tokio::test]
async fn a_failure_is_a_grpc_status() {
    let Grpc { proxy, mut client, upstream } = grpc().await;
    drop(upstream);
    let (answer, _) = client.send_request(call("/shop.Cart/Get"), true).unwrap();
    let answer = in_time("an answer comes", answer).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    drop((client, answer));
    let log = proxy.stop().await;
    assert!(log[0].starts_with("200 UF "), "{log:?}");
}

#[tokio::test]
async fn calls_share_a_connection_and_do_not_wait_for_each_other() {
    let Grpc { proxy: _proxy, mut client, upstream } = grpc().await;
    let (slow, _) = client.send_request(call("/slow"), true).unwrap();
    let mut connection = accept(&upstream).await;
    let (_, mut answer_slow) = in_time("a call comes", connection.accept()).await.unwrap().unwrap();
    let (fast, _) = client.send_request(call("/fast"), true).unwrap();
    let (request, mut answer_fast) = in_time("another call comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!(request.uri().path(), "/fast");
    answer_fast.send_response(Response::new(()), true).unwrap();
    assert_eq!(in_time("the fast answer comes", fast).await.unwrap().status(), 200);
    answer_slow.send_response(Response::new(()), true).unwrap();
    assert_eq!(in_time("the slow answer comes", slow).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_of_http2_reaches_an_instance_of_http1() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut client, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://shop/a?b").body(()).unwrap();
    let (answer, _): (_, h2::SendStream<Bytes>) = client.send_request(request, true).unwrap();
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    assert_eq!(head[0], "GET /a?b HTTP/1.1");
    assert!(head.contains(&"host: shop".to_owned()), "{head:?}");
    instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    assert_eq!(data(&mut body).await, "ok");
}

/// An instance that takes no request on any connection must not keep the proxy opening them.
#[tokio::test]
async fn an_instance_that_goes_away_again_and_again_is_given_up() {
    const SETTINGS: &str = "\0\0\0\x04\0\0\0\0\0";
    const GO_AWAY: &str = "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let instance = async {
        for connections in 1.. {
            let mut connection = upstream.accept().await;
            connection.say(&format!("{SETTINGS}{GO_AWAY}")).await;
            drop(connection);
            assert!(connections <= 3, "a connection is opened again and again");
        }
    };
    tokio::select! {
        (status, _) = client.answer() => assert!(status.contains(" 503 ") || status.contains(" 502 "), "{status}"),
        () = instance => {}
    }
    drop(client);
    proxy.stop().await;
}
