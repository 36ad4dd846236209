//! A process without descriptors: it waits for some without spinning, and goes on when they come back.
//!
//! A binary of its own, because the limit counts for the whole process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[allow(dead_code, unused_imports, reason = "this test needs a part of it")]
#[path = "proxy/support/mod.rs"]
mod support;

use support::{Proxy, in_time, routes};

/// The processor time that this process has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Takes all descriptors that there are.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn accepting_neither_spins_nor_ends_without_descriptors() {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).unwrap();
    let routes = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    let proxy = Proxy::start(routes, &[]).await;
    let mut taken = exhaust();
    // One is for the client, and so there is none for the proxy.
    taken.pop();
    let mut waiting = proxy.connect().await;
    waiting.say(GET).await;
    let begun = used();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let burnt = used() - begun;
    assert!(burnt < Duration::from_millis(300), "it spins: {burnt:?} of 1.5 s");
    drop(taken);
    let answer = in_time("the waiting client is served", waiting.end()).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let failures = proxy.listener_statistic("weir_listener_accept_failures_total").await;
    // 5, 10, 20, 40, 80, 160, 320, 500, 500 milliseconds.
    assert!((1..=12).contains(&failures), "{failures}");
    proxy.stop().await;
}
