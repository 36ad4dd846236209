//! Mirrored requests: as the request itself, and of no consequence for it.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A head without what a copy says of its sender, which must be there.
fn without_sender(mut head: Vec<String>) -> Vec<String> {
    for name in ["x-envoy-internal: true", "x-forwarded-for: "] {
        let position = head.iter().position(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {head:?}"));
        head.remove(position);
    }
    head
}

/// A route to `a`, mirrored to `b`.
fn mirrored() -> Value {
    let mirror = json!({"cluster": "b", "disableShadowHostSuffixAppend": true});
    routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": "a", "prefixRewrite": "/new/", "requestMirrorPolicies": [mirror]}}]))
}

#[tokio::test]
async fn the_copy_is_like_the_request_and_its_answer_is_for_nobody() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf").await;
    let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
    let head = instance.head().await;
    assert_eq!(head[0], "POST /new/x HTTP/1.1");
    assert_eq!(without_sender(mirror.head().await), head);
    client.say("half").await;
    instance.hears("halfhalf").await;
    mirror.hears("halfhalf").await;
    mirror.say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await;
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    client.hears("ok").await;
    // Both connections can be used again.
    client.say("GET /y HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(instance.head().await[0], "GET /new/y HTTP/1.1");
    assert_eq!(mirror.head().await[0], "GET /new/y HTTP/1.1");
    instance.say(OK).await;
    client.head().await;
    drop((client, mirror));
    assert_eq!(proxy.stop().await, ["200 - via_upstream"; 2]);
}

#[tokio::test]
async fn what_has_no_instance_to_go_to_is_copied_to_nobody() {
    let mirror = Upstream::start().await;
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[], json!({})), cluster("b", &[&mirror], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    // A copy would have been on its way before the answer was.
    assert_eq!(proxy.stop().await, ["503 UH no_healthy_upstream"]);
    assert!(mirror.was_left_alone());
}

#[tokio::test]
async fn a_copy_says_who_sends_it_and_that_it_is_the_first_attempt() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let mut table = mirrored();
    table["virtualHosts"][0]["includeRequestAttemptCount"] = json!(true);
    let manager = json!({"skipXffAppend": true});
    let clusters = [cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))];
    let proxy = Proxy::with_manager(manager, table, &clusters).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.7\r\n\r\n").await;
    let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
    let (head, copied) = (instance.head().await, mirror.head().await);
    assert!(head.contains(&"x-forwarded-for: 192.0.2.7".to_owned()), "{head:?}");
    let forwarded = copied.iter().find_map(|line| line.strip_prefix("x-forwarded-for: 192.0.2.7,")).unwrap_or_else(|| panic!("{copied:?}"));
    assert!(forwarded.parse::<std::net::IpAddr>().is_ok(), "{forwarded}");
    for line in ["x-envoy-internal: true", "x-envoy-attempt-count: 1"] {
        assert!(copied.contains(&line.to_owned()), "no {line} in {copied:?}");
    }
}

#[tokio::test]
async fn a_copy_has_the_trailers_of_the_request() {
    let options = json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {"enableTrailers": true}},
    }}});
    for (of_copy, heard) in [(options.clone(), "2\r\nok\r\n0\r\nx-own: 1\r\n\r\n"), (json!({}), "2\r\nok\r\n0\r\n\r\n")] {
        let (one, two) = (Upstream::start().await, Upstream::start().await);
        let manager = json!({"httpProtocolOptions": {"enableTrailers": true}});
        let clusters = [cluster("a", &[&one], options.clone()), cluster("b", &[&two], of_copy)];
        let proxy = Proxy::with_manager(manager, mirrored(), &clusters).await;
        let mut client = proxy.connect().await;
        client.say("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-own\r\n\r\n").await;
        client.say("2\r\nok\r\n0\r\nx-own: 1\r\ncookie: a=1\r\n\r\n").await;
        let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
        instance.head().await;
        instance.hears("2\r\nok\r\n0\r\nx-own: 1\r\n\r\n").await;
        mirror.head().await;
        mirror.hears(heard).await;
    }
}

#[tokio::test]
async fn nobody_waits_for_a_mirror_that_says_nothing_or_is_not_there() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let clusters = [cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))];
    for there in [clusters.as_slice(), &clusters[..1]] {
        let proxy = Proxy::start(mirrored(), there).await;
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = one.accept().await;
        instance.head().await;
        instance.say(OK).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn a_copy_that_falls_behind_is_given_up_and_the_request_goes_on() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 128;
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", PIECE * PIECES)).await;
    // The mirror reads nothing.
    let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
    instance.head().await;
    let piece = "x".repeat(PIECE);
    for _ in 0..PIECES {
        client.say(&piece).await;
        instance.hears(&piece).await;
    }
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    mirror.head().await;
    let copied = mirror.end().await.len();
    assert!(copied < PIECE * PIECES, "it was not given up");
}

/// The client asks so often, and the instance answers well.
async fn ask(proxy: &Proxy, one: &Upstream, times: usize) {
    for _ in 0..times {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut instance = one.accept().await;
        instance.head().await;
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn an_instance_that_fails_copies_is_left_out() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let detection = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "60s"});
    let more = json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], more)]).await;
    ask(&proxy, &one, 1).await;
    let mut mirror = two.accept().await;
    mirror.head().await;
    mirror.say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    assert_eq!(mirror.end().await, "");
    tokio::select! {
        () = ask(&proxy, &one, 5) => {}
        _ = two.accept() => panic!("it is asked again"),
    }
}

#[tokio::test]
async fn a_copy_that_breaks_off_with_the_clients_upload_is_held_against_nobody() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let detection = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "60s"});
    let more = json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], more)]).await;
    for _ in 0..5 {
        let mut client = proxy.connect().await;
        client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf").await;
        let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
        instance.head().await;
        mirror.head().await;
        mirror.hears("half").await;
        drop(client);
        assert_eq!(mirror.end().await, "");
        instance.end().await;
    }
}

#[tokio::test]
async fn a_copy_is_framed_like_any_request() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
    for instance in [&mut instance, &mut mirror] {
        let head = instance.head().await;
        assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
        instance.hears("2\r\nok\r\n0\r\n\r\n").await;
    }
    // An answer whose end is in doubt ends the copy's connection, and nothing else.
    mirror.say("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok").await;
    assert_eq!(mirror.end().await, "");
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn copies_keep_to_the_limits_of_their_cluster() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let limits = json!({"circuitBreakers": {"thresholds": [{"maxConnections": 1, "maxPendingRequests": 1}]}});
    let proxy = Proxy::start(mirrored(), &[cluster("a", &[&one], json!({})), cluster("b", &[&two], limits)]).await;
    ask(&proxy, &one, 1).await;
    let mut mirror = two.accept().await;
    mirror.head().await;
    tokio::select! {
        () = ask(&proxy, &one, 3) => {}
        _ = two.accept() => panic!("there is one connection too many"),
    }
    // One of them has waited.
    mirror.say(OK).await;
    mirror.head().await;
}
