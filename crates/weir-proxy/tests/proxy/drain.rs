//! What is gone lets its connections finish, but not for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{DRAIN_DURATION, Proxy, Upstream, Wire, cluster, in_time, routes, to};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

async fn http(upstream: &Upstream) -> Proxy {
    Proxy::start(routes(json!([to("a")])), &[cluster("a", &[upstream], json!({}))]).await
}

async fn tcp(upstream: &Upstream) -> Proxy {
    Proxy::of_tcp(json!({}), &[cluster("a", &[upstream], json!({}))]).await
}

/// A client that speaks WebSocket, and its instance.
async fn chat(proxy: &Proxy, upstream: &Upstream) -> (Wire, Wire) {
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(AGREED).await;
    client.head().await;
    (client, instance)
}

/// A client whose bytes are passed on, and its instance.
async fn pipe(proxy: &Proxy, upstream: &Upstream) -> (Wire, Wire) {
    let mut client = proxy.connect().await;
    client.say("hello").await;
    let mut instance = upstream.accept().await;
    instance.hears("hello").await;
    (client, instance)
}

/// Both sides are still there for a while, and then are not.
async fn ends_when_drained(mut client: Wire, mut instance: Wire, since: Instant) {
    client.say("still there?").await;
    instance.hears("still there?").await;
    client.end().await;
    assert!(since.elapsed() >= DRAIN_DURATION * 4 / 5, "{:?}", since.elapsed());
    instance.end().await;
}

#[tokio::test]
async fn a_tcp_connection_of_a_listener_that_is_gone_ends() {
    let upstream = Upstream::start().await;
    let proxy = tcp(&upstream).await;
    let (client, instance) = pipe(&proxy, &upstream).await;
    let since = Instant::now();
    proxy.close();
    ends_when_drained(client, instance, since).await;
}

#[tokio::test]
async fn a_tcp_connection_of_a_filter_chain_that_is_gone_ends_and_those_of_the_new_one_do_not() {
    let upstream = Upstream::start().await;
    let proxy = tcp(&upstream).await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let (client, instance) = pipe(&proxy, &upstream).await;
    let since = Instant::now();
    proxy.change_tcp(&json!({"maxConnectAttempts": 2}), &clusters);
    ends_when_drained(client, instance, since).await;
    let (mut client, mut instance) = pipe(&proxy, &upstream).await;
    tokio::time::sleep(DRAIN_DURATION * 2).await;
    instance.say("yes").await;
    client.hears("yes").await;
}

#[tokio::test]
async fn a_conversation_after_an_upgrade_ends_with_its_listener() {
    let upstream = Upstream::start().await;
    let proxy = http(&upstream).await;
    let (client, instance) = chat(&proxy, &upstream).await;
    let since = Instant::now();
    proxy.close();
    ends_when_drained(client, instance, since).await;
}

#[tokio::test]
async fn a_request_that_never_ends_ends_with_its_listener() {
    let upstream = Upstream::start().await;
    let proxy = http(&upstream).await;
    let mut client = proxy.connect().await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    let since = Instant::now();
    proxy.close();
    client.end().await;
    assert!(since.elapsed() >= DRAIN_DURATION * 4 / 5, "{:?}", since.elapsed());
    instance.end().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_before_its_chain_is_known_ends_with_its_listener() {
    let upstream = Upstream::start().await;
    // What may turn out to be HTTP is waited for much longer than this test waits.
    let inspected = json!({
        "listenerFilters": [{"name": "envoy.filters.listener.tls_inspector"}, {"name": "envoy.filters.listener.http_inspector"}],
        "listenerFiltersTimeout": "0s",
    });
    let proxy = Proxy::with_listener(&inspected, &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    in_time("it is accepted", async {
        while proxy.open_connections() == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    proxy.close();
    client.end().await;
}

#[tokio::test]
async fn a_client_whose_first_bytes_come_after_its_chain_is_gone_ends_as_well() {
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let inspected = json!({"listenerFilters": [{"name": "envoy.filters.listener.tls_inspector"}]});
    let proxy = Proxy::with_listener(&inspected, &clusters).await;
    let mut client = proxy.connect().await;
    in_time("it is accepted", async {
        while proxy.open_connections() == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    proxy.change_tcp(&json!({"maxConnectAttempts": 2}), &clusters);
    // The connections of the old chain have ended when this one, of the old or the new, has been drained or not.
    let (mut other, _instance) = pipe(&proxy, &upstream).await;
    let _ = tokio::time::timeout(DRAIN_DURATION * 2, other.end()).await;
    client.say("late").await;
    upstream.accept().await.hears("late").await;
    client.end().await;
}

#[tokio::test]
async fn the_process_does_not_wait_for_ever_and_writes_down_what_it_cut_off() {
    let limit = Duration::from_millis(300);
    let cases: [(bool, &str); 2] = [(true, "0 - -"), (false, "101")];
    for (is_tcp, logged) in cases {
        let upstream = Upstream::start().await;
        let (proxy, ends) = match is_tcp {
            true => {
                let proxy = tcp(&upstream).await;
                let ends = pipe(&proxy, &upstream).await;
                (proxy, ends)
            }
            false => {
                let proxy = http(&upstream).await;
                let ends = chat(&proxy, &upstream).await;
                (proxy, ends)
            }
        };
        let log = in_time("the process ends", proxy.stop_within(limit)).await;
        assert!(log.len() == 1 && log[0].starts_with(logged), "{log:?}");
        drop(ends);
    }
}

/// Routes that stand in the listener itself.
fn inline(routes: Value) -> Value {
    json!({"rds": null, "routeConfig": {"name": "inline", "virtualHosts": [{"name": "all", "domains": ["*"], "routes": routes}]}})
}

#[tokio::test]
async fn inline_routes_follow_their_clusters() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let named = routes(json!([to("a")]));
    let manager = inline(json!([to("a")]));
    let proxy = Proxy::with_manager(manager.clone(), named.clone(), &[]).await;
    let mut client = proxy.connect().await;
    let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.say(get).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    for upstream in [first, second] {
        // The cluster goes, and another one of its name comes.
        proxy.change_with_manager(&manager, named.clone(), &[]);
        proxy.change_with_manager(&manager, named.clone(), &[cluster("a", &[&upstream], json!({}))]);
        let served = async {
            let mut instance = upstream.accept().await;
            loop {
                instance.head().await;
                instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        };
        let asked = async {
            loop {
                let mut client = proxy.connect().await;
                client.say(get).await;
                if client.answer().await.0 == "HTTP/1.1 200 OK" {
                    return;
                }
            }
        };
        in_time("its instance is asked", async {
            tokio::select! { () = served => (), () = asked => () }
        })
        .await;
    }
}
