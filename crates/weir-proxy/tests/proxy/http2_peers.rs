//! Peers of HTTP/2 that say too much, or go too early: what of it is passed on, and who has to pay for it.

use bytes::Bytes;
use h2::{client, server};
use http::{HeaderMap, HeaderName, Request, Response};
use serde_json::json;
use tokio::net::TcpStream;

use crate::http2::http2;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, request,
};
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// Fields with values of this length.
fn many(count: usize, length: usize) -> HeaderMap {
    let name = |i: usize| HeaderName::from_bytes(format!("x-{i}").as_bytes()).unwrap();
    (0..count).map(|i| (name(i), "x".repeat(length).parse().unwrap())).collect()
}

async fn start() -> (Upstream, Proxy, client::SendRequest<Bytes>) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    (upstream, proxy, client)
}

async fn accept(upstream: &Upstream) -> server::Connection<TcpStream, Bytes> {
    in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap()
}

fn ask() -> Request<()> {
    Request::post("http://shop/").body(()).unwrap()
}

#[tokio::test]
async fn trailers_of_an_answer_beyond_the_limits_break_it_off() {
    let (upstream, proxy, mut client) = start().await;
    let mut connection: Option<server::Connection<TcpStream, Bytes>> = None;
    for (count, length, passes) in [(90, 10, true), (40, 4000, false), (101, 1, false)] {
        let (answer, _) = client.send_request(ask(), true).unwrap();
        let mut instance = match connection.take() {
            Some(connection) => connection,
            None => accept(&upstream).await,
        };
        let (_, mut respond) = in_time("a request comes", instance.accept()).await.unwrap().unwrap();
        let mut trailers = many(count, length);
        trailers.insert("grpc-status", "7".parse().unwrap());
        respond.send_response(Response::new(()), false).unwrap().send_trailers(trailers).unwrap();
        let (answer, _) = tokio::select! {
            answer = in_time("an answer comes", answer) => (answer.unwrap(), ()),
            _ = instance.accept() => panic!("no other request comes"),
        };
        let mut body = answer.into_body();
        let ended = tokio::select! {
            ended = in_time("the answer ends", async { match body.data().await { Some(Err(error)) => Err(error), _ => body.trailers().await } }) => ended,
            _ = instance.accept() => panic!("no other request comes"),
        };
        match passes {
            true => assert!(ended.unwrap().unwrap().contains_key("grpc-status")),
            false => assert!(ended.is_err(), "{count} {length}"),
        }
        connection = Some(instance);
    }
    drop(client);
    let broken = "200 UPE upstream_reset_after_response_started{protocol_error}";
    assert_eq!(proxy.stop().await, ["200 - via_upstream", broken, broken]);
}

/// What would make the instance end the connection of all.
#[tokio::test]
async fn trailers_of_a_request_beyond_the_limits_reach_nobody() {
    let (upstream, proxy, mut client) = start().await;
    let (victim, _) = client.send_request(ask(), true).unwrap();
    let mut connection = accept(&upstream).await;
    let (_, mut of_victim) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    for (count, length) in [(40, 4000), (101, 1)] {
        let (answer, mut sending) = client.send_request(ask(), false).unwrap();
        sending.send_data("some".into(), false).unwrap();
        let (request, _respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
        sending.send_trailers(many(count, length)).unwrap();
        let mut body = request.into_body();
        let heard = async {
            while let Some(Ok(_)) = body.data().await {}
            body.trailers().await
        };
        let (heard, answer) = tokio::select! {
            both = async { tokio::join!(in_time("the request breaks off", heard), in_time("it is answered", answer)) } => both,
            _ = connection.accept() => panic!("no other request comes"),
        };
        assert!(!matches!(heard, Ok(Some(_))), "{heard:?}");
        assert!(answer.is_err() || answer.unwrap().status() == 431);
    }
    of_victim.send_response(Response::new(()), true).unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!(in_time("the victim is answered", victim).await.unwrap().status(), 200);
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn an_early_answer_is_whole_though_its_connection_ends_with_it() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome").await;
    let mut instance = Frames::of(upstream.accept().await.into_stream());
    instance.skip_preface().await;
    let (_, stream, _) = instance.hear(HEADERS).await;
    let head = fields(&[(":status", "413"), ("content-length", "5")]);
    let all = [
        frame(SETTINGS, 0, 0, b""),
        frame(HEADERS, END_HEADERS, stream, &head),
        frame(DATA, END_STREAM, stream, b"hello"),
        frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
    ];
    instance.say(&all.concat()).await;
    drop(instance);
    assert_eq!(client.answer().await.0, "HTTP/1.1 413 Payload Too Large");
    client.hears("hello").await;
    client.end().await;
    assert_eq!(proxy.stop().await, ["413 - via_upstream"]);
}

#[tokio::test]
async fn a_head_that_is_far_too_long_is_the_end_of_its_stream_alone() {
    let (upstream, proxy, mut client) = start().await;
    let (victim, _) = client.send_request(ask(), true).unwrap();
    let (answer, _) = client.send_request(ask(), true).unwrap();
    let mut connection = accept(&upstream).await;
    let (_, mut of_victim) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    let (_, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    let mut head = Response::new(());
    *head.headers_mut() = many(150, 4000);
    respond.send_response(head, true).unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    assert_eq!(in_time("it is answered", answer).await.unwrap().status(), 503);
    of_victim.send_response(Response::new(()), true).unwrap();
    assert_eq!(in_time("the victim is answered", victim).await.unwrap().status(), 200);
    drop(client);
    proxy.stop().await;
}

/// The instance is far away: what it has sent comes after the stream was given up.
#[tokio::test]
async fn clients_that_give_up_their_downloads_do_not_end_a_connection_of_others() {
    let (upstream, proxy, mut client) = start().await;
    let mut instance = None;
    let mut given_up = vec![];
    for _ in 0..400 {
        let (answer, _) = client.send_request(ask(), true).unwrap();
        if instance.is_none() {
            let mut frames = Frames::of(upstream.accept().await.into_stream());
            frames.skip_preface().await;
            frames.say(&frame(SETTINGS, 0, 0, b"")).await;
            instance = Some(frames);
        }
        let frames = instance.as_mut().unwrap();
        let (_, stream, _) = frames.hear(HEADERS).await;
        let head = fields(&[(":status", "200")]);
        frames.say(&[frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, 0, stream, b"part")].concat()).await;
        drop(in_time("an answer comes", answer).await.unwrap());
        frames.hear(RST_STREAM).await;
        given_up.push(stream);
    }
    let mut frames = instance.unwrap();
    let late: Vec<Vec<u8>> = given_up.iter().map(|stream| frame(DATA, 0, *stream, b"late")).collect();
    frames.say(&late.concat()).await;
    let (answer, _) = client.send_request(ask(), true).unwrap();
    let (_, stream, _) = frames.hear(HEADERS).await;
    frames.say(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&[(":status", "200")]))).await;
    assert_eq!(in_time("an answer comes", answer).await.unwrap().status(), 200);
    drop(client);
    proxy.stop().await;
}

