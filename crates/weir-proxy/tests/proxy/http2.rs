//! HTTP/2 on both sides: gRPC, with trailers, and many streams on one connection.

use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::frames::{END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE, fields, frame, request};
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// What a cluster of HTTP/2 instances has.
pub(crate) fn http2() -> Value {
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

/// Streams that a GOAWAY leaves out have not been looked at: another connection takes them, and no request is lost.
#[tokio::test]
async fn streams_that_a_goaway_leaves_out_are_sent_again() {
    let upstream = Upstream::start().await;
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "retryPolicy": {"retryOn": "refused-stream"}}});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], http2())]).await;
    let mut client = proxy.connect().await;
    client.say("GET /again HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.accept().await;
    first.say("\0\0\0\x04\0\0\0\0\0").await;
    // The preface, the proxy's settings, and its request.
    in_time("the proxy greets and asks", first.skip(100)).await.unwrap();
    first.say("\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await;
    let mut second = accept(&upstream).await;
    let (request, mut respond) = in_time("it comes again", second.accept()).await.unwrap().unwrap();
    assert_eq!(request.uri().path(), "/again");
    respond.send_response(Response::new(()), true).unwrap();
    tokio::spawn(async move { while second.accept().await.is_some() {} });
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

/// `connection_keepalive` of a connection manager: a client that gives no sign of life is let go, any other one stays.
#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_let_go() {
    let manager = json!({"http2ProtocolOptions": {"connectionKeepalive": {"interval": "0.1s", "timeout": "0.3s"}}});
    let direct = json!([{"match": {"prefix": "/"}, "directResponse": {"status": 200}}]);
    let proxy = Proxy::with_manager(manager, routes(direct), &[]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut alive, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut silent = Frames::connect(&proxy).await;
    silent.hear(PING).await;
    silent.hear(GOAWAY).await;
    let (answer, _): (_, h2::SendStream<Bytes>) = alive.send_request(call("/"), true).unwrap();
    assert_eq!(in_time("an answer comes", answer).await.unwrap().status(), 200);
}

/// The same of a cluster: the requests on a connection that gives no sign of life fail.
#[tokio::test]
async fn an_instance_that_does_not_answer_pings_is_left() {
    let upstream = Upstream::start().await;
    let mut more = http2();
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let keepalive = json!({"connectionKeepalive": {"interval": "0.1s", "timeout": "0.3s"}});
    more["typedExtensionProtocolOptions"][options]["explicitHttpConfig"]["http2ProtocolOptions"] = keepalive;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], more)]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = Frames::of(upstream.accept().await.into_stream());
    instance.say(&frame(SETTINGS, 0, 0, b"")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    let counted = "envoy_cluster_http2_keepalive_timeout{cluster_name=\"a\",proxy=\"test\"} 1";
    assert!(proxy.ask_admin("/stats").await.lines().any(|line| line == counted));
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UC upstream_reset_before_response_started{connection_termination}"]);
}

/// How much may be sent ahead, as a connection manager and a cluster say it.
#[tokio::test]
async fn windows_are_those_that_are_configured() {
    let windows = json!({"initialStreamWindowSize": 70_000, "initialConnectionWindowSize": 200_000});
    let upstream = Upstream::start().await;
    let mut more = http2();
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    more["typedExtensionProtocolOptions"][options]["explicitHttpConfig"]["http2ProtocolOptions"] = windows.clone();
    let clusters = [cluster("a", &[&upstream], more)];
    let proxy = Proxy::with_manager(json!({"http2ProtocolOptions": windows}), routes(json!([to("a")])), &clusters).await;
    let mut client = Frames::connect(&proxy).await;
    client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("/"))).await;
    let mut instance = upstream.accept().await.into_stream();
    in_time("the proxy greets", instance.read_exact(&mut [0; 24])).await.unwrap();
    for mut side in [client, Frames::of(instance)] {
        let (_, _, settings) = side.hear(SETTINGS).await;
        let of_stream = settings.chunks(6).find(|setting| setting.starts_with(&[0, 4])).unwrap();
        assert_eq!(of_stream[2..], 70_000_u32.to_be_bytes());
        let (_, stream, more) = side.hear(WINDOW_UPDATE).await;
        assert_eq!((stream, &more[..]), (0, &(200_000_u32 - 65_535).to_be_bytes()[..]));
    }
}

