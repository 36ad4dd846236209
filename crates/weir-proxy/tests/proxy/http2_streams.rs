//! How streams of HTTP/2 end: whoever is on the other side is told what became of it, in Envoy's words.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http2::http2;
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, frame, request};
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// A client and an instance of HTTP/2 with a proxy between them, and one request under way.
struct Conversation {
    proxy: Proxy,
    /// The client's side.
    client: SendRequest<Bytes>,
    answer: ResponseFuture,
    sending: SendStream<Bytes>,
    /// The instance's side.
    heard: RecvStream,
    respond: SendResponse<Bytes>,
}

async fn connect(proxy: &Proxy) -> SendRequest<Bytes> {
    let (client, connection) = client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn begin(route: Value) -> Conversation {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], http2())]).await;
    let mut client = connect(&proxy).await;
    let request = Request::post("http://shop/").body(()).unwrap();
    let (answer, mut sending) = client.send_request(request, false).unwrap();
    sending.send_data("some".into(), false).unwrap();
    let mut connection = in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap();
    let (request, respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let mut heard = request.into_body();
    assert_eq!(data(&mut heard).await, "some");
    Conversation { proxy, client, answer, sending, heard, respond }
}

async fn data(body: &mut RecvStream) -> Bytes {
    let part = in_time("data comes", body.data()).await.unwrap().unwrap();
    body.flow_control().release_capacity(part.len()).unwrap();
    part
}

/// How a body breaks off.
async fn broken(body: &mut RecvStream) -> Option<Reason> {
    loop {
        match in_time("the stream ends", body.data()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.reason(),
            None => return None,
        }
    }
}

