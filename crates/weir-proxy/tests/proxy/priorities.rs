//! Instances of lower priorities, and destinations that are in no list.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A cluster whose second instance is of a lower priority.
fn in_order(instances: &[&Upstream; 2]) -> Value {
    let mut cluster = cluster("a", &instances[..1], json!({}));
    let mut second = self::cluster("a", &instances[1..], json!({}))["loadAssignment"]["endpoints"][0].clone();
    second["priority"] = json!(1);
    cluster["loadAssignment"]["endpoints"].as_array_mut().unwrap().push(second);
    cluster
}

#[tokio::test]
async fn the_third_try_goes_to_another_priority() {
    let instances = [Upstream::start().await, Upstream::start().await];
    let mut route = to("a");
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "updateFrequency": 2,
    });
    let priority = json!({"name": "envoy.retry_priorities.previous_priorities", "typedConfig": config});
    route["route"]["retryPolicy"] = json!({"retryOn": "reset", "numRetries": 2, "retryPriority": priority});
    let proxy = Proxy::start(routes(json!([route])), &[in_order(&[&instances[0], &instances[1]])]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    for _ in 0..2 {
        let mut first = instances[0].accept().await;
        first.head().await;
        first.reset();
    }
    let mut second = instances[1].accept().await;
    second.head().await;
    second.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn without_an_original_destination_there_is_nobody_to_ask() {
    let passthrough = json!({"name": "PassthroughCluster", "type": "ORIGINAL_DST", "lbPolicy": "CLUSTER_PROVIDED"});
    let proxy = Proxy::start(routes(json!([to("PassthroughCluster")])), &[passthrough]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UH no_healthy_upstream"]);
}

/// The name of the cluster goes to the log, the request to the first of its members that has somebody.
#[tokio::test]
async fn a_cluster_may_stand_for_others_the_first_of_them_that_is_well() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let config =
        json!({"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["gone", "a", "b"]});
    let all =
        json!({"name": "all", "lbPolicy": "CLUSTER_PROVIDED", "clusterType": {"name": "envoy.clusters.aggregate", "typedConfig": config}});
    for (members, meant) in [(vec![&first], &first), (vec![], &second)] {
        let clusters = [all.clone(), cluster("a", &members, json!({})), cluster("b", &[&second], json!({}))];
        let proxy = Proxy::start(routes(json!([to("all")])), &clusters).await;
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let mut instance = meant.accept().await;
        instance.head().await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}
