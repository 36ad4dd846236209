//! Bytes that are passed on as they are.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster};

#[tokio::test]
async fn what_one_side_says_the_other_hears_to_the_end() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::of_tcp(json!({}), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    // More than fits into any buffer on the way.
    let much = "0123456789abcdef".repeat(1 << 18);
    let mut instance = {
        let saying = async {
            client.say(&much).await;
            client.finish().await;
        };
        let hearing = async {
            let mut instance = upstream.accept().await;
            assert_eq!(instance.end().await.len(), much.len());
            instance
        };
        tokio::join!(saying, hearing).1
    };
    // The other direction is still open.
    instance.say("heard").await;
    drop(instance);
    assert_eq!(client.end().await, "heard");
    drop(client);
    assert_eq!(proxy.stop().await, ["0 - -"]);
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::of_tcp(json!({"idleTimeout": "0.5s"}), &[cluster("a", &[&upstream], json!({}))]).await;
    let started = Instant::now();
    let mut client = proxy.connect().await;
    client.say("hello").await;
    let mut instance = upstream.accept().await;
    instance.hears("hello").await;
    assert_eq!((client.end().await, instance.end().await), (String::new(), String::new()));
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    assert_eq!(proxy.stop().await, ["0 SI -"]);
}

#[tokio::test]
async fn connections_to_a_dead_instance_are_held_against_it() {
    let (alive, dead) = (Upstream::start().await, Upstream::start().await);
    let more = json!({
        "lbPolicy": "ROUND_ROBIN",
        "outlierDetection": {"consecutive5xx": 2, "maxEjectionPercent": 50, "baseEjectionTime": "60s"},
        "commonLbConfig": {"healthyPanicThreshold": {}},
    });
    let clusters = [cluster("a", &[&alive, &dead], more)];
    drop(dead);
    let proxy = Proxy::of_tcp(json!({}), &clusters).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut client = proxy.connect().await;
        tokio::select! {
            mut instance = alive.accept() => {
                instance.say("hello").await;
                client.hears("hello").await;
            }
            said = client.end() => {
                assert_eq!(said, "");
                refused += 1;
            }
        }
    }
    // In turn it would be every second one.
    assert_eq!(refused, 2);
    let log = proxy.stop().await;
    assert_eq!(log.iter().filter(|line| line.split(' ').nth(1) == Some("UF")).count(), 2, "{log:?}");
}

#[tokio::test]
async fn connections_keep_to_the_limit_of_their_cluster() {
    let upstream = Upstream::start().await;
    let more = json!({"circuitBreakers": {"thresholds": [{"maxConnections": 1}]}});
    let proxy = Proxy::of_tcp(json!({}), &[cluster("a", &[&upstream], more)]).await;
    let mut first = proxy.connect().await;
    first.say("hello").await;
    let mut instance = upstream.accept().await;
    instance.hears("hello").await;
    let mut second = proxy.connect().await;
    tokio::select! {
        said = second.end() => assert_eq!(said, ""),
        _ = upstream.accept() => panic!("there is one connection too many"),
    }
    drop((first, second, instance));
    let mut log = proxy.stop().await;
    log.sort();
    assert_eq!(log, ["0 - -", "0 UO -"]);
}

#[tokio::test]
async fn a_connection_is_tried_elsewhere_where_none_can_be_made() {
    let (alive, dead) = (Upstream::start().await, Upstream::start().await);
    let clusters = [cluster("a", &[&alive, &dead], json!({"lbPolicy": "ROUND_ROBIN"}))];
    drop(dead);
    let proxy = Proxy::of_tcp(json!({"maxConnectAttempts": 2}), &clusters).await;
    // One of the two comes to the dead one first.
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.say("hello").await;
        tokio::select! {
            mut instance = alive.accept() => instance.hears("hello").await,
            said = client.end() => panic!("nobody else is tried: {said}"),
        }
    }
}
