//! WebSocket: after both sides have agreed, only bytes pass.

use serde_json::{Value, json};

use tokio::net::TcpStream;

use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

pub(crate) const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_until_one_side_ends() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;

    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    for line in ["GET /chat HTTP/1.1", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: eA=="] {
        assert!(head.contains(&line.to_owned()), "{line} not in {head:?}");
    }
    // Its first words come with the answer.
    instance
        .say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: eQ==\r\n\r\nfirst")
        .await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
    for line in ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: eQ=="] {
        assert!(headers.contains(&line.to_owned()), "{line} not in {headers:?}");
    }
    client.hears("first").await;
    client.say("\u{1}question").await;
    instance.hears("\u{1}question").await;
    instance.say("answer").await;
    client.hears("answer").await;
    drop(instance);
    assert_eq!(client.end().await, "");
    drop(client);
    assert_eq!(proxy.stop().await, ["101 UC upstream_reset_after_response_started{connection_termination}"]);
}

/// Neither waits for the other, as with Envoy: an instance that goes on when its client has ended would be kept for ever.
#[tokio::test]
async fn a_client_that_ends_its_half_ends_the_conversation() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    client.say("last words").await;
    client.finish().await;
    assert_eq!(instance.end().await, "last words");
    assert_eq!(client.end().await, "");
    assert_eq!(proxy.stop().await, ["101 DC downstream_remote_disconnect"]);
}

#[tokio::test]
async fn an_instance_that_does_not_agree_answers_as_always() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request");
    client.hears("no").await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(&UPGRADE.replace("websocket\r", "other\r")).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden");
}

#[tokio::test]
async fn who_has_no_route_hears_that_whatever_protocol_is_asked_for() {
    let redirect = json!({"match": {"prefix": "/to"}, "redirect": {"hostRedirect": "b"}});
    let proxy = Proxy::start(routes(json!([redirect])), &[]).await;
    for (path, status) in [("/none", "HTTP/1.1 404 Not Found"), ("/to", "HTTP/1.1 403 Forbidden")] {
        let mut client = proxy.connect().await;
        client.say(&UPGRADE.replace("websocket\r", "other\r").replace("/chat", path)).await;
        assert_eq!(client.answer().await.0, status);
    }
    assert_eq!(proxy.stop().await, ["404 NR route_not_found", "403 - upgrade_failed"]);
}

#[tokio::test]
async fn a_proxy_that_ends_waits_for_a_conversation_after_an_upgrade() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    let address = proxy.address();
    let ended = tokio::spawn(proxy.stop());
    in_time("it takes no more connections", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    client.say("still there?").await;
    instance.hears("still there?").await;
    drop(client);
    assert_eq!(instance.end().await, "");
    assert_eq!(ended.await.unwrap(), ["101 DC downstream_remote_disconnect"]);
}

#[tokio::test]
async fn the_body_of_a_request_for_an_upgrade_never_precedes_the_agreement() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(headers.contains(&"connection: close".to_owned()), "{headers:?}");
    // Nobody takes the next request on a connection that still waits for a body for the body.
    assert_eq!(instance.end().await, "");
    assert_eq!(client.end().await, "no");
}

/// What a client hears of an upgrade, and what the instance did, where the instance does not agree.
async fn refused(routes: Value, clusters: &[Value], upstream: &Upstream, says: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let proxy = Proxy::start(routes, clusters).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    let asked = instance.head().await;
    instance.say(says).await;
    let (_, headers) = client.answer().await;
    drop(client);
    (asked, headers, proxy.stop().await)
}

#[tokio::test]
async fn a_refused_upgrade_has_its_headers_changed_like_any_request() {
    let upstream = Upstream::start().await;
    let mut route = to("a");
    route["requestHeadersToAdd"] = json!([{"header": {"key": "x-asked", "value": "1"}}]);
    route["responseHeadersToAdd"] = json!([{"header": {"key": "x-answered", "value": "1"}}]);
    route["responseHeadersToRemove"] = json!(["x-secret"]);
    let says = "HTTP/1.1 426 Upgrade Required\r\nconnection: Upgrade, keep-alive\r\nupgrade: h2c\r\nkeep-alive: timeout=5\r\n\
        proxy-connection: close\r\nx-secret: 1\r\ncontent-length: 0\r\n\r\n";
    let clusters = [cluster("a", &[&upstream], json!({}))];
    let (asked, headers, log) = refused(routes(json!([route])), &clusters, &upstream, says).await;
    assert!(asked.contains(&"x-asked: 1".to_owned()), "{asked:?}");
    assert!(headers.contains(&"x-answered: 1".to_owned()), "{headers:?}");
    for gone in ["connection: Upgrade", "upgrade:", "keep-alive:", "proxy-connection:", "x-secret:", "transfer-encoding:"] {
        assert!(!headers.iter().any(|line| line.starts_with(gone)), "{gone} in {headers:?}");
    }
    assert_eq!(log, ["426 - via_upstream"]);
}

#[tokio::test]
async fn an_upgrade_that_fails_is_held_against_the_instance_like_any_request() {
    let upstream = Upstream::start().await;
    let detection = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "60s"});
    let more = json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}});
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], more)]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 500 Internal Server Error");
    // Who asked for an upgrade and gets none asks anew.
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    assert_eq!(proxy.stop().await, ["500 - via_upstream", "503 UH no_healthy_upstream"]);
}

