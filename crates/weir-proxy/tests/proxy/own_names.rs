//! Requests that get the name of the instance that they go to (`auto_host_rewrite`).

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes};

const GET: &str = "GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

fn route(more: Value) -> Value {
    let mut route = json!({"cluster": "a", "autoHostRewrite": true, "appendXForwardedHost": true});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"match": {"prefix": "/"}, "route": route})
}

/// A cluster of instances, one priority each, of which each has this name, or none.
fn named(instances: &[(&Upstream, &str)]) -> Value {
    let instances_alone: Vec<&Upstream> = instances.iter().map(|(instance, _)| *instance).collect();
    let mut cluster = cluster("a", &instances_alone, json!({"lbPolicy": "ROUND_ROBIN"}));
    let endpoints = cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"].as_array().unwrap().clone();
    let of = |(priority, (mut endpoint, (_, name))): (usize, (Value, &(&Upstream, &str)))| {
        endpoint["endpoint"]["hostname"] = json!(name);
        json!({"priority": priority, "lbEndpoints": [endpoint]})
    };
    let localities: Vec<Value> = endpoints.into_iter().zip(instances).enumerate().map(of).collect();
    cluster["loadAssignment"]["endpoints"] = json!(localities);
    cluster
}

fn host_lines(head: &[String]) -> Vec<&str> {
    let of_host = |line: &&str| ["host: ", "x-envoy-original-host: ", "x-forwarded-host: "].iter().any(|name| line.starts_with(name));
    head.iter().map(String::as_str).filter(of_host).collect()
}

/// Retries on 5xx, in another priority each time.
fn elsewhere() -> Value {
    let previous = json!({
        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "updateFrequency": 1,
    });
    let priority = json!({"name": "envoy.retry_priorities.previous_priorities", "typedConfig": previous});
    json!({"retryPolicy": {"retryOn": "5xx", "numRetries": 2, "retryPriority": priority}})
}

#[tokio::test]
async fn each_attempt_names_the_instance_that_it_goes_to() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let proxy = Proxy::start(routes(json!([route(elsewhere())])), &[named(&[(&one, "one.test"), (&two, "two.test")])]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = one.accept().await;
    let head = instance.head().await;
    assert_eq!(host_lines(&head), ["host: one.test", "x-envoy-original-host: shop.test", "x-forwarded-host: shop.test"]);
    instance.say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let mut instance = two.accept().await;
    let head = instance.head().await;
    assert_eq!(host_lines(&head), ["host: two.test", "x-envoy-original-host: one.test", "x-forwarded-host: shop.test,one.test"]);
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_instance_that_was_never_spoken_to_leaves_no_name() {
    let (dead, alive) = (Upstream::start().await, Upstream::start().await);
    let clusters = [named(&[(&dead, "dead.test"), (&alive, "")])];
    drop(dead);
    let proxy = Proxy::start(routes(json!([route(elsewhere())])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut instance = alive.accept().await;
    // Nor has this one a name.
    assert_eq!(host_lines(&instance.head().await), ["host: shop.test"]);
}

#[tokio::test]
async fn an_instance_that_is_found_by_name_is_called_so_even_if_that_is_an_address() {
    for (kind, host) in [("STRICT_DNS", "127.0.0.1"), ("STRICT_DNS", "localhost"), ("LOGICAL_DNS", "localhost")] {
        let upstream = Upstream::start().await;
        let mut cluster = cluster("a", &[&upstream], json!({"type": kind, "dnsLookupFamily": "V4_ONLY"}));
        cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"] = json!(host);
        let proxy = Proxy::start(routes(json!([route(json!({"appendXForwardedHost": false}))])), &[cluster]).await;
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let mut instance = upstream.accept().await;
        let head = instance.head().await;
        assert_eq!(host_lines(&head), [format!("host: {host}").as_str(), "x-envoy-original-host: shop.test"], "{kind}");
    }
}