/// A request that was HTTP/1.1 on its way may name its host in `host` alone (RFC 9113, 8.3.1).
#[tokio::test]
async fn a_host_without_an_authority_is_enough() {
    let direct = json!([{"match": {"prefix": "/"}, "directResponse": {"status": 200}}]);
    let proxy = Proxy::start(routes(direct), &[]).await;
    let mut client = Frames::connect(&proxy).await;
    let line = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&[&line[..], &[("host", "shop")]].concat()))).await;
    client.hear(HEADERS).await;
    client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &fields(&line))).await;
    client.hear(HEADERS).await;
    drop(client);
    let mut log = proxy.stop().await;
    log.sort();
    assert_eq!(log, ["200 - direct_response", "400 DPE http2.violation.of.messaging.rule"]);
}

/// An instance's head may be as large as over HTTP/1.1.
#[tokio::test]
async fn heads_of_answers_have_the_limits_of_http1() {
    let Grpc { proxy, mut client, upstream } = grpc().await;
    let mut answers = vec![];
    for path in ["/large", "/too-large", "/too-many"] {
        answers.push(client.send_request(call(path), true).unwrap().0);
    }
    let mut connection = accept(&upstream).await;
    for _ in 0..3 {
        let (request, mut respond) = in_time("a call comes", connection.accept()).await.unwrap().unwrap();
        let (count, size) = match request.uri().path() {
            "/large" => (55, 1000),
            "/too-large" => (65, 1000),
            _ => (101, 1),
        };
        let mut head = Response::new(());
        for i in 0..count {
            let name = http::HeaderName::from_bytes(format!("x-{i}").as_bytes()).unwrap();
            head.headers_mut().insert(name, "x".repeat(size).parse().unwrap());
        }
        respond.send_response(head, true).unwrap();
    }
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let mut statuses = vec![];
    for answer in answers {
        let answer = in_time("an answer comes", answer).await.unwrap();
        statuses.push((answer.status().as_u16(), answer.headers().get("grpc-status").cloned()));
    }
    let failed = (200, Some("14".parse().unwrap()));
    assert_eq!(statuses, [(200, None), failed.clone(), failed]);
    drop(client);
    let mut log = proxy.stop().await;
    log.sort();
    let failed = "200 UR upstream_reset_before_response_started{remote_reset}";
    assert_eq!(log, ["200 - via_upstream", failed, failed]);
}

/// For routes and for an instance of HTTP/1.1 (RFC 9113, 8.2.3).
#[tokio::test]
async fn the_crumbs_of_a_cookie_are_one() {
    let upstream = Upstream::start().await;
    let cookie = json!({"name": "cookie", "stringMatch": {"exact": "a=1; b=2"}});
    let route = json!({"match": {"prefix": "/", "headers": [cookie]}, "route": {"cluster": "a"}});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let (mut client, connection) = client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://a/").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let (answer, _): (_, h2::SendStream<Bytes>) = client.send_request(request, true).unwrap();
    let mut instance = tokio::select! {
        instance = upstream.accept() => instance,
        answer = answer => panic!("no route is for it: {answer:?}"),
    };
    let head = instance.head().await;
    let cookies: Vec<&String> = head.iter().filter(|line| line.starts_with("cookie:")).collect();
    assert_eq!(cookies, ["cookie: a=1; b=2"]);
}

/// HTTP/2 itself says where it ends; whoever reads it behind us might believe one length or the other.
#[tokio::test]
async fn an_answer_that_tells_two_lengths_is_none() {
    let Grpc { proxy, client: _, upstream } = grpc().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut connection = accept(&upstream).await;
    let (_, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    let head = Response::builder().header("content-length", "2").header("content-length", "2").body(()).unwrap();
    let mut body = respond.send_response(head, false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway");
}
