//! Clients that are slow, or ask for more than they should.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::Stage;
use crate::http2::http2;
use crate::support::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, fields, frame, request};
use crate::support::{Proxy, Wire, in_time};

const HALF_A_HEAD: &str = "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ";
const HALF_A_BODY: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// So many attack at once.
const MANY: usize = 200;

/// Many clients that have all said this.
async fn say(proxy: &Proxy, text: &str) -> Vec<Wire> {
    let mut clients = vec![];
    for _ in 0..MANY {
        let mut client = proxy.connect().await;
        client.say(text).await;
        clients.push(client);
    }
    clients
}

/// The head of an upload over HTTP/2.
fn upload() -> Vec<u8> {
    fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", "/")])
}

/// Slowloris.
#[tokio::test]
async fn slow_heads() {
    let stage = Stage::with(json!({"requestHeadersTimeout": "1s"}), json!({})).await;
    for mut client in stage.unnoticed(async || say(&stage.proxy, HALF_A_HEAD).await).await {
        assert_eq!(client.answer().await.0, "HTTP/1.1 408 Request Timeout");
    }
}

/// Heads that go on in another frame that never comes, and frames that stop in the middle.
#[tokio::test]
async fn slow_heads_of_http2() {
    let stage = Stage::with(json!({"requestHeadersTimeout": "1s"}), json!({})).await;
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("/"));
    let begun = frame(HEADERS, END_STREAM, 1, &request("/"));
    let going_on = [&begun[..], &frame(CONTINUATION, 0, 1, b"\0\x01x\x011")].concat();
    let attack = async || {
        let mut clients = vec![];
        for said in [&begun[..], &going_on, &whole[..whole.len() - 1]].into_iter().cycle().take(MANY) {
            let mut client = Frames::connect(&stage.proxy).await;
            client.say(said).await;
            clients.push(client);
        }
        clients
    };
    for mut client in stage.unnoticed(attack).await {
        let calm = u32::from(h2::Reason::ENHANCE_YOUR_CALM).to_be_bytes();
        assert_eq!(client.hear(GOAWAY).await.2[4..8], calm);
        assert!(client.heard_or_end(GOAWAY).await.is_none());
    }
}

/// R.U.D.Y.
#[tokio::test]
async fn slow_bodies() {
    let stage = Stage::with(json!({"streamIdleTimeout": "1s"}), json!({})).await;
    for mut client in stage.unnoticed(async || say(&stage.proxy, HALF_A_BODY).await).await {
        assert_eq!(client.answer().await.0, "HTTP/1.1 408 Request Timeout");
    }
}

#[tokio::test]
async fn slow_bodies_of_http2() {
    let stage = Stage::with(json!({"streamIdleTimeout": "1s"}), http2()).await;
    let attack = async || {
        let mut client = Frames::connect(&stage.proxy).await;
        for stream in (1..2 * MANY as u32).step_by(2) {
            client.say(&[frame(HEADERS, END_HEADERS, stream, &upload()), frame(DATA, 0, stream, b"half")].concat()).await;
        }
        client
    };
    let mut client = stage.unnoticed(attack).await;
    for _ in 0..MANY {
        client.hear(HEADERS).await;
    }
}