/// A proxy that answers at once, with more for its connection manager.
async fn answering(manager: serde_json::Value) -> Proxy {
    let direct = json!([{"match": {"prefix": "/"}, "directResponse": {"status": 413}}]);
    Proxy::with_manager(manager, routes(direct), &[]).await
}

/// The client is far away: what it has sent comes after the answer.
#[tokio::test]
async fn uploads_that_are_answered_early_do_not_end_their_connection() {
    let proxy = answering(json!({})).await;
    let mut client = Frames::connect(&proxy).await;
    let streams: Vec<u32> = (0..400).map(|i| 2 * i + 1).collect();
    for stream in &streams {
        client.say(&frame(HEADERS, END_HEADERS, *stream, &request("/"))).await;
        client.hear(RST_STREAM).await;
    }
    let late: Vec<Vec<u8>> = streams.iter().map(|stream| frame(DATA, 0, *stream, b"late")).collect();
    client.say(&late.concat()).await;
    client.say(&frame(HEADERS, END_HEADERS | END_STREAM, 801, &request("/"))).await;
    while client.hear(HEADERS).await.1 != 801 {}
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_farewell_is_left() {
    let proxy = answering(json!({"commonHttpProtocolOptions": {"idleTimeout": "0.1s"}})).await;
    let mut client = Frames::connect(&proxy).await;
    client.hear(GOAWAY).await;
    // No answer to the PING that came with it.
    while client.heard_or_end(GOAWAY).await.is_some() {}
}

#[tokio::test]
async fn a_connection_is_not_idle_as_long_as_it_has_streams() {
    let upstream = Upstream::start().await;
    let manager = json!({"commonHttpProtocolOptions": {"idleTimeout": "0.1s"}});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = Frames::connect(&proxy).await;
    client.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("/"))).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    // Connections are looked after each second.
    let farewell = tokio::time::timeout(std::time::Duration::from_millis(2500), client.hear(GOAWAY)).await;
    assert!(farewell.is_err(), "it was told to go while its request was under way");
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.hear(HEADERS).await;
    client.hear(GOAWAY).await;
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_left_though_it_does_not_read() {
    let upstream = Upstream::start().await;
    let manager = json!({"http2ProtocolOptions": {"connectionKeepalive": {"interval": "0.1s", "timeout": "0.3s"}}});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = Frames::connect(&proxy).await;
    let wide = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    client.say(&frame(SETTINGS, 0, 0, &wide)).await;
    client.say(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes())).await;
    client.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("/"))).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\n\r\n").await;
    let left = async {
        while proxy.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    // Whether the instance can say it all, or is cut off: the client takes none of it.
    tokio::select! {
        () = in_time("the client is left", left) => {}
        () = async { loop { instance.say_or_end(&"x".repeat(64 << 10)).await } } => {}
    }
    drop(client);
}
