//! Who does not read, on either side of the proxy, holds up himself and nobody else: streams of HTTP/2 share a connection, and with
//! it the window that a stream which nobody reads does not give back.

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http2::http2;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, request};
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// More than the window of a stream.
const MUCH: usize = 1 << 20;
/// What is handed over at once, though its client does not take it.
const SOME: usize = 60_000;

/// A client's connection that takes in what comes, as far as its windows go.
async fn connect(proxy: &Proxy) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (client, connection) = client::Builder::new().initial_connection_window_size(MUCH as u32).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Asks, and waits for the head of the answer.
async fn ask(client: &mut client::SendRequest<Bytes>, path: &str) -> RecvStream {
    let request = Request::get(format!("http://shop{path}")).body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    in_time("an answer comes", answer).await.unwrap().into_body()
}

/// Begins an upload of so many bytes, all of which go out as soon as anybody takes them.
fn upload(client: &mut client::SendRequest<Bytes>, path: &str, size: usize) -> (client::ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://shop{path}")).body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; size]), true).unwrap();
    (answer, body)
}

/// Reads to the end, for the length.
async fn read(mut body: RecvStream) -> usize {
    let mut length = 0;
    while let Some(part) = in_time("data comes", body.data()).await {
        let part = part.unwrap();
        length += part.len();
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    length
}

/// An instance of HTTP/2: `/much` has a large answer, `/some` a smaller one; an upload to `/never` is never read, others are.
fn serve(upstream: Upstream) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let mut connection = server::handshake(upstream.accept().await.into_stream()).await.unwrap();
            tokio::spawn(async move {
                let mut unread = vec![];
                let much = Bytes::from(vec![b'x'; MUCH]);
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (head, body) = request.into_parts();
                    if head.uri.path() == "/never" {
                        unread.push((body, respond));
                        continue;
                    }
                    let much = much.clone();
                    tokio::spawn(async move {
                        let said = match head.uri.path() {
                            "/much" => much,
                            "/some" => much.slice(..SOME),
                            _ => vec![b'x'; 1 + read(body).await].into(),
                        };
                        let mut answer = respond.send_response(Response::new(()), false).unwrap();
                        answer.send_data(said, true).unwrap();
                    });
                }
            });
        }
    })
}

/// A proxy before such an instance.
async fn proxy(more: Value) -> Proxy {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], more)]).await;
    serve(upstream);
    proxy
}

#[tokio::test]
async fn downloads_that_nobody_reads_hold_up_no_other_ones() {
    let proxy = proxy(http2()).await;
    let mut slow = connect(&proxy).await;
    let mut unread = vec![];
    for _ in 0..60 {
        unread.push(ask(&mut slow, "/much").await);
    }
    let mut other = connect(&proxy).await;
    for _ in 0..3 {
        let body = ask(&mut other, "/much").await;
        assert_eq!(read(body).await, MUCH);
    }
    // Those who read at last get all of it.
    let last = unread.pop().unwrap();
    drop(unread);
    assert_eq!(read(last).await, MUCH);
}

/// More streams than any window is made for: new ones get a connection of their own.
#[tokio::test]
async fn a_connection_whose_window_is_taken_gets_no_new_streams() {
    let mut more = http2();
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    more["typedExtensionProtocolOptions"][options]["explicitHttpConfig"]["http2ProtocolOptions"] = json!({"maxConcurrentStreams": 1000});
    let proxy = proxy(more).await;
    let mut slow = connect(&proxy).await;
    let mut unread = vec![];
    for _ in 0..600 {
        let request = Request::get("http://shop/much").body(()).unwrap();
        unread.push(slow.send_request(request, true).unwrap().0);
    }
    let mut other = connect(&proxy).await;
    // It may come before the window is known to be taken, but not for ever.
    let read_all = async {
        while tokio::time::timeout(std::time::Duration::from_secs(1), async { read(ask(&mut other, "/much").await).await }).await.is_err() {
        }
    };
    in_time("another connection takes it", read_all).await;
}

/// The window is the instance's here: an upload that it does not read may take all of it.
#[tokio::test]
async fn uploads_that_an_instance_does_not_read_hold_up_no_other_ones() {
    let proxy = proxy(http2()).await;
    let mut client = connect(&proxy).await;
    let stuck = upload(&mut client, "/never", MUCH);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let (answer, _body) = upload(&mut client, "/other", 100);
    assert_eq!(read(in_time("an answer comes", answer).await.unwrap().into_body()).await, 101);
    drop(stuck);
}

/// Where no further connection may be opened, a request shares the one that there is: without a body it needs no window.
#[tokio::test]
async fn the_only_connection_is_used_though_its_window_is_taken() {
    let mut more = http2();
    more["circuitBreakers"] = json!({"thresholds": [{"maxConnections": 1}]});
    let proxy = proxy(more).await;
    let mut client = connect(&proxy).await;
    let _stuck = upload(&mut client, "/never", MUCH);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let body = ask(&mut client, "/other").await;
    assert_eq!(read(body).await, 1);
}