/// Answers that nobody reads, from an instance that has them at once.
#[tokio::test]
async fn slow_readers() {
    const LENGTH: usize = 8 << 20;
    let stage = Stage::with(json!({"streamIdleTimeout": "1s"}), json!({})).await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
    let part: &'static [u8] = Box::leak(vec![b'x'; 64 << 10].into_boxed_slice());
    let attack = async || {
        let mut clients = vec![];
        for _ in 0..MANY {
            let mut client = stage.proxy.connect().await;
            client.say(GET).await;
            clients.push(client);
            let mut instance = stage.upstream.accept().await;
            instance.head().await;
            instance.say(&head).await;
            let mut instance = instance.into_stream();
            tokio::spawn(async move { while instance.write_all(part).await.is_ok() {} });
        }
        clients
    };
    let clients = stage.unnoticed(attack).await;
    let are_gone = async {
        while stage.proxy.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("their connections end", are_gone).await;
    drop(clients);
}

/// As many bodies as one connection may carry, byte by byte.
#[tokio::test]
async fn single_byte_chunks() {
    const CHUNKS: usize = 20_000;
    let stage = Stage::new().await;
    let attack = async || {
        let mut client = stage.proxy.connect().await;
        client.say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut instance = stage.upstream.accept().await;
        instance.head().await;
        let saying = async {
            for _ in 0..CHUNKS / 1000 {
                client.say(&"1\r\nx\r\n".repeat(1000)).await;
            }
            client.say("0\r\n\r\n").await;
        };
        let hearing = async {
            let (mut length, mut line) = (0, instance.line().await);
            while let Some(size) = line.and_then(|line| usize::from_str_radix(&line, 16).ok()).filter(|size| *size > 0) {
                instance.skip(size + 2).await;
                length += size;
                line = instance.line().await;
            }
            length
        };
        assert_eq!(tokio::join!(saying, hearing).1, CHUNKS);
    };
    stage.unnoticed(attack).await;
}

/// The same in frames of HTTP/2; each costs a window, as it does its sender.
#[tokio::test]
async fn single_byte_frames() {
    const FRAMES: usize = 20_000;
    let stage = Stage::new().await;
    let attack = async || {
        let mut client = Frames::connect(&stage.proxy).await;
        client.say(&frame(HEADERS, END_HEADERS, 1, &upload())).await;
        let mut instance = stage.upstream.accept().await;
        instance.head().await;
        let saying = async {
            for _ in 0..FRAMES / 1000 {
                client.say(&frame(DATA, 0, 1, b"x").repeat(1000)).await;
            }
            client.say(&frame(DATA, END_STREAM, 1, b"")).await;
        };
        let hearing = async {
            let mut line = instance.line().await;
            while line.as_deref().is_some_and(|line| line != "0") {
                line = instance.line().await;
            }
        };
        tokio::join!(saying, hearing);
    };
    stage.unnoticed(attack).await;
}

/// Heads of more and larger lines than there may be, one connection after the other.
#[tokio::test]
async fn header_floods() {
    let stage = Stage::new().await;
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(5000));
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(100 << 10));
    let attack = async || {
        for text in [&many, &large].into_iter().cycle().take(MANY) {
            let mut client = stage.proxy.connect().await;
            client.say(text).await;
            assert_eq!(client.answer().await.0, "HTTP/1.1 431 Request Header Fields Too Large");
        }
    };
    stage.unnoticed(attack).await;
}

/// Requests by the thousand in one piece, whose answers nobody reads.
#[tokio::test]
async fn pipelines_that_are_not_read() {
    let Stage { proxy, upstream } = Stage::with(json!({"streamIdleTimeout": "1s"}), json!({})).await;
    upstream.answer_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let attack = async || {
        let mut clients = vec![];
        for _ in 0..20 {
            let client = proxy.connect().await.into_stream();
            // As much as anybody takes.
            while client.writable().await.is_ok() && client.try_write(GET.repeat(1000).as_bytes()).is_ok() {}
            clients.push(client);
        }
        clients
    };
    drop(super::unnoticed_at(proxy.address(), attack).await);
}

/// Clients that ask and go, again and again: the instance is not to blame, and stays in use.
#[tokio::test]
async fn aborts_in_a_row() {
    let detection = json!({"consecutive5xx": 1, "consecutiveGatewayFailure": 1, "enforcingConsecutiveGatewayFailure": 100,
        "maxEjectionPercent": 100, "baseEjectionTime": "60s"});
    let more = json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let stage = Stage::with(json!({}), more).await;
    let attack = async || {
        for text in [GET, HALF_A_BODY].into_iter().cycle().take(MANY) {
            let mut client = stage.proxy.connect().await;
            client.say(text).await;
            let mut instance = stage.upstream.accept().await;
            instance.head().await;
            client.reset();
            instance.end().await;
        }
    };
    stage.unnoticed(attack).await;
    let mut client = stage.proxy.connect().await;
    client.say(GET).await;
    let mut instance = stage.upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}
