//! Connections to instances that are slow to open: nobody's impatience is anybody else's loss, and nobody waits in line.

use bytes::Bytes;
use h2::server;
use http::Response;
use serde_json::{Value, json};

use crate::support::{Authority, Proxy, SecureUpstream, Wire, in_time, routes, to};
use crate::tls_upstreams::{http_options, secured, trusting};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn http1() -> Value {
    http_options(json!({"explicitHttpConfig": {"httpProtocolOptions": {}}}))
}

fn http2(more: Value) -> Value {
    let mut options = json!({"explicitHttpConfig": {"http2ProtocolOptions": {}}});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    http_options(options)
}

/// An instance of TLS and a proxy before it, for a cluster that has more.
async fn start(context: impl FnOnce(&Authority) -> Value, more: Value) -> (SecureUpstream, Proxy) {
    let authority = Authority::new();
    let names =
        authority.credentials_with("a.test", |params| params.subject_alt_names.push(rcgen::SanType::DnsName("b.test".try_into().unwrap())));
    let instance = SecureUpstream::start(&names, &["h2", "http/1.1"]).await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[secured(&instance, context(&authority), more)]).await;
    (instance, proxy)
}

/// Answers the next request of a connection of HTTP/2, and goes on with it.
async fn serve(instance: &SecureUpstream, connection: Wire) {
    let stream = instance.shake_hands(connection).await.unwrap().into_stream();
    let mut connection = in_time("the proxy greets", server::handshake(stream)).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), false).unwrap().send_data(Bytes::from("ok"), true).unwrap();
        }
    });
}

/// A request whose client goes away before the instance has shaken hands.
async fn impatient(proxy: &Proxy, instance: &SecureUpstream) -> Wire {
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let connection = instance.upstream.accept().await;
    drop(client);
    let gone = async {
        while proxy.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time("it is known that the client has gone", gone).await;
    connection
}

#[tokio::test]
async fn an_impatient_client_leaves_its_connection_to_the_next() {
    let (instance, proxy) = start(trusting, http1()).await;
    let connection = impatient(&proxy, &instance).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let mut connection = instance.shake_hands(connection).await.unwrap();
    connection.head().await;
    connection.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    assert!(instance.upstream.was_left_alone());
}

#[tokio::test]
async fn a_connection_that_nobody_waits_for_is_kept() {
    let (instance, proxy) = start(trusting, http1()).await;
    let connection = impatient(&proxy, &instance).await;
    let mut connection = instance.shake_hands(connection).await.unwrap();
    proxy.counts("envoy_cluster_upstream_cx_active", 1).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    connection.head().await;
    connection.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    assert!(instance.upstream.was_left_alone());
}

#[tokio::test]
async fn an_impatient_client_of_http2_leaves_its_connection_to_the_next() {
    let (instance, proxy) = start(trusting, http2(json!({}))).await;
    let connection = impatient(&proxy, &instance).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    serve(&instance, connection).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    assert!(instance.upstream.was_left_alone());
}

#[tokio::test]
async fn as_many_connections_are_opened_at_once_as_are_needed() {
    let (instance, proxy) = start(trusting, http2(json!({"commonHttpProtocolOptions": {"maxRequestsPerConnection": 1}}))).await;
    let (mut clients, mut connections) = (vec![], vec![]);
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.say(GET).await;
        clients.push(client);
        connections.push(instance.upstream.accept().await);
    }
    for connection in connections {
        serve(&instance, connection).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn many_requests_open_one_connection_where_it_carries_them() {
    let (instance, proxy) = start(trusting, http2(json!({}))).await;
    let mut clients = vec![];
    for _ in 0..20 {
        let mut client = proxy.connect().await;
        client.say(GET).await;
        clients.push(client);
    }
    let connection = instance.upstream.accept().await;
    serve(&instance, connection).await;
    for client in &mut clients {
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
    assert!(instance.upstream.was_left_alone());
}

#[tokio::test]
async fn who_waits_for_a_connection_that_cannot_be_opened_is_told_so() {
    let (instance, proxy) = start(trusting, http2(json!({}))).await;
    let mut clients = vec![];
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.say(GET).await;
        clients.push(client);
    }
    drop(instance.upstream.accept().await);
    for client in &mut clients {
        assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    }
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another_host() {
    let options = json!({"upstreamHttpProtocolOptions": {"autoSni": true}});
    let mut more = http2(options);
    more["circuitBreakers"] = json!({"thresholds": [{"maxConnections": 1}]});
    let context = |authority: &Authority| json!({"commonTlsContext": {"validationContext": authority.validation()}});
    let (instance, proxy) = start(context, more).await;
    for host in ["a.test", "b.test", "a.test"] {
        let mut client = proxy.connect().await;
        client.say(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        serve(&instance, instance.upstream.accept().await).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK", "{host}");
        client.hears("2\r\nok\r\n0\r\n\r\n").await;
    }
}
