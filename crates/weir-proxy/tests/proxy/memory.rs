//! Where memory passes its bound: idle connections go first, new ones are refused, and what is in progress ends well.

use serde_json::json;
use weir_config::memory::MemoryBound;

use crate::support::{Proxy, Upstream, Wire, cluster, in_time, routes, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// What every process has taken.
const PASSED: u64 = 1;
const NOTHING: MemoryBound = MemoryBound { most: PASSED, shed_idle: None, refuse_connections: None, refuse_requests: None };

async fn start() -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    (Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await, upstream)
}

/// A request that has reached the instance: both ends.
async fn in_progress(proxy: &Proxy, upstream: &Upstream) -> (Wire, Wire) {
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    (client, instance)
}

/// It is answered, whatever has happened meanwhile.
async fn ends_well(client: &mut Wire, instance: &mut Wire) {
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    client.hears("ok").await;
}

#[tokio::test]
async fn further_requests_are_refused_and_those_in_progress_end() {
    let (proxy, upstream) = start().await;
    let (mut client, mut instance) = in_progress(&proxy, &upstream).await;
    proxy.bound_memory(MemoryBound { refuse_requests: Some(0.9), ..NOTHING });
    let refused = async {
        loop {
            let mut other = proxy.connect().await;
            other.say(GET).await;
            // It may have come before the memory was looked at.
            tokio::select! {
                (status, _) = other.answer() => {
                    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
                    return other.hears("envoy overloaded").await;
                }
                _ = upstream.accept() => {}
            }
        }
    };
    in_time("one is refused", refused).await;
    ends_well(&mut client, &mut instance).await;
    client.say(GET).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    assert!(proxy.ask_admin("/stats").await.contains("envoy_http_downstream_rq_overload_close 2"));
    // And it passes.
    proxy.bound_memory(MemoryBound::new(u64::MAX));
    let served = async {
        loop {
            let mut other = proxy.connect().await;
            other.say(GET).await;
            tokio::select! {
                _ = other.answer() => {}
                _ = async { tokio::select! { _ = upstream.accept() => (), _ = instance.head() => () } } => return,
            }
        }
    };
    in_time("one is taken again", served).await;
    drop(client);
    assert!(proxy.stop().await.contains(&"503 - overload".to_owned()));
}

#[tokio::test]
async fn further_connections_are_refused() {
    let (proxy, upstream) = start().await;
    let (mut client, mut instance) = in_progress(&proxy, &upstream).await;
    proxy.bound_memory(MemoryBound { refuse_connections: Some(0.9), ..NOTHING });
    let refused = async {
        loop {
            let mut other = proxy.connect().await;
            if tokio::time::timeout(std::time::Duration::from_millis(50), other.line()).await.is_ok_and(|line| line.is_none()) {
                return;
            }
        }
    };
    in_time("one is closed", refused).await;
    ends_well(&mut client, &mut instance).await;
    assert!(!proxy.ask_admin("/stats").await.contains("envoy_listener_downstream_cx_overload_reject 0"));
}

#[tokio::test]
async fn idle_connections_go_first_on_both_sides() {
    let (proxy, upstream) = start().await;
    let (mut busy, mut instance) = in_progress(&proxy, &upstream).await;
    let (mut idle, mut pooled) = in_progress(&proxy, &upstream).await;
    ends_well(&mut idle, &mut pooled).await;
    proxy.bound_memory(MemoryBound { shed_idle: Some(0.9), ..NOTHING });
    assert_eq!((idle.end().await.as_str(), pooled.end().await.as_str()), ("", ""));
    ends_well(&mut busy, &mut instance).await;
    // With its answer its connection is to end.
    assert_eq!(busy.end().await, "");
}
