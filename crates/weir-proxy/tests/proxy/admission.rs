//! Who is let in and who is not: handshakes that are never finished, and connections that are too many.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Authority, Limits, Proxy, Told, Upstream, Wire, cluster, routes, secure};

/// The beginning of a ClientHello that says that more will come.
const HALF_A_HELLO: &str = "\u{16}\u{3}\u{1}\u{1}";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn answering() -> Value {
    routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]))
}

fn told(chain: Value) -> Told {
    Told { chain, routes: answering(), ..Told::default() }
}

/// Whether a connection is served.
async fn is_served(client: &mut Wire) -> bool {
    client.say(GET).await;
    client.line().await.is_some_and(|line| line == "HTTP/1.1 204 No Content")
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_is_given_up() {
    let authority = Authority::new();
    let context = json!({"commonTlsContext": {"tlsCertificates": [authority.credentials("a.test").certificate()]}});
    let chain = json!({"transportSocket": secure("Downstream", context), "transportSocketConnectTimeout": "0.3s"});
    let proxy = Proxy::told(told(chain)).await;
    for first in ["", HALF_A_HELLO] {
        let mut client = proxy.connect().await;
        client.say(first).await;
        assert_eq!(client.end().await, "", "after {first:?}");
    }
    proxy.counts("envoy_listener_downstream_cx_transport_socket_connect_timeout", 2).await;
}

#[tokio::test]
async fn what_is_not_understood_in_time_is_given_up_or_goes_on() {
    let upstream = Upstream::start().await;
    let inspecting = |go_on: bool| {
        json!({
            "listenerFilters": [{"name": "envoy.filters.listener.tls_inspector"}],
            "listenerFiltersTimeout": "0.3s",
            "continueOnListenerFiltersTimeout": go_on,
        })
    };
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::with_listener(&inspecting(false), &clusters).await;
    for first in ["", HALF_A_HELLO] {
        let mut client = proxy.connect().await;
        client.say(first).await;
        assert_eq!(client.end().await, "", "after {first:?}");
    }
    proxy.counts("envoy_listener_downstream_pre_cx_timeout", 2).await;

    let proxy = Proxy::with_listener(&inspecting(true), &clusters).await;
    let mut client = proxy.connect().await;
    client.say(HALF_A_HELLO).await;
    upstream.accept().await.hears(HALF_A_HELLO).await;
    proxy.counts("envoy_listener_downstream_pre_cx_timeout", 1).await;
}

#[tokio::test]
async fn more_connections_than_the_process_or_the_listener_may_have_are_closed() {
    let of_process = (Limits { process: Some(2), listener: None }, "envoy_listener_downstream_global_cx_overflow");
    let of_listener = (Limits { process: None, listener: Some(2) }, "envoy_listener_downstream_cx_overflow");
    for (limits, statistic) in [of_process, of_listener] {
        let proxy = Proxy::limited(told(json!({})), limits).await;
        let (mut first, mut second) = (proxy.connect().await, proxy.connect().await);
        assert!(is_served(&mut first).await && is_served(&mut second).await);
        for _ in 0..3 {
            assert_eq!(proxy.connect().await.end().await, "", "one too many");
        }
        proxy.counts(statistic, 3).await;
        proxy.counts("envoy_listener_downstream_cx_total", 2).await;
        drop(first);
        proxy.counts("envoy_listener_downstream_cx_active", 1).await;
        assert!(is_served(&mut proxy.connect().await).await, "in place of the one that is gone");
    }
}

#[tokio::test]
async fn a_filter_chain_has_so_many_connections_as_its_filter_lets_in() {
    let upstream = Upstream::start().await;
    let packed = |kind: &str, fields: Value| {
        let mut config = json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.network.{kind}"), "statPrefix": "few"});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"name": "any", "typedConfig": config})
    };
    let filters = [
        packed("connection_limit.v3.ConnectionLimit", json!({"maxConnections": 1, "delay": "0.3s"})),
        packed("tcp_proxy.v3.TcpProxy", json!({"cluster": "a"})),
    ];
    let clusters = vec![cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::told(Told { chain: json!({ "filters": filters }), clusters, ..Told::default() }).await;
    let mut first = proxy.connect().await;
    first.say("hello").await;
    let mut instance = upstream.accept().await;
    instance.hears("hello").await;
    let started = Instant::now();
    let mut second = proxy.connect().await;
    second.say("hello").await;
    assert_eq!(second.end().await, "", "one too many");
    assert!(started.elapsed() >= Duration::from_millis(300), "it is closed a little later: {:?}", started.elapsed());
    proxy.counts("envoy_connection_limit_limited_connections", 1).await;
    proxy.counts("envoy_connection_limit_active_connections", 1).await;
    // When the first one is gone, there is room.
    drop((first, instance));
    proxy.counts("envoy_listener_downstream_cx_active", 0).await;
    proxy.connect().await.say("hello").await;
    upstream.accept().await.hears("hello").await;
}

/// A network filter, packed.
fn network_filter(kind: &str, config: Value) -> Value {
    let mut typed = json!({"@type": format!("type.googleapis.com/envoy.extensions.filters.network.{kind}")});
    typed.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    json!({"name": "any", "typedConfig": typed})
}

#[tokio::test]
async fn a_filter_chain_takes_so_many_connections_in_some_time() {
    let upstream = Upstream::start().await;
    let bucket = json!({"maxTokens": 1, "tokensPerFill": 1, "fillInterval": "3600s"});
    let filters = [
        network_filter("local_ratelimit.v3.LocalRateLimit", json!({"statPrefix": "slow", "tokenBucket": bucket})),
        network_filter("tcp_proxy.v3.TcpProxy", json!({"statPrefix": "tcp", "cluster": "a"})),
    ];
    let clusters = vec![cluster("a", &[&upstream], json!({}))];
    let proxy = Proxy::told(Told { chain: json!({ "filters": filters }), clusters, ..Told::default() }).await;
    let mut first = proxy.connect().await;
    first.say("hello").await;
    upstream.accept().await.hears("hello").await;
    drop(first);
    assert_eq!(proxy.connect().await.end().await, "", "it comes too soon");
    proxy.counts("envoy_local_rate_limit_rate_limited", 1).await;
}

#[tokio::test]
async fn a_connection_may_be_answered_whatever_it_says() {
    let filters = [network_filter("direct_response.v3.Config", json!({"response": {"inlineString": "gone"}}))];
    let proxy = Proxy::told(Told { chain: json!({ "filters": filters }), ..Told::default() }).await;
    for says in ["", "hello"] {
        let mut client = proxy.connect().await;
        client.say(says).await;
        assert_eq!(client.end().await, "gone", "after {says:?}");
    }
}
