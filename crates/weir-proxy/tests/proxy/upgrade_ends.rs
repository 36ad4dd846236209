//! How conversations after a change of protocol end: by silence, by whoever goes first, and what the log says of it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::frames::{END_HEADERS, Frames, HEADERS, RST_STREAM, fields, frame};
use crate::support::{Proxy, Upstream, Wire, cluster, in_time, routes, to};
use crate::upgrades::{UPGRADE, open_connections};

/// A WebSocket of a client of HTTP/1.1: both ends.
async fn conversation(proxy: &Proxy, upstream: &Upstream) -> (Wire, Wire) {
    let mut client = proxy.connect().await;
    client.say(UPGRADE).await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    (client, instance)
}

/// Silence ends it, of whatever limit that is; every word puts it off.
#[tokio::test]
async fn a_conversation_in_which_nothing_is_said_is_ended() {
    let route = |idle: &str| {
        let mut route = to("a");
        route["route"]["idleTimeout"] = json!(idle);
        routes(json!([route]))
    };
    let cases = [("0.4s", routes(json!([to("a")]))), ("0s", route("0.4s")), ("60s", route("0.4s"))];
    for (listener, routes) in cases {
        let upstream = Upstream::start().await;
        let manager = json!({"streamIdleTimeout": listener});
        let proxy = Proxy::with_manager(manager, routes, &[cluster("a", &[&upstream], json!({}))]).await;
        let (mut client, mut instance) = conversation(&proxy, &upstream).await;
        let began = Instant::now();
        for i in 0..6 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (from, to) = if i % 2 == 0 { (&mut client, &mut instance) } else { (&mut instance, &mut client) };
            from.say("a word").await;
            to.hears("a word").await;
        }
        assert_eq!(instance.end().await, "");
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        drop(client);
        assert_eq!(proxy.stop().await, ["101 SI stream_idle_timeout"]);
    }
}

#[tokio::test]
async fn a_conversation_that_lasts_too_long_is_ended() {
    let upstream = Upstream::start().await;
    let mut route = to("a");
    route["route"]["maxStreamDuration"] = json!({"maxStreamDuration": "0.4s"});
    // The timeout is that of the answer, which has come.
    route["route"]["timeout"] = json!("0.2s");
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let (client, mut instance) = conversation(&proxy, &upstream).await;
    assert_eq!(instance.end().await, "");
    drop(client);
    assert_eq!(proxy.stop().await, ["101 - max_duration_timeout"]);
}

/// What it has not read yet would be lost if it were answered with a reset.
#[tokio::test]
async fn a_client_may_go_on_for_a_while_when_the_instance_is_gone() {
    let upstream = Upstream::start().await;
    let manager = json!({"delayedCloseTimeout": "0.6s"});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let (mut client, mut instance) = conversation(&proxy, &upstream).await;
    instance.say("farewell").await;
    drop(instance);
    let gone = Instant::now();
    in_time("nobody counts it any more", async { while open_connections(&proxy).await != "0" {} }).await;
    client.say("still talking").await;
    assert_eq!(client.end().await, "farewell");
    assert!(gone.elapsed() >= Duration::from_millis(500), "{:?}", gone.elapsed());
    // Who ends it first is not kept.
    let (client, instance) = conversation(&proxy, &upstream).await;
    drop((client, instance));
    in_time("it is closed", async { while proxy.open_connections() > 0 {} }).await;
    let ended = "101 UC upstream_reset_after_response_started{connection_termination}";
    let log = proxy.stop().await;
    assert_eq!(log[0], ended, "{log:?}");
}

/// Streams of HTTP/2 for another protocol: silence, a reset, and the end of the instance.
#[tokio::test]
async fn how_a_stream_for_another_protocol_ended_is_told() {
    for (how, told, log) in [
        ("silence", Some(h2::Reason::INTERNAL_ERROR), "101 SI stream_idle_timeout"),
        ("a reset", None, "101 DR http2.remote_reset"),
        ("its connection", None, "101 DC downstream_remote_disconnect"),
        ("the instance", Some(h2::Reason::NO_ERROR), "101 UC upstream_reset_after_response_started{connection_termination}"),
    ] {
        let upstream = Upstream::start().await;
        let idle = if how == "silence" { "0.3s" } else { "60s" };
        let manager = json!({"http2ProtocolOptions": {"allowConnect": true}, "streamIdleTimeout": idle});
        let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
        let mut client = Frames::connect(&proxy).await;
        let asks = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"), (":path", "/chat")];
        client.say(&frame(HEADERS, END_HEADERS, 1, &fields(&asks))).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
        client.hear(HEADERS).await;
        match how {
            "a reset" => client.say(&frame(RST_STREAM, 0, 1, b"\0\0\0\x08")).await,
            "its connection" => client = Frames::connect(&proxy).await,
            "the instance" => instance.finish().await,
            _ => {}
        }
        assert_eq!(instance.end().await, "");
        if let Some(reason) = told {
            assert_eq!(client.hear(RST_STREAM).await.2, u32::from(reason).to_be_bytes(), "{how}");
        }
        drop(client);
        assert_eq!(proxy.stop().await, [log]);
    }
}
