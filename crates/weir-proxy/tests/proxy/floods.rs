//! Floods of HTTP/2: the connection that they come on is ended, and who is beside it notices nothing. They are named after the
//! places where they were first written down.

use std::time::Duration;

use serde_json::{Value, json};

use crate::attacks::{Stage, rounds, unnoticed_at};
use crate::http2::http2;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame,
    request,
};
use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

/// Where the victim asks.
fn victim() -> Value {
    json!({"match": {"prefix": "/victim"}, "directResponse": {"status": 200, "body": {"inlineString": "victim"}}})
}

/// A proxy that answers by itself.
async fn proxy() -> Proxy {
    Proxy::start(routes(json!([victim(), {"match": {"prefix": "/"}, "directResponse": {"status": 200}}])), &[]).await
}

/// What an attacker says is too much: the first part once, the other one until its connection is ended.
async fn ended(first: &[u8], again: &[u8]) -> Proxy {
    let proxy = proxy().await;
    let attack = async || {
        let mut attacker = Frames::connect(&proxy).await;
        attacker.say(first).await;
        attacker.say_until_the_end(again).await;
    };
    unnoticed_at(proxy.address(), attack).await;
    proxy
}

/// The same, and it is counted so.
async fn flood(first: &[u8], again: &[u8], counted: &str) {
    let proxy = ended(first, again).await;
    counts(&proxy, &format!("envoy_http2_{counted} {}", rounds())).await;
}

/// Waits until the statistics say so: a client may see its end before that is counted.
async fn counts(proxy: &Proxy, line: &str) {
    let counted = async {
        while !proxy.ask_admin("/stats").await.lines().any(|known| known == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(line, counted).await;
}

/// Streams, each of which opens and ends at once.
fn streams(each: impl Fn(u32) -> Vec<u8>, count: u32) -> Vec<u8> {
    (0..count).flat_map(|i| each(2 * i + 1)).collect()
}

fn asked(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/"))
}

#[tokio::test]
async fn cve_2019_9512_ping_flood() {
    flood(b"", &frame(PING, 0, 0, b"12345678").repeat(1000), "outbound_control_flood").await;
}

#[tokio::test]
async fn cve_2019_9513_resource_loop() {
    flood(b"", &frame(PRIORITY, 0, 3, b"\0\0\0\x01\x10").repeat(1000), "inbound_priority_frames_flood").await;
}

/// Streams that we have to reset: each asks without a path.
#[tokio::test]
async fn cve_2019_9514_reset_flood() {
    let bad = fields(&[(":method", "GET"), (":scheme", "http")]);
    flood(&streams(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &bad), 2000), b"", "outbound_control_flood").await;
}

#[tokio::test]
async fn cve_2019_9515_settings_flood() {
    // Each of them changes the window of all streams.
    let settings = [1, 2].map(|size| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, size])).concat();
    flood(b"", &settings.repeat(500), "outbound_control_flood").await;
}