#[tokio::test]
async fn an_upgrade_is_tried_elsewhere_where_no_connection_can_be_made() {
    let (alive, dead) = (Upstream::start().await, Upstream::start().await);
    let mut route = to("a");
    route["route"]["retryPolicy"] = json!({"retryOn": "connect-failure", "numRetries": 1});
    let clusters = [cluster("a", &[&dead, &alive], json!({"lbPolicy": "ROUND_ROBIN"}))];
    drop(dead);
    let proxy = Proxy::start(routes(json!([route])), &clusters).await;
    // One of the two comes to the dead one first.
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.say(UPGRADE).await;
        let mut instance = alive.accept().await;
        instance.head().await;
        instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 101 Switching Protocols");
    }
}

#[tokio::test]
async fn an_upgrade_has_the_timeouts_of_any_request() {
    let upstream = Upstream::start().await;
    let attempt = json!({"timeout": "0s", "retryPolicy": {"retryOn": "5xx", "numRetries": 0, "perTryTimeout": "0.2s"}});
    for (more, log) in [(json!({"timeout": "0.2s"}), "504 UT response_timeout"), (attempt, "504 URX,UT upstream_per_try_timeout")] {
        let mut route = to("a");
        route["route"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
        let mut client = proxy.connect().await;
        client.say(UPGRADE).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 504 Gateway Timeout");
        assert_eq!(instance.end().await, "");
        drop(client);
        assert_eq!(proxy.stop().await, [log]);
    }
}

/// How many connections the cluster has open.
pub(crate) async fn open_connections(proxy: &Proxy) -> String {
    let statistics = proxy.ask_admin("/stats/prometheus").await;
    let line = statistics.lines().find(|line| line.starts_with("envoy_cluster_upstream_cx_active{"));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn an_upgraded_connection_is_counted_as_open_until_it_ends() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    client.say("question").await;
    instance.hears("question").await;
    assert_eq!(open_connections(&proxy).await, "1");
    drop((client, instance));
    in_time("it is counted no more", async { while open_connections(&proxy).await != "0" {} }).await;
}

#[tokio::test]
async fn upgrades_count_towards_the_limit_of_connections() {
    let upstream = Upstream::start().await;
    let more = json!({"circuitBreakers": {"thresholds": [{"maxConnections": 1, "maxPendingRequests": 1}]}});
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], more)]).await;
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    // While the bytes of one pass, one more may wait, and the next is refused, be it an upgrade or not.
    let mut second = proxy.connect().await;
    second.say(UPGRADE).await;
    let mut third = proxy.connect().await;
    third.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    tokio::select! {
        (status, _) = second.answer() => assert_eq!(status, "HTTP/1.1 503 Service Unavailable"),
        (status, _) = third.answer() => assert_eq!(status, "HTTP/1.1 503 Service Unavailable"),
        _ = upstream.accept() => panic!("there is one connection too many"),
    }
    drop((client, instance));
    upstream.accept().await.head().await;
}

/// RFC 8441: a client of HTTP/2 asks by a CONNECT that names the protocol, the instance of HTTP/1.1 as always.
#[tokio::test]
async fn a_client_of_http2_gets_a_stream_for_another_protocol() {
    let upstream = Upstream::start().await;
    let manager = json!({"http2ProtocolOptions": {"allowConnect": true}});
    let ready = json!({"match": {"prefix": "/ready"}, "directResponse": {"status": 200}});
    let proxy = Proxy::with_manager(manager, routes(json!([ready, to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(proxy.address()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let ready = http::Request::get("http://a/ready").body(()).unwrap();
    let (answer, _): (_, h2::SendStream<bytes::Bytes>) = client.send_request(ready, true).unwrap();
    in_time("the proxy's settings come, and an answer", answer).await.unwrap();
    let connect = |protocol| http::Request::connect("http://a/chat").extension(h2::ext::Protocol::from_static(protocol)).body(()).unwrap();
    // Agreed on.
    let (answer, mut sending) = client.send_request(connect("websocket"), false).unwrap();
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    for line in ["GET /chat HTTP/1.1", "connection: Upgrade", "upgrade: websocket"] {
        assert!(head.contains(&line.to_owned()), "{line} not in {head:?}");
    }
    assert!(head.iter().any(|line| line.starts_with("sec-websocket-key: ")), "{head:?}");
    instance
        .say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: eQ==\r\n\r\nfirst")
        .await;
    let answer = in_time("an answer comes", answer).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("upgrade")), (200, None));
    let mut receiving = answer.into_body();
    assert_eq!(in_time("its first words come", receiving.data()).await.unwrap().unwrap(), "first");
    sending.send_data("question".into(), false).unwrap();
    instance.hears("question").await;
    instance.say("answer").await;
    assert_eq!(in_time("an answer comes", receiving.data()).await.unwrap().unwrap(), "answer");
    drop(instance);
    assert!(in_time("the stream ends", receiving.data()).await.is_none_or(|end| end.is_err() || end.is_ok_and(|data| data.is_empty())));
    // Not agreed on: what follows must not be taken for the other protocol.
    let (answer, _sending) = client.send_request(connect("websocket"), false).unwrap();
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(in_time("an answer comes", answer).await.unwrap().status(), 502);
    // Not allowed.
    let (answer, _sending) = client.send_request(connect("other"), false).unwrap();
    assert_eq!(in_time("an answer comes", answer).await.unwrap().status(), 403);
}