#[tokio::test]
async fn a_client_that_cancels_takes_its_request_back_from_the_instance() {
    let Conversation { proxy, client, answer, mut sending, mut heard, respond } = begin(to("a")).await;
    sending.send_reset(Reason::CANCEL);
    assert_eq!(broken(&mut heard).await, Some(Reason::INTERNAL_ERROR));
    drop((client, answer, respond));
    assert_eq!(proxy.stop().await, ["0 DR http2.remote_reset"]);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_wanted_any_more() {
    let mut route = to("a");
    route["route"]["timeout"] = json!("0.2s");
    let Conversation { proxy, client, answer, mut sending, mut heard, respond } = begin(route).await;
    sending.send_data("the rest".into(), true).unwrap();
    assert_eq!(in_time("the proxy answers", answer).await.unwrap().status(), 504);
    // All of the request is there: the reset comes where the answer would be sent.
    while in_time("the request ends", heard.data()).await.is_some() {}
    let mut respond = respond;
    assert_eq!(in_time("it is taken back", std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap(), Reason::INTERNAL_ERROR);
    drop(client);
    assert_eq!(proxy.stop().await, ["504 UT response_timeout"]);
}

#[tokio::test]
async fn an_instance_that_breaks_off_breaks_the_answer_off() {
    let Conversation { proxy, client, answer, sending, heard, mut respond } = begin(to("a")).await;
    let mut answers = respond.send_response(Response::new(()), false).unwrap();
    answers.send_data("part".into(), false).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    assert_eq!(data(&mut body).await, "part");
    answers.send_reset(Reason::CANCEL);
    assert_eq!(broken(&mut body).await, Some(Reason::INTERNAL_ERROR));
    drop((client, sending, heard));
    assert_eq!(proxy.stop().await, ["200 UR upstream_reset_after_response_started{remote_reset}"]);
}

/// Neither an error of the client's nor of the instance's: the rest of the request is not needed.
#[tokio::test]
async fn an_early_answer_ends_the_upload_on_both_sides() {
    let Conversation { proxy, client, answer, mut sending, mut heard, mut respond } = begin(to("a")).await;
    respond.send_response(Response::new(()), false).unwrap().send_data("ok".into(), true).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    assert_eq!(data(&mut body).await, "ok");
    assert_eq!(in_time("no more is wanted", std::future::poll_fn(|cx| sending.poll_reset(cx))).await.unwrap(), Reason::NO_ERROR);
    assert_eq!(broken(&mut heard).await, Some(Reason::INTERNAL_ERROR));
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}

#[tokio::test]
async fn a_request_of_another_length_than_it_says_is_an_error_of_the_clients() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let mut client = connect(&proxy).await;
    let request = Request::post("http://shop/").header("content-length", "3").body(()).unwrap();
    let (answer, mut sending) = client.send_request(request, false).unwrap();
    let mut connection = in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap();
    let (request, _respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    sending.send_data("too long".into(), true).unwrap();
    assert_eq!(in_time("it is refused", answer).await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(broken(&mut request.into_body()).await, Some(Reason::INTERNAL_ERROR));
}

/// Who takes nothing of an answer may go on sending: an instance that says much before it reads on would else never read on.
#[tokio::test]
async fn an_upload_does_not_wait_until_the_answer_is_read() {
    const MUCH: usize = 1 << 20;
    let Conversation { proxy: _proxy, client: _client, answer, mut sending, mut heard, mut respond } = begin(to("a")).await;
    let mut answers = respond.send_response(Response::new(()), false).unwrap();
    answers.send_data(vec![b'x'; MUCH].into(), true).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sending.send_data(vec![b'y'; MUCH].into(), true).unwrap();
    let mut uploaded = 0;
    while uploaded < MUCH {
        uploaded += data(&mut heard).await.len();
    }
    let mut downloaded = 0;
    while downloaded < MUCH {
        downloaded += data(&mut body).await.len();
    }
}

/// What an instance does not take stays with the client, but for what the windows on the way hold.
#[tokio::test]
async fn an_upload_goes_no_further_than_the_instance_takes_it() {
    const MUCH: usize = 8 << 20;
    let Conversation { proxy: _proxy, client: _client, answer: _answer, mut sending, mut heard, respond: _respond } = begin(to("a")).await;
    let much = Bytes::from(vec![b'x'; MUCH]);
    sending.reserve_capacity(MUCH);
    let mut given = 0;
    let more = async {
        while given < MUCH {
            let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
            sending.send_data(much.slice(given..given + room), false).unwrap();
            given += room;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), more).await;
    assert!((1..1 << 20).contains(&given), "{given} bytes are on their way");
    data(&mut heard).await;
}

/// While its client takes nothing, an answer has the limits of time that it always has.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_in_time() {
    let mut route = to("a");
    route["route"]["idleTimeout"] = json!("0.3s");
    let Conversation { proxy, client, answer, mut sending, mut heard, mut respond } = begin(route).await;
    sending.send_data(Bytes::new(), true).unwrap();
    while in_time("the request ends", heard.data()).await.is_some() {}
    let mut answers = respond.send_response(Response::new(()), false).unwrap();
    answers.send_data(vec![b'x'; 1 << 20].into(), false).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    assert_eq!(in_time("it is taken back", std::future::poll_fn(|cx| answers.poll_reset(cx))).await.unwrap(), Reason::INTERNAL_ERROR);
    assert_eq!(broken(&mut body).await, Some(Reason::INTERNAL_ERROR));
    drop(client);
    assert_eq!(proxy.stop().await, ["200 SI stream_idle_timeout"]);
}

#[tokio::test]
async fn trailers_pass_both_ways_behind_bodies() {
    let Conversation { proxy: _proxy, client: _client, answer, mut sending, mut heard, mut respond } = begin(to("a")).await;
    let trailers = |name: &'static str| HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static("1"))]);
    sending.send_trailers(trailers("x-asked")).unwrap();
    assert_eq!(in_time("trailers come", heard.trailers()).await.unwrap(), Some(trailers("x-asked")));
    let mut answers = respond.send_response(Response::new(()), false).unwrap();
    answers.send_data("ok".into(), false).unwrap();
    answers.send_trailers(trailers("x-answered")).unwrap();
    let mut body = in_time("an answer comes", answer).await.unwrap().into_body();
    assert_eq!(data(&mut body).await, "ok");
    assert_eq!(in_time("trailers come", body.trailers()).await.unwrap(), Some(trailers("x-answered")));
}

/// A GOAWAY that leaves out no stream comes first; the one that tells the last stream when what was on its way has come.
#[tokio::test]
async fn a_connection_that_is_drained_says_goodbye_twice_and_ends_with_its_last_stream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = Frames::connect(&proxy).await;
    client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("/"))).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    proxy.close();
    let last_stream = |goodbye: (u8, u32, Vec<u8>)| u32::from_be_bytes(goodbye.2[..4].try_into().unwrap());
    assert_eq!(last_stream(client.hear(GOAWAY).await), u32::MAX >> 1);
    let (_, _, probe) = client.hear(PING).await;
    client.say(&frame(PING, 1, 0, &probe)).await;
    assert_eq!(last_stream(client.hear(GOAWAY).await), 1);
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.hear(HEADERS).await.1, 1);
    assert_eq!(client.heard_or_end(HEADERS).await, None);
}

/// What HTTP/2 does not know stays behind, and what only it knows comes through.
#[tokio::test]
async fn a_client_of_http1_asks_an_instance_of_http2_in_its_words() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let mut connection = None;
    for (host, te, authority, kept) in [("shop", "trailers", Some("shop"), true), ("", "gzip", None, false)] {
        let mut client = proxy.connect().await;
        client.say(&format!("GET /a HTTP/1.1\r\nhost: {host}\r\nte: {te}\r\nconnection: te, keep-alive\r\nkeep-alive: 5\r\n\r\n")).await;
        if connection.is_none() {
            connection = Some(in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap());
        }
        let connection = connection.as_mut().unwrap();
        let (request, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
        assert_eq!(request.uri().authority().map(|authority| authority.as_str()), authority);
        assert_eq!(request.uri().path(), "/a");
        for gone in ["host", "connection", "keep-alive"] {
            assert!(!request.headers().contains_key(gone), "{gone} in {:?}", request.headers());
        }
        assert_eq!(request.headers().contains_key("te"), kept, "{te}");
        respond.send_response(Response::new(()), true).unwrap();
        tokio::select! {
            (status, _) = client.answer() => assert_eq!(status, "HTTP/1.1 200 OK"),
            other = connection.accept() => panic!("{other:?}"),
        }
    }
}
