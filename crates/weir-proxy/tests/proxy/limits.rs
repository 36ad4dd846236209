//! Limits of a cluster: what is over them is refused at once, what is within them waits.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A proxy before one instance whose cluster has these thresholds.
async fn limited(thresholds: Value) -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let breakers = json!({"circuitBreakers": {"thresholds": [thresholds]}});
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], breakers)]).await;
    (proxy, upstream)
}

async fn asking(proxy: &Proxy) -> Wire {
    let mut client = proxy.connect().await;
    client.say(GET).await;
    client
}

async fn is_refused(client: &mut Wire) {
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(headers.contains(&"x-envoy-overloaded: true".to_owned()), "{headers:?}");
    client.hears("upstream connect error or disconnect/reset before headers. reset reason: overflow").await;
}

#[tokio::test]
async fn a_request_waits_for_the_only_connection_and_the_next_is_refused() {
    let (proxy, upstream) = limited(json!({"maxConnections": 1, "maxPendingRequests": 1})).await;
    let mut first = asking(&proxy).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    // Whichever of the two comes first waits, and the other one is refused.
    let (mut second, mut third) = (asking(&proxy).await, asking(&proxy).await);
    let mut waiting = tokio::select! {
        () = is_refused(&mut second) => third,
        () = is_refused(&mut third) => second,
    };
    instance.say(OK).await;
    first.head().await;
    // Over the same connection: there is no other.
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(waiting.answer().await.0, "HTTP/1.1 200 OK");
    drop((first, waiting));
    let mut log = proxy.stop().await;
    log.sort();
    let refused = "503 UO upstream_reset_before_response_started{overflow}";
    assert_eq!(log, ["200 - via_upstream", "200 - via_upstream", refused]);
}

#[tokio::test]
async fn who_waits_gets_a_connection_of_its_own_when_the_other_ends() {
    let (proxy, upstream) = limited(json!({"maxConnections": 1})).await;
    let mut first = asking(&proxy).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    let mut second = asking(&proxy).await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    first.head().await;
    drop(instance);
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(second.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn so_many_requests_at_once_and_no_more() {
    let (proxy, upstream) = limited(json!({"maxRequests": 2})).await;
    let mut clients = [asking(&proxy).await, asking(&proxy).await];
    let mut instances = [upstream.accept().await, upstream.accept().await];
    is_refused(&mut asking(&proxy).await).await;
    for instance in &mut instances {
        instance.head().await;
        instance.say(OK).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

/// The same; what begins with `/urgent` is of a high priority.
async fn of_two_priorities(thresholds: Value) -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let breakers = json!({"circuitBreakers": {"thresholds": thresholds}});
    let mut urgent = to("a");
    urgent["match"] = json!({"prefix": "/urgent"});
    urgent["route"]["priority"] = json!("HIGH");
    let proxy = Proxy::start(routes(json!([urgent, to("a")])), &[cluster("a", &[&upstream], breakers)]).await;
    (proxy, upstream)
}

async fn asking_for(proxy: &Proxy, path: &str) -> Wire {
    let mut client = proxy.connect().await;
    client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    client
}

/// Requests of the usual priority do not count among those of a high one, nor the other way round.
#[tokio::test]
async fn each_priority_has_limits_of_its_own() {
    let (proxy, upstream) = of_two_priorities(json!([{"priority": "HIGH", "maxRequests": 1}])).await;
    let ask = async |path: &str| asking_for(&proxy, path).await;
    let (_usual, mut first) = (ask("/").await, upstream.accept().await);
    first.head().await;
    let (_urgent, mut second) = (ask("/urgent").await, upstream.accept().await);
    second.head().await;
    is_refused(&mut ask("/urgent").await).await;
    let (_more, mut third) = (ask("/").await, upstream.accept().await);
    third.head().await;
}

/// A connection counts against the limits of the priority that it was opened for, so the other one cannot use it.
#[tokio::test]
async fn each_priority_has_connections_of_its_own() {
    let (proxy, upstream) = of_two_priorities(json!([{"priority": "HIGH", "maxPendingRequests": 0}])).await;
    let mut usual = asking_for(&proxy, "/").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(usual.answer().await.0, "HTTP/1.1 200 OK");
    // One is kept, but none that a request of this priority could have.
    is_refused(&mut asking_for(&proxy, "/urgent").await).await;
    let mut again = asking_for(&proxy, "/").await;
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(again.answer().await.0, "HTTP/1.1 200 OK");
}

/// Who waits for a connection of one priority is not passed over because one of the other was given back.
#[tokio::test]
async fn a_connection_given_back_is_for_those_who_wait_for_it() {
    let one = |priority: &str| json!({"priority": priority, "maxConnections": 1});
    let (proxy, upstream) = of_two_priorities(json!([one("DEFAULT"), one("HIGH")])).await;
    let mut holders = Vec::new();
    for path in ["/", "/urgent"] {
        let client = asking_for(&proxy, path).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        holders.push((client, instance));
    }
    let mut waiting = [asking_for(&proxy, "/").await, asking_for(&proxy, "/urgent").await];
    for ((client, instance), next) in holders.iter_mut().zip(&mut waiting).rev() {
        instance.say(OK).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        instance.head().await;
        instance.say(OK).await;
        assert_eq!(next.answer().await.0, "HTTP/1.1 200 OK");
    }
}
