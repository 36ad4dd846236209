//! Requests that the control plane has dropped, to spare the endpoints (`drop_overloads`).

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

fn dropping(upstream: &Upstream, percent: u32) -> Value {
    let mut cluster = cluster("a", &[upstream], json!({}));
    let share = json!({"numerator": percent, "denominator": "HUNDRED"});
    cluster["loadAssignment"]["policy"] = json!({"dropOverloads": [{"category": "throttle", "dropPercentage": share}]});
    cluster
}

#[tokio::test]
async fn requests_that_are_dropped_reach_no_instance() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[dropping(&upstream, 100)]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(headers.contains(&"x-envoy-unconditional-drop-overload: true".to_owned()), "{headers:?}");
    client.hears("unconditional drop overload").await;
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UDO unconditional_drop_overload"]);
}

#[tokio::test]
async fn some_are_dropped_and_the_others_pass() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[dropping(&upstream, 50)]).await;
    let (mut passed, mut dropped) = (0, 0);
    for _ in 0..1000 {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        tokio::select! {
            mut instance = upstream.accept() => {
                instance.head().await;
                instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
                passed += 1;
            }
            (status, headers) = client.answer() => {
                assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
                assert!(headers.contains(&"x-envoy-drop-overload: true".to_owned()), "{headers:?}");
                client.hears("drop overload").await;
                dropped += 1;
            }
        }
        if passed > 3 && dropped > 3 {
            break;
        }
    }
    assert!(passed > 3 && dropped > 3, "{passed} passed, {dropped} were dropped");
    assert!(proxy.stop().await.contains(&"503 DO drop_overload".to_owned()));
}

#[tokio::test]
async fn copies_are_dropped_as_requests_are() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let mut copied = dropping(&two, 100);
    copied["name"] = json!("b");
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "requestMirrorPolicies": [{"cluster": "b"}]}});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&one], json!({})), copied]).await;
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = tokio::select! {
            instance = one.accept() => instance,
            _ = two.accept() => panic!("it is asked"),
        };
        instance.head().await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}
