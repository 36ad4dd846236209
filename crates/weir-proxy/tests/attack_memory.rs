//! What those who attack make the proxy hold: a bound for each kind, whatever they do.
//!
//! A binary of its own, because its allocator counts for the whole process. Attackers and instances are threads that allocate next to
//! nothing, so that what is counted is the proxy's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and tells what it measured")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
#[path = "proxy/support/mod.rs"]
mod support;

use support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, fields, frame, request};
use support::{Proxy, in_time, routes};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
static MUCH: [u8; 64 << 10] = [b'x'; 64 << 10];

/// What an instance does with each connection.
type Instance = fn(&mut TcpStream);

/// Answers at once, and without end.
fn talks(stream: &mut TcpStream) {
    let mut room = [0; 4096];
    let _ = stream.read(&mut room);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    while stream.write_all(&MUCH).is_ok() {}
}

/// Takes nothing.
fn is_deaf(stream: &mut TcpStream) {
    let _open = stream;
    thread::park();
}

/// Opens connections, and says on them what an attacker says.
type Attack = fn(SocketAddr) -> Vec<TcpStream>;

/// An instance, and a cluster of it.
fn instance(does: Instance) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::Builder::new().stack_size(64 << 10).spawn(move || does(&mut stream)).unwrap();
        }
    });
    json!({
        "name": "a",
        "type": "STATIC",
        "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": [
            {"endpoint": {"address": {"socketAddress": {"address": address.ip().to_string(), "portValue": address.port()}}}}
        ]}]},
    })
}

/// Writes as much as is taken, and no more than this.
fn write_what_is_taken(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = stream.write_all(bytes);
}

/// What is held more while attackers have their connections open; the most that was seen, once nothing moves any more.
async fn held(does: Instance, route: Value, attack: Attack) -> usize {
    let proxy = Proxy::start(routes(json!([{"match": {"prefix": "/"}, "route": route}])), &[instance(does)]).await;
    let address = proxy.address();
    let opened = || tokio::task::spawn_blocking(move || attack(address));
    // What is needed but once is there.
    drop(opened().await.unwrap());
    in_time("they are gone", async {
        while proxy.open_connections() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    let before = dhat::HeapStats::get().curr_bytes;
    let open = opened().await.unwrap();
    let (began, mut held) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(2) {
        held = held.max(dhat::HeapStats::get().curr_bytes.saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(open);
    proxy.stop_within(Duration::from_millis(100)).await;
    held
}

fn to_a() -> Value {
    json!({"cluster": "a", "timeout": "0s"})
}

fn connections(address: SocketAddr, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        write_what_is_taken(&mut stream, says);
        open.push(stream);
    }
    open
}

fn slow_heads(address: SocketAddr) -> Vec<TcpStream> {
    let head = [b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ", &MUCH[..1000]].concat();
    connections(address, 200, &head)
}

fn single_byte_chunks(address: SocketAddr) -> Vec<TcpStream> {
    let upload = [&b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"[..], &b"1\r\nx\r\n".repeat(155_000)].concat();
    connections(address, 1, &upload)
}

fn unread_answers(address: SocketAddr) -> Vec<TcpStream> {
    connections(address, 50, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn pipelines(address: SocketAddr) -> Vec<TcpStream> {
    connections(address, 20, &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10_000))
}

/// Many streams on one connection whose windows are like this; nothing is read.
fn streams(address: SocketAddr, window: [u8; 4]) -> Vec<TcpStream> {
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend(frame(SETTINGS, 0, 0, &[&[0, 4], &window[..]].concat()));
    said.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
    for stream in (1..1000).step_by(2) {
        said.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/")));
    }
    connections(address, 1, &said)
}

/// Their windows take everything, and the socket nothing.
fn unread_streams(address: SocketAddr) -> Vec<TcpStream> {
    streams(address, [0x7f, 0, 0, 0])
}

/// Their windows take next to nothing.
fn narrow_streams(address: SocketAddr) -> Vec<TcpStream> {
    streams(address, [0, 0, 0, 1])
}

/// Uploads on one connection, each as far as its window goes.
fn uploads(address: SocketAddr) -> Vec<TcpStream> {
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend(frame(SETTINGS, 0, 0, b""));
    let head = fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", "/")]);
    for stream in (1..200).step_by(2) {
        said.extend(frame(HEADERS, END_HEADERS, stream, &head));
        for _ in 0..16 {
            said.extend(frame(DATA, 0, stream, &MUCH[..16_384]));
        }
    }
    connections(address, 1, &said)
}

#[tokio::test]
async fn what_is_held_for_attackers_is_bounded() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let retried = || json!({"cluster": "a", "timeout": "0s", "retryPolicy": {"retryOn": "5xx"}});
    let kinds: [(&str, Instance, Value, Attack, usize); 8] = [
        // A head costs what it holds, and its connection.
        ("200 slow heads of 1 KiB", is_deaf, to_a(), slow_heads, 200 * 6 * KIB),
        ("155,000 single-byte chunks that an instance does not read", is_deaf, to_a(), single_byte_chunks, 256 * KIB),
        ("the same where they may have to be sent again", is_deaf, retried(), single_byte_chunks, MIB),
        ("50 answers that a client does not read", talks, to_a(), unread_answers, 50 * 160 * KIB),
        ("20 pipelines of 10,000 requests", talks, to_a(), pipelines, 20 * 160 * KIB),
        ("500 streams of one connection, of which nothing is read", talks, to_a(), unread_streams, 20 * MIB),
        ("the same with windows of one byte", talks, to_a(), narrow_streams, 20 * MIB),
        ("100 uploads on one connection that an instance does not read", is_deaf, to_a(), uploads, 4 * MIB),
    ];
    let mut beyond = vec![];
    for (what, does, route, attack, bound) in kinds {
        let held = held(does, route, attack).await;
        eprintln!("{what}: {} KiB of {}", held / KIB, bound / KIB);
        if held > bound {
            beyond.push((what, held, bound));
        }
    }
    assert!(beyond.is_empty(), "{beyond:?}");
}