#[tokio::test]
async fn cve_2019_9518_empty_frames_flood() {
    let begun =
        frame(HEADERS, END_HEADERS, 1, &fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", "/")]));
    flood(&begun, &frame(DATA, 0, 1, b"").repeat(1000), "inbound_empty_frames_flood").await;
}

#[tokio::test]
async fn windows_that_grow_for_nothing() {
    flood(b"", &frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01").repeat(1000), "inbound_window_update_frames_flood").await;
}

#[tokio::test]
async fn frames_that_nobody_knows() {
    flood(b"", &frame(200, 0, 0, b"").repeat(1000), "outbound_control_flood").await;
}

#[tokio::test]
async fn cve_2023_44487_rapid_reset() {
    let reset = |stream| [asked(stream), frame(RST_STREAM, 0, stream, b"\0\0\0\x08")].concat();
    let proxy = ended(&streams(reset, 2000), b"").await;
    counts(&proxy, &format!("envoy_http_downstream_rq_too_many_premature_resets {}", rounds())).await;
}

/// The same, slowly enough that each stream is taken, and sent on, before it is reset.
#[tokio::test]
async fn cve_2023_44487_rapid_reset_of_streams_that_were_taken() {
    const AT_ONCE: u32 = 50;
    // An instance that takes its time: none of the streams is answered before.
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([victim(), to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let attack = async || {
        let mut attacker = Frames::connect(&proxy).await;
        for first in (1..40_000).step_by(2 * AT_ONCE as usize) {
            let all = |each: fn(u32) -> Vec<u8>| streams(|stream| each(first + stream - 1), AT_ONCE);
            attacker.say(&all(asked)).await;
            // Whoever answers this has taken what came before.
            attacker.say(&frame(PING, 0, 0, b"12345678")).await;
            if attacker.heard_or_end(PING).await.is_none() {
                return;
            }
            attacker.say(&all(|stream| frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))).await;
        }
        panic!("20,000 streams were reset, and nothing came of it");
    };
    unnoticed_at(proxy.address(), attack).await;
}

/// Streams that the client makes us reset after they were taken: their windows grow by nothing.
#[tokio::test]
async fn cve_2025_8671_made_you_reset() {
    let begun = request("/");
    let each = |stream| [frame(HEADERS, END_HEADERS, stream, &begun), frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\0")].concat();
    // The library takes the first of them for the connection's end.
    ended(&streams(each, 2000), b"").await;
}

#[tokio::test]
async fn cve_2024_27316_continuation_flood() {
    let more = fields(&[("x-more", &"x".repeat(1000))]);
    flood(&frame(HEADERS, END_STREAM, 1, &request("/")), &frame(CONTINUATION, 0, 1, &more), "header_overflow").await;
}

#[tokio::test]
async fn continuation_flood_of_nothing() {
    flood(&frame(HEADERS, END_STREAM, 1, &request("/")), &frame(CONTINUATION, 0, 1, b"").repeat(100), "inbound_empty_frames_flood").await;
}

/// One large header that is remembered, and called again and again by a single byte.
#[tokio::test]
async fn cve_2016_6581_hpack_bomb() {
    let remembered = [&b"\x40\x01x\x7f\x81\x1e"[..], &[b'a'; 3968]].concat();
    let block = [request("/"), remembered, vec![0x80 | 62; 10_000]].concat();
    flood(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block), b"", "header_overflow").await;
}

/// The same from the other side: an instance's connection is ended, and the request on it fails.
async fn is_left(first: &[u8], again: &[u8], status: &str, counted: Option<&str>) {
    let stage = Stage::with(json!({}), http2()).await;
    let attack = async || {
        let mut client = stage.proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = Frames::of(stage.upstream.accept().await.into_stream());
        instance.say(&[&frame(SETTINGS, 0, 0, b""), first].concat()).await;
        instance.say_until_the_end(again).await;
        assert_eq!(client.answer().await.0, format!("HTTP/1.1 {status}"));
    };
    stage.unnoticed(attack).await;
    if let Some(counted) = counted {
        let line = format!("envoy_cluster_http2_{counted}{{cluster_name=\"a\",proxy=\"test\"}} {}", rounds());
        counts(&stage.proxy, &line).await;
    }
}

#[tokio::test]
async fn an_instance_that_floods_is_left() {
    let unavailable = "503 Service Unavailable";
    is_left(b"", &frame(PING, 0, 0, b"12345678").repeat(1000), unavailable, Some("outbound_control_flood")).await;
    let settings = [1, 2].map(|size| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, size])).concat();
    is_left(b"", &settings.repeat(500), unavailable, Some("outbound_control_flood")).await;
    let answer = b"\x88";
    is_left(&frame(HEADERS, 0, 1, answer), &frame(CONTINUATION, 0, 1, b"").repeat(100), unavailable, None).await;
    let remembered = [&b"\x88\x40\x01x\x7f\x81\x1e"[..], &[b'a'; 3968], &[0x80 | 62; 10_000]].concat();
    is_left(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &remembered), b"", unavailable, None).await;
}

#[tokio::test]
async fn what_is_no_flood_passes() {
    let proxy = proxy().await;
    let mut client = Frames::connect(&proxy).await;
    for kind in [PING, PRIORITY] {
        let payload: &[u8] = if kind == PING { b"12345678" } else { b"\0\0\0\x01\x10" };
        client.say(&frame(kind, 0, if kind == PING { 0 } else { 3 }, payload).repeat(1000)).await;
    }
    client.say(&frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01").repeat(1000)).await;
    client.say(&streams(|stream| [asked(stream), frame(RST_STREAM, 0, stream, b"\0\0\0\x08")].concat(), 50)).await;
    client.say(&asked(101)).await;
    while client.hear(HEADERS).await.1 != 101 {}
}

/// Header floods: too many, too large, and what just fits.
#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let proxy = Proxy::start(routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 200}}])), &[]).await;
    let mut client = Frames::connect(&proxy).await;
    let small: Vec<(String, String)> = (0..1600).map(|i| (format!("x-{i}"), "1".to_owned())).collect();
    let large: Vec<(String, String)> = (0..61).map(|i| (format!("x-{i}"), "1".repeat(1020))).collect();
    let fits: Vec<(String, String)> = (0..60).map(|i| (format!("x-{i}"), "1".repeat(1015))).collect();
    for (stream, more, status) in
        [(1, &small[..96], "200"), (3, &small[..97], "431"), (5, &small, "431"), (7, &large, "431"), (9, &fits, "200")]
    {
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let block = [request("/"), fields(&more)].concat();
        let mut parts = block.chunks(16_000);
        let first = parts.next().unwrap();
        let last = |parts: &std::slice::Chunks<'_, u8>| if parts.len() == 0 { END_HEADERS } else { 0 };
        client.say(&frame(HEADERS, END_STREAM | last(&parts), stream, first)).await;
        while let Some(part) = parts.next() {
            client.say(&frame(CONTINUATION, last(&parts), stream, part)).await;
        }
        let (_, answered, head) = client.hear(HEADERS).await;
        // 200 is known to every table of headers; 431 is written out, in Huffman's code or not.
        assert_eq!((answered, head.first() == Some(&0x88)), (stream, status == "200"), "{head:?}");
    }
    drop(client);
    let mut log = proxy.stop().await;
    log.sort();
    let refused = |why: &str| format!("431 DPE {why}");
    let (many, large) = (refused("http2.too_many_headers"), refused("http2.header_list_size_too_large"));
    assert_eq!(log, ["200 - direct_response", "200 - direct_response", &large, &many, &many]);
}
