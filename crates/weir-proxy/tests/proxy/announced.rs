//! The PROXY protocol, in and out.

use serde_json::{Value, json};

use crate::support::{Proxy, Told, Upstream, Wire, cluster, routes, to};

fn announcing(version: &str) -> Value {
    let raw =
        json!({"name": "raw", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}});
    json!({"transportSocket": {"name": "proxy", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "config": {"version": version}, "transportSocket": raw,
    }}})
}

/// A listener whose connections begin with a header.
fn announced(more: Value) -> Value {
    let mut config = json!({"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"listenerFilters": [{"name": "envoy.filters.listener.proxy_protocol", "typedConfig": config}]})
}

#[tokio::test]
async fn who_the_client_is_said_to_be_an_instance_is_told() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with_listener(&announced(json!({})), &[cluster("a", &[&upstream], announcing("V1"))]).await;
    let mut client = proxy.connect().await;
    client.say("PROXY TCP4 192.0.2.1 192.0.2.2 111 222\r\nhello").await;
    upstream.accept().await.hears("PROXY TCP4 192.0.2.1 192.0.2.2 111 222\r\nhello").await;
    // Of whom nothing is said, it is who made the connection.
    let mut client = proxy.connect().await;
    client.say("PROXY UNKNOWN\r\nhello").await;
    let own = client.local_address();
    upstream.accept().await.hears(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello", own.port(), proxy.address().port())).await;
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed_unless_it_may_be_without() {
    let upstream = Upstream::start().await;
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let strict = Proxy::with_listener(&announced(json!({})), &clusters).await;
    for said in ["hello", "PROXY TCP4 a b 1 2\r\nhello", "\r\n\r\n\0\r\nQUIT\n!"] {
        let mut client = strict.connect().await;
        client.say(said).await;
        client.finish().await;
        assert_eq!(client.end().await, "", "{said:?}");
    }
    let v2_only = Proxy::with_listener(&announced(json!({"disallowedVersions": ["V1"]})), &clusters).await;
    let mut client = v2_only.connect().await;
    client.say("PROXY UNKNOWN\r\nhello").await;
    assert_eq!(client.end().await, "");

    let lax = Proxy::with_listener(&announced(json!({"allowRequestsWithoutProxyProtocol": true})), &clusters).await;
    let mut client = lax.connect().await;
    client.say("hello").await;
    upstream.accept().await.hears("hello").await;
}

#[tokio::test]
async fn requests_of_different_clients_share_no_connection_that_tells_of_one() {
    let upstream = Upstream::start().await;
    let told = Told { routes: routes(json!([to("a")])), clusters: vec![cluster("a", &[&upstream], announcing("V1"))], ..Told::default() };
    let proxy = Proxy::told(told).await;
    let header = |client: &Wire| {
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nGET / HTTP/1.1\r\n", client.local_address().port(), proxy.address().port())
    };
    let (mut first, mut second) = (proxy.connect().await, proxy.connect().await);
    first.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.hears(&header(&first)).await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    first.head().await;
    // Its next request takes the same connection.
    first.say("GET /again HTTP/1.1\r\nhost: a\r\n\r\n").await;
    instance.hears("GET /again HTTP/1.1\r\n").await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    first.head().await;
    second.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.accept().await.hears(&header(&second)).await;
}
