//! Requests that are held back until they are whole.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::{filter_config, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(requests_are_held_back_within_a_limit, trailers_pass_behind_a_body_that_was_held_back);

const NAME: &str = "buffer";

fn of_route(fields: Value) -> Value {
    json!({NAME: packed("filters.http.buffer.v3.BufferPerRoute", fields)})
}

fn buffer(limit: u32) -> Value {
    filter(NAME, packed("filters.http.buffer.v3.Buffer", json!({"maxRequestBytes": limit})))
}

async fn requests_are_held_back_within_a_limit(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![buffer(10)],
        routes: vec![
            route("/not", of_route(json!({"disabled": true}))),
            route("/off", json!({NAME: filter_config(json!({"disabled": true}))})),
            route("/less", of_route(json!({"buffer": {"maxRequestBytes": 3}}))),
            route("/more", of_route(json!({"buffer": {"maxRequestBytes": 20}}))),
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    // The status, and then how the request was framed: a length that is known, or chunks.
    let chunked = "chunked";
    let cases: [(&str, &[&'static str], u16, &str); 13] = [
        ("/", &["abc", "def"], 200, "6"),
        ("/", &["0123456789"], 200, "10"),
        ("/", &["0123456789", "x"], 413, ""),
        ("/", &["0123456789x"], 413, ""),
        ("/not", &["0123456789x"], 200, chunked),
        ("/off", &["0123456789x"], 200, chunked),
        ("/less", &["abc"], 200, "3"),
        ("/less", &["abcd"], 413, ""),
        ("/more", &["0123456789", "x"], 200, "11"),
        ("/more", &["0123456789", "0123456789", "x"], 413, ""),
        ("/direct", &["abc"], 418, ""),
        ("/direct", &["0123456789x"], 413, ""),
        ("/more", &["a", "b", "c"], 200, "3"),
    ];
    for (i, (path, parts, status, framing)) in cases.into_iter().enumerate() {
        for content in [Content::streamed(parts), Content::of(parts.concat())] {
            let has_length = !format!("{content:?}").contains("streamed: true");
            let told = proxy.ask(request("POST", path, &[], content)).await.unwrap();
            assert_eq!(told.status, status, "case {i}");
            if status == 413 {
                assert_eq!(
                    (told.text(), told.header("content-type")),
                    ("Payload Too Large".to_owned(), "text/plain".to_owned()),
                    "case {i}"
                );
            }
            if status != 200 {
                continue;
            }
            let asked = peer.asked().await;
            assert_eq!(asked.body, parts.concat(), "case {i}");
            let length = parts.concat().len().to_string();
            let expected = if has_length { length.as_str() } else { framing };
            assert_eq!(asked.header("content-length") + &asked.header("transfer-encoding"), expected, "case {i}");
        }
    }
    assert!(!peer.has_been_asked());
    let log = proxy.log(2 * 13).await;
    assert_eq!(log[4], "413 - request_payload_too_large a");
    // What has no body is not held back.
    let told = proxy.ask(request("GET", "/", &[], Content::default())).await.unwrap();
    assert_eq!((told.status, peer.asked().await.header("content-length")), (200, String::new()));
}

async fn trailers_pass_behind_a_body_that_was_held_back(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let clusters = vec![http2_cluster("a", peer.address())];
    let xds = Xds { filters: vec![buffer(10)], routes: vec![route("/", json!({}))], clusters, ..Xds::default() };
    let proxy = LoneProxy::start(plane, &xds).await;
    let content = Content::streamed(&["abc", "def"]).trailing(&[("x-end", "1")]);
    assert_eq!(proxy.ask_http2(request("POST", "/", &[], content)).await.unwrap().status, 200);
    let asked = peer.asked().await;
    assert_eq!((asked.body.as_ref(), asked.header("content-length").as_str()), (&b"abcdef"[..], "6"));
    assert_eq!(asked.trailers["x-end"], "1");
}
