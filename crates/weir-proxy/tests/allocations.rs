//! What a plain request allocates in the proxy: what no configuration asks for costs nothing.
//!
//! A binary of its own, because its allocator counts for the whole process. Client and instance are threads that allocate
//! nothing while they talk, so that all that is counted is the proxy's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and tells what it measured")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::json;

#[allow(dead_code, unused_imports, reason = "these tests need a part of it")]
#[path = "proxy/support/mod.rs"]
mod support;

use support::{Proxy, routes};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const REQUEST: &[u8] = b"GET /reviews/1 HTTP/1.1\r\nhost: reviews\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello";
/// So many requests are made before anything is counted, and then.
const WARM_UP: u32 = 300;
const COUNTED: u32 = 1_000;

/// Answers every request on every connection.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                stream.write_all(ANSWER).unwrap();
            }
        });
    }
}

/// Asks so often, on one connection.
fn ask(stream: &mut TcpStream, often: u32) {
    let mut bytes = [0; 4096];
    for _ in 0..often {
        stream.write_all(REQUEST).unwrap();
        let mut heard = 0;
        while !bytes[..heard].ends_with(b"hello") {
            let count = stream.read(&mut bytes[heard..]).unwrap();
            assert!(count > 0, "the proxy ended the connection");
            heard += count;
        }
    }
}

/// Blocks allocated for a request of a proxy with these settings of its cluster.
async fn blocks_for_a_request(instance: SocketAddr, more: serde_json::Value) -> f64 {
    let mut cluster = json!({
        "name": "a",
        "type": "STATIC",
        "loadAssignment": {"clusterName": "a", "endpoints": [{"lbEndpoints": [
            {"endpoint": {"address": {"socketAddress": {"address": instance.ip().to_string(), "portValue": instance.port()}}}}
        ]}]},
    });
    cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let routes = routes(json!([
        {"match": {"prefix": "/", "headers": [{"name": "end-user", "stringMatch": {"exact": "jason"}}]}, "route": {"cluster": "a"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "retryPolicy": {"retryOn": "connect-failure", "numRetries": 2}}},
    ]));
    // As Istio says it: without this a stream that is silent for five minutes is ended, and that takes a timer.
    let proxy = Proxy::with_manager(json!({"streamIdleTimeout": "0s"}), routes, &[cluster]).await;
    let address = proxy.address();
    let counted = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        ask(&mut stream, WARM_UP);
        let before = dhat::HeapStats::get().total_blocks;
        ask(&mut stream, COUNTED);
        dhat::HeapStats::get().total_blocks - before
    });
    let blocks = counted.await.unwrap();
    proxy.stop().await;
    blocks as f64 / f64::from(COUNTED)
}

#[tokio::test]
async fn a_request_allocates_no_more_than_it_must() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let instance = listener.local_addr().unwrap();
    thread::spawn(move || serve(&listener));
    let plain = blocks_for_a_request(instance, json!({})).await;
    eprintln!("a plain request allocates {plain:.2} blocks");
    assert!(plain <= PLAIN, "{plain}");
    let settings = json!({
        "circuitBreakers": {"thresholds": [{"maxConnections": 100, "maxPendingRequests": 100, "maxRequests": 100, "maxRetries": 3}]},
        "outlierDetection": {"consecutive5xx": 5},
    });
    let limited = blocks_for_a_request(instance, settings).await;
    eprintln!("under limits and outlier detection it allocates {limited:.2}");
    assert!(limited <= plain + 0.1, "{limited}");
}

/// Blocks: those of the heads on both sides, and those of the exchange.
const PLAIN: f64 = 9.3;
