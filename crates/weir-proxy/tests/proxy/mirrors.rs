//! Mirrored requests: as the request itself, and of no consequence for it.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

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
    assert_eq!(mirror.head().await, head);
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
