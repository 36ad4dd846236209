//! What a peer chooses makes no series of its own.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster, routes, to};

/// What stands in a label of a proxy's requests.
fn labels(statistics: &str, name: &str) -> BTreeSet<String> {
    let requests = statistics.lines().filter(|line| line.starts_with("istio_requests_total{"));
    let value = |line: &str| Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.to_owned());
    requests.filter_map(value).collect()
}

#[tokio::test]
async fn statuses_methods_and_hosts_that_a_peer_makes_up_are_no_labels_of_their_own() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    let mut instance = None;
    let statuses = [0, 5, 16].into_iter().chain(17..117);
    for status in statuses.map(|status| status.to_string()).chain(["abc".to_owned()]) {
        for content_type in ["application/grpc", "text/plain"] {
            let head = format!("POST /s/{status} HTTP/1.1\r\nhost: h{status}\r\ncontent-type: {content_type}\r\ncontent-length: 0\r\n\r\n");
            client.say(&head).await;
            let instance = match &mut instance {
                Some(instance) => instance,
                None => instance.insert(upstream.accept().await),
            };
            instance.head().await;
            instance.say(&format!("HTTP/1.1 200 OK\r\ngrpc-status: {status}\r\ncontent-length: 0\r\n\r\n")).await;
            client.head().await;
        }
    }
    let statistics = proxy.ask_admin("/stats").await;
    let of_grpc = labels(&statistics, "grpc_response_status");
    assert_eq!(of_grpc, BTreeSet::from(["", "-1", "0", "5", "16"].map(str::to_owned)));
    let series = statistics.lines().filter(|line| line.starts_with("istio_requests_total{")).count();
    assert_eq!(series, 5, "{statistics}");
    assert!(!statistics.contains("h17") && !statistics.contains("POST"), "{statistics}");
}
