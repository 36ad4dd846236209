//! Another protocol on a stream of HTTP/2 to an instance (RFC 8441), whatever its client speaks.

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, client, server};
use http::{Method, Request, Response};
use serde_json::json;
use tokio::net::TcpStream;

use crate::http2::http2;
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n";

/// A proxy before an instance of HTTP/2, and what its clients may ask for.
async fn proxy() -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let manager = json!({"http2ProtocolOptions": {"allowConnect": true}});
    let ready = json!({"match": {"prefix": "/ready"}, "directResponse": {"status": 200}});
    let proxy = Proxy::with_manager(manager, routes(json!([ready, to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    (proxy, upstream)
}

/// An instance that takes other protocols, or says nothing of them.
async fn accept(upstream: &Upstream, takes: bool) -> server::Connection<TcpStream, Bytes> {
    let mut builder = server::Builder::new();
    if takes {
        builder.enable_connect_protocol();
    }
    in_time("the proxy greets", builder.handshake(upstream.accept().await.into_stream())).await.unwrap()
}

type Stream = (Request<RecvStream>, server::SendResponse<Bytes>);

/// The next request, and the connection that goes on.
async fn asked(mut connection: server::Connection<TcpStream, Bytes>) -> Stream {
    let stream = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    stream
}

async fn hears(body: &mut RecvStream, text: &str) {
    let data = in_time(text, body.data()).await.unwrap().unwrap();
    body.flow_control().release_capacity(data.len()).unwrap();
    assert_eq!(data, text);
}

#[tokio::test]
async fn a_websocket_of_a_client_of_http1_goes_to_an_instance_of_http2() {
    let (proxy, upstream) = proxy().await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let (request, mut respond) = asked(accept(&upstream, true).await).await;
    assert_eq!((request.method(), request.uri().path()), (&Method::CONNECT, "/chat"));
    assert_eq!(request.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    assert_eq!(request.headers()["sec-websocket-key"], "eA==");
    assert!(!request.headers().contains_key("upgrade") && !request.headers().contains_key("connection"));
    let answer = Response::builder().header("sec-websocket-accept", "eQ==").body(()).unwrap();
    let mut answers = respond.send_response(answer, false).unwrap();
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: eQ=="] {
        assert!(headers.contains(&line.to_owned()), "{line} not in {headers:?}");
    }
    let mut heard = request.into_body();
    client.say("question").await;
    hears(&mut heard, "question").await;
    answers.send_data("answer".into(), false).unwrap();
    client.hears("answer").await;
    answers.send_data("bye".into(), true).unwrap();
    assert_eq!(client.end().await, "bye");
    // Its end is the end of both, as with Envoy.
    let ended = in_time("the stream ends", heard.data()).await;
    assert_eq!(ended.and_then(|end| end.unwrap_err().reason()), Some(h2::Reason::INTERNAL_ERROR));
    drop(client);
    assert_eq!(proxy.stop().await, ["101 - via_upstream"]);
}

#[tokio::test]
async fn a_websocket_of_a_client_of_http2_goes_to_an_instance_of_http2() {
    let (proxy, upstream) = proxy().await;
    let (mut client, connection) = client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let ready = Request::get("http://a/ready").body(()).unwrap();
    let (answer, _): (_, h2::SendStream<Bytes>) = client.send_request(ready, true).unwrap();
    in_time("the proxy's settings come, and an answer", answer).await.unwrap();
    let connect = Request::connect("http://a/chat").extension(Protocol::from_static("websocket")).body(()).unwrap();
    let (answer, mut sending) = client.send_request(connect, false).unwrap();
    let (request, mut respond) = asked(accept(&upstream, true).await).await;
    assert!(!request.headers().contains_key("sec-websocket-key"), "HTTP/2 needs none");
    let mut answers = respond.send_response(Response::new(()), false).unwrap();
    let answer = in_time("an answer comes", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut receiving, mut heard) = (answer.into_body(), request.into_body());
    sending.send_data("question".into(), false).unwrap();
    hears(&mut heard, "question").await;
    answers.send_data("answer".into(), false).unwrap();
    hears(&mut receiving, "answer").await;
    // Each side may end alone.
    sending.send_data("that was all".into(), true).unwrap();
    hears(&mut heard, "that was all").await;
    assert!(in_time("it ends", heard.data()).await.is_none_or(|end| end.unwrap().is_empty()) && heard.is_end_stream());
    answers.send_data("bye".into(), true).unwrap();
    hears(&mut receiving, "bye").await;
    drop((client, receiving));
    let mut log = proxy.stop().await;
    log.sort();
    assert_eq!(log, ["101 - via_upstream", "200 - direct_response"]);
}

/// It would not know what it is asked, and is not asked.
#[tokio::test]
async fn an_instance_whose_settings_do_not_allow_it_is_not_asked_for_another_protocol() {
    let (proxy, upstream) = proxy().await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut connection = accept(&upstream, false).await;
    tokio::select! {
        (status, _) = client.answer() => assert_eq!(status, "HTTP/1.1 503 Service Unavailable"),
        asked = connection.accept() => panic!("it was asked: {asked:?}"),
    }
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UR upstream_reset_before_response_started{remote_reset}"]);
}

#[tokio::test]
async fn an_instance_of_http2_that_does_not_agree_answers_as_always() {
    let (proxy, upstream) = proxy().await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let (request, mut respond) = asked(accept(&upstream, true).await).await;
    let answer = Response::builder().status(403).header("content-length", "2").body(()).unwrap();
    respond.send_response(answer, false).unwrap().send_data("no".into(), true).unwrap();
    assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden");
    client.hears("no").await;
    // Nobody says anything more on the stream.
    let end = in_time("the stream ends", request.into_body().data()).await.unwrap().unwrap_err();
    assert_eq!(end.reason(), Some(h2::Reason::INTERNAL_ERROR));
    drop(client);
    assert_eq!(proxy.stop().await, ["403 - via_upstream"]);
}