/// Uploads of one client, each of which fills the window of its stream: together they fill more than a mebibyte.
#[tokio::test]
async fn uploads_that_nobody_reads_leave_the_clients_other_streams_alone() {
    let proxy = proxy(http2()).await;
    let mut client = connect(&proxy).await;
    let stuck: Vec<_> = (0..20).map(|_| upload(&mut client, "/never", MUCH)).collect();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let (answer, _body) = upload(&mut client, "/other", 100);
    assert_eq!(read(in_time("an answer comes", answer).await.unwrap().into_body()).await, 101);
    drop(stuck);
}

/// CVE-2019-9517: windows without limit, and nothing is read of the socket. What waits for such a client is bounded for each stream.
#[tokio::test]
async fn cve_2019_9517_internal_data_buffering() {
    let proxy = proxy(http2()).await;
    let mut greedy = Frames::connect(&proxy).await;
    greedy.say(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).await;
    greedy.say(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0])).await;
    for stream in (1..200).step_by(2) {
        greedy.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/much"))).await;
    }
    let mut other = connect(&proxy).await;
    for _ in 0..3 {
        let body = ask(&mut other, "/much").await;
        assert_eq!(read(body).await, MUCH);
    }
}

/// CVE-2019-9511: a window that is opened byte by byte makes the answer come so.
#[tokio::test]
async fn cve_2019_9511_data_dribble() {
    let proxy = proxy(http2()).await;
    let mut greedy = Frames::connect(&proxy).await;
    greedy.say(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    for stream in (1..100).step_by(2) {
        greedy.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/much"))).await;
    }
    let dribble: Vec<u8> = (1..100).step_by(2).flat_map(|stream| frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\x01")).collect();
    let mut other = connect(&proxy).await;
    for _ in 0..100 {
        greedy.say(&dribble).await;
        let body = ask(&mut other, "/other").await;
        assert_eq!(read(body).await, 1);
    }
    greedy.hear(DATA).await;
}

/// Many streams may each be less ahead than few: a client that reads none of its answers makes the proxy hold this much.
#[tokio::test]
async fn what_an_instance_may_send_ahead_is_less_where_there_are_many_streams() {
    const STREAMS: usize = 90;
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    let mut slow = connect(&proxy).await;
    let ask_many = async {
        let request = || Request::get("http://shop/").body(()).unwrap();
        (0..STREAMS).map(|_| slow.send_request(request(), true).unwrap()).collect::<Vec<_>>()
    };
    let asked = ask_many.await;
    let mut connection: server::Connection<_, Bytes> =
        in_time("the proxy greets", server::handshake(upstream.accept().await.into_stream())).await.unwrap();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..STREAMS {
        let (_, mut respond) = in_time("a request comes", connection.accept()).await.unwrap().unwrap();
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        let sent = sent.clone();
        tokio::spawn(async move {
            answer.reserve_capacity(MUCH);
            while let Some(Ok(room)) = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await {
                sent.fetch_add(room, std::sync::atomic::Ordering::Relaxed);
                answer.send_data(vec![b'x'; room].into(), false).unwrap();
            }
        });
    }
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    // What is read of each, and waits for the client, comes to as much again.
    assert!(sent <= STREAMS * 2 * (64 << 10) + MUCH, "{sent}");
    drop(asked);
}

/// Answers that have all been handed over, on a socket of which nothing is read: they wait for nobody, and not for ever.
#[tokio::test]
async fn a_client_that_takes_nothing_from_its_socket_is_let_go() {
    let upstream = Upstream::start().await;
    let manager = json!({"streamIdleTimeout": "0.5s"});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], http2())]).await;
    serve(upstream);
    let mut greedy = Frames::connect(&proxy).await;
    greedy.say(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).await;
    for stream in (1..1000).step_by(2) {
        greedy.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/some"))).await;
    }
    let is_gone = async {
        while proxy.open_connections() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    in_time("its connection ends", is_gone).await;
}

/// Answers that are dropped while they wait for the socket leave room for others.
#[tokio::test]
async fn answers_that_nobody_wants_any_more_do_not_fill_the_connection() {
    let proxy = proxy(http2()).await;
    let mut client = Frames::connect(&proxy).await;
    client.say(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).await;
    client.say(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0])).await;
    // More in all than may wait, none of it read before it is given up.
    for stream in (1..200).step_by(2) {
        client.say(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/some"))).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for stream in (1..200).step_by(2) {
        client.say(&frame(RST_STREAM, 0, stream, b"\0\0\0\x08")).await;
    }
    client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 201, &request("/much"))).await;
    let mut length = 0;
    while length < MUCH {
        let (_, stream, part) = client.hear(DATA).await;
        length += if stream == 201 { part.len() } else { 0 };
    }
}
