//! Connections by which anybody may come, and who stays in them.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Status;
use weir_ads::grpc::server::{Services, guarded};
use weir_ads::{Admission, Asked, Departure, Guard, Patience, ServerStream, Shown};

const DELTA: &str = "https://pilot/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const PATIENCE: Patience = Patience { first: Duration::from_secs(10), idle: Duration::from_secs(300) };
/// Longer than what is over takes to end.
const SOON: Duration = Duration::from_secs(15);

/// Lets in those of whom the request says a word.
struct Word;

impl Guard for Word {
    fn admit<'a>(&'a self, shown: &'a Shown, _: Asked) -> Admission<'a> {
        Box::pin(async { if shown.token.is_some() { Ok(()) } else { Err(Status::unauthenticated("it says no word")) } })
    }
}

/// A connection that is served, and the streams that come by it.
fn serve() -> (DuplexStream, JoinHandle<()>, mpsc::Receiver<ServerStream>) {
    serve_until(Departure::default())
}

fn serve_until(departure: Departure) -> (DuplexStream, JoinHandle<()>, mpsc::Receiver<ServerStream>) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let (sender, streams) = mpsc::channel(1);
    let services = Services { ads: Some(sender), departure, ..Services::default() };
    let shown = Shown { peer: ([192, 0, 2, 1], 1).into(), certificate: Ok(None), token: None };
    (client, tokio::spawn(guarded(server, services, shown, Arc::new(Word), PATIENCE)), streams)
}

type Client = Connection<TokioIo<DuplexStream>, Empty<Bytes>, TokioExecutor>;

async fn speak(client: DuplexStream) -> (SendRequest<Empty<Bytes>>, Client) {
    http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap()
}

fn call(word: Option<&str>) -> Request<Empty<Bytes>> {
    let request = Request::post(DELTA);
    let request = if let Some(word) = word { request.header("authorization", format!("Bearer {word}")) } else { request };
    request.body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_does_not_stay() {
    let (mut client, serving, _streams) = serve();
    timeout(SOON, client.read_to_end(&mut vec![])).await.unwrap().unwrap();
    timeout(SOON, serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_answers_nothing_but_pings_does_not_stay() {
    let (client, serving, _streams) = serve();
    let (_sender, connection) = speak(client).await;
    tokio::spawn(connection);
    timeout(SOON, serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_again_and_again_does_not_stay() {
    let (client, serving, mut streams) = serve();
    let (mut sender, connection) = speak(client).await;
    tokio::spawn(connection);
    let asking = tokio::spawn(async move {
        while let Ok(answer) = sender.send_request(call(None)).await {
            assert_eq!(answer.headers()["grpc-status"], "16");
            sleep(Duration::from_secs(1)).await;
        }
    });
    timeout(SOON, serving).await.unwrap().unwrap();
    timeout(SOON, asking).await.unwrap().unwrap();
    assert!(streams.recv().await.is_none(), "nobody is asked to serve them");
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_stays_for_as_long_as_he_is_served() {
    let (client, serving, mut streams) = serve();
    let (mut sender, connection) = speak(client).await;
    tokio::spawn(connection);
    let answer = sender.send_request(call(Some("word"))).await.unwrap();
    let stream = streams.recv().await.unwrap();
    sleep(PATIENCE.idle * 2).await;
    assert!(!serving.is_finished());
    // The client reads nothing, not even that it has ended.
    drop(stream);
    sleep(PATIENCE.idle / 2).await;
    assert!(!serving.is_finished(), "it may ask again");
    timeout(PATIENCE.idle, serving).await.unwrap().unwrap();
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_server_that_ends_is_told_that_another_may_serve() {
    const WITHIN: Duration = Duration::from_secs(5);
    let departure = Departure::default();
    let (client, serving, mut streams) = serve_until(departure.clone());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    // It goes on to ask.
    let nothing_yet = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>());
    let request = Request::post(DELTA).header("authorization", "Bearer word").body(nothing_yet).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let mut stream = streams.recv().await.unwrap();
    let all = tokio::spawn(async move { departure.begin(WITHIN).await });
    // Who serves hears that nothing more comes, and lets go.
    assert!(timeout(WITHIN * 2, stream.requests.recv()).await.unwrap().is_none());
    drop(stream);
    let ended = timeout(SOON, answer.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(ended.trailers().unwrap()["grpc-status"], "14");
    timeout(SOON, serving).await.unwrap().unwrap();
    timeout(SOON, all).await.unwrap().unwrap();
    assert!(sender.ready().await.is_err(), "nothing more is asked here");
}
