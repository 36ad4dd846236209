//! Bodies that are compressed on their way.

use std::io::Read;

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Told, Xds, cluster, filter, packed};

use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    answers_are_compressed_for_who_accepts_that,
    who_accepts_several_codings_gets_the_one_it_likes_best,
    routes_change_what_is_compressed,
    requests_are_compressed_for_instances,
);

/// A library with everything as it is by default.
fn library(kind: &str) -> Value {
    let message = match kind {
        "gzip" => "Gzip",
        "brotli" => "Brotli",
        _ => "Zstd",
    };
    json!({"name": kind, "typedConfig": packed(&format!("compression.{kind}.compressor.v3.{message}"), json!({}))})
}

/// A compressor that is called as its library is.
fn compressor(kind: &str, mut fields: Value) -> Value {
    fields["compressorLibrary"] = library(kind);
    filter(kind, packed("filters.http.compressor.v3.Compressor", fields))
}

fn answering(fields: Value) -> Value {
    json!({"responseDirectionConfig": fields})
}

fn per_route(kind: &str, fields: Value) -> Value {
    json!({kind: packed("filters.http.compressor.v3.CompressorPerRoute", fields)})
}

/// A body as it was before it was compressed.
fn plain(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = vec![];
    match coding {
        "gzip" => drop(flate2::read::MultiGzDecoder::new(body).read_to_end(&mut plain).unwrap()),
        "br" => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut plain).unwrap()),
        "zstd" => plain = zstd::decode_all(body).unwrap(),
        _ => plain = body.to_vec(),
    }
    plain
}

/// How an answer is encoded, when it is sure that its body is whole.
fn coding(told: &Told, body: &str) -> String {
    let coding = told.header("content-encoding");
    assert_eq!(String::from_utf8_lossy(&plain(&coding, &told.body)), body);
    coding
}

fn answer(status: u16, fields: &[(&str, &str)], body: Content) -> Response<Content> {
    let mut answer = Response::builder().status(status);
    for (name, value) in fields {
        answer = answer.header(*name, *value);
    }
    answer.body(body).unwrap()
}

fn text() -> String {
    "text ".repeat(100)
}

async fn answers_are_compressed_for_who_accepts_that(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let told = answering(json!({"statusHeaderEnabled": true, "uncompressibleResponseCodes": [206], "disableOnEtagHeader": true}));
    let xds = |filter| Xds {
        filters: vec![filter],
        routes: vec![
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418, "body": {"inlineString": text()}}}),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let usual = LoneProxy::start(plane, &xds(compressor("gzip", json!({})))).await;
    let telling = LoneProxy::start(plane, &xds(compressor("gzip", told))).await;
    let weakening = LoneProxy::start(plane, &xds(compressor("gzip", answering(json!({"weakenEtagOnCompress": true}))))).await;
    let whole = || Content::of(text());
    type Fields<'f> = &'f [(&'f str, &'f str)];
    let compressed: Fields<'_> = &[("content-encoding", "gzip"), ("vary", "Accept-Encoding")];
    let varied: Fields<'_> = &[("vary", "Accept-Encoding")];
    // What a client that accepts gzip gets, and what it is told about it.
    let cases: [(&LoneProxy, u16, Fields<'_>, Content, Fields<'_>); 21] = [
        (&usual, 200, &[], whole(), compressed),
        (&usual, 200, &[], Content::streamed(&["short"]), compressed),
        (&usual, 200, &[], Content::of("short"), &[("content-length", "5")]),
        (&usual, 200, &[("content-type", "text/plain; charset=x")], whole(), compressed),
        (&usual, 200, &[("content-type", "image/png")], whole(), &[("content-length", "500")]),
        (&usual, 200, &[("content-encoding", "br")], whole(), &[("content-encoding", "br"), ("content-length", "500")]),
        (&usual, 200, &[("cache-control", "a, no-transform")], whole(), &[("content-length", "500")]),
        (&usual, 200, &[("vary", "origin")], whole(), &[("content-encoding", "gzip"), ("vary", "origin, Accept-Encoding")]),
        (&usual, 200, &[("etag", "\"e\"")], whole(), compressed),
        (&usual, 200, &[("etag", "W/\"e\"")], whole(), &[("etag", "W/\"e\""), ("content-encoding", "gzip"), ("vary", "Accept-Encoding")]),
        (&usual, 206, &[("content-range", "bytes 0-1/2")], whole(), compressed),
        (&usual, 503, &[], whole(), compressed),
        (&usual, 304, &[], Content::default(), varied),
        (&weakening, 200, &[("etag", "\"e\"")], whole(), &[("etag", "W/\"e\""), ("content-encoding", "gzip"), ("vary", "Accept-Encoding")]),
        (&telling, 200, &[], whole(), &[("x-envoy-compression-status", "gzip;Compressed;OriginalLength=500")]),
        (&telling, 200, &[], Content::of("short"), &[("x-envoy-compression-status", "gzip;ContentLengthTooSmall")]),
        (&telling, 200, &[("content-type", "a/b")], whole(), &[("x-envoy-compression-status", "gzip;ContentTypeNotAllowed")]),
        (&telling, 200, &[("etag", "W/\"e\"")], whole(), &[("x-envoy-compression-status", "gzip;EtagNotAllowed")]),
        (&telling, 206, &[], whole(), &[("x-envoy-compression-status", "gzip;StatusCodeNotAllowed")]),
        (&telling, 206, &[("content-type", "a/b")], Content::of("short"), &[("x-envoy-compression-status", "gzip;ContentLengthTooSmall")]),
        (&telling, 200, &[("cache-control", "no-transform")], whole(), &[]),
    ];
    let watched = ["content-encoding", "content-length", "etag", "vary", "x-envoy-compression-status"];
    for (i, (proxy, status, fields, body, expected)) in cases.into_iter().enumerate() {
        peer.set_answer(answer(status, fields, body));
        let told = proxy.ask(request("GET", "/", &[("accept-encoding", "gzip")], Content::default())).await.unwrap();
        assert_eq!(told.status, status, "case {i}");
        let of_telling = std::ptr::eq(proxy, &telling);
        for name in watched.iter().filter(|name| !of_telling || **name == "x-envoy-compression-status") {
            let value = expected.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
            assert_eq!(told.header(name), value, "case {i}: {name}");
        }
        if told.header("content-encoding") == "gzip" {
            let body = if i == 1 { "short".to_owned() } else { text() };
            assert_eq!(plain("gzip", &told.body), body.as_bytes(), "case {i}");
        }
    }
    // What has no body is not compressed, but would be.
    peer.set_answer(answer(200, &[], whole()));
    let told = usual.ask(request("HEAD", "/", &[("accept-encoding", "gzip")], Content::default())).await.unwrap();
    assert_eq!((told.header("content-encoding"), told.header("vary")), (String::new(), "Accept-Encoding".to_owned()));
    assert_eq!(told.header("content-length"), "500");
    // Ours are compressed as an instance's are.
    let told = usual.ask(request("GET", "/direct", &[("accept-encoding", "gzip")], Content::default())).await.unwrap();
    assert_eq!((told.status, coding(&told, &text()).as_str()), (418, "gzip"));
}

async fn who_accepts_several_codings_gets_the_one_it_likes_best(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    peer.set_answer(answer(200, &[], Content::of(text())));
    let xds =
        |filters| Xds { filters, routes: vec![route("/", json!({}))], clusters: vec![cluster("a", peer.address())], ..Xds::default() };
    let all = |first: &str| {
        let one = |kind: &&str| compressor(kind, json!({"chooseFirst": *kind == first, "responseDirectionConfig": {}}));
        ["brotli", "gzip", "zstd"].iter().map(one).collect::<Vec<_>>()
    };
    let proxy = LoneProxy::start(plane, &xds(all(""))).await;
    let preferring = LoneProxy::start(plane, &xds(all("zstd"))).await;
    let cases = [
        (&proxy, "gzip", "gzip"),
        (&proxy, "br", "br"),
        (&proxy, "zstd", "zstd"),
        (&proxy, "*", "br"),
        (&proxy, "gzip, br, zstd", "gzip"),
        (&proxy, "gzip;q=0.8, zstd;q=0.9, br", "br"),
        (&proxy, "br;q=0, *", "gzip"),
        (&proxy, "gzip;q=0.5, *", "br"),
        (&proxy, "identity, gzip", ""),
        (&proxy, "identity;q=0.5, gzip", "gzip"),
        (&proxy, "gzip;q=0", ""),
        (&proxy, "gzip;q=x", ""),
        (&proxy, "GZIP", ""),
        (&proxy, "deflate", ""),
        (&proxy, "", ""),
        (&preferring, "gzip, br, zstd", "zstd"),
        (&preferring, "gzip, zstd;q=0.9", "gzip"),
    ];
    for (proxy, accepted, expected) in cases {
        let told = proxy.ask(request("GET", "/", &[("accept-encoding", accepted)], Content::default())).await.unwrap();
        assert_eq!(coding(&told, &text()), expected, "{accepted}");
        assert_eq!(told.header("vary"), "Accept-Encoding", "{accepted}");
    }
    let told = proxy.ask(get("/")).await.unwrap();
    assert_eq!((coding(&told, &text()), told.header("vary")), (String::new(), "Accept-Encoding".to_owned()));
}

async fn routes_change_what_is_compressed(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    peer.set_answer(answer(200, &[], Content::of(text())));
    let off = json!({"commonConfig": {"enabled": {"defaultValue": false, "runtimeKey": "k"}}});
    let enabling = || json!({"overrides": {"responseDirectionConfig": {}}});
    let hiding = json!({"overrides": {"responseDirectionConfig": {"removeAcceptEncodingHeader": true}}});
    let xds = Xds {
        filters: vec![compressor("gzip", answering(json!({}))), compressor("zstd", answering(off))],
        routes: vec![
            route("/off", per_route("gzip", json!({"disabled": true}))),
            route("/br", per_route("gzip", json!({"overrides": {"compressorLibrary": library("brotli")}}))),
            route("/zstd", per_route("zstd", enabling())),
            route("/hidden", per_route("gzip", hiding)),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases = [
        ("/", "gzip", "gzip", "gzip"),
        ("/off", "gzip", "", "gzip"),
        ("/br", "gzip", "", "gzip"),
        ("/br", "gzip, br", "br", "gzip, br"),
        ("/", "zstd", "", "zstd"),
        ("/zstd", "zstd", "zstd", "zstd"),
        ("/hidden", "gzip", "gzip", ""),
    ];
    for (path, accepted, expected, seen) in cases {
        let told = proxy.ask(request("GET", path, &[("accept-encoding", accepted)], Content::default())).await.unwrap();
        assert_eq!(coding(&told, &text()), expected, "{path} {accepted}");
        assert_eq!(peer.asked().await.header("accept-encoding"), seen, "{path} {accepted}");
    }
}

async fn requests_are_compressed_for_instances(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let both = json!({"requestDirectionConfig": {"commonConfig": {"contentType": ["text/plain"]}}, "responseDirectionConfig": {}});
    let xds = Xds {
        filters: vec![compressor("brotli", both)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases: [(&[(&'static str, &str)], Content, &str, &str); 5] = [
        (&[("content-type", "text/plain")], Content::of(text()), "br", ""),
        (&[], Content::streamed(&["a ", "b"]), "br", ""),
        (&[("content-type", "text/plain")], Content::of("short"), "", "5"),
        (&[("content-type", "a/b")], Content::of(text()), "", "500"),
        (&[("content-encoding", "gzip")], Content::of(text()), "gzip", "500"),
    ];
    for (fields, body, encoded, length) in cases {
        assert_eq!(proxy.ask(request("POST", "/", fields, body.clone())).await.unwrap().status, 200);
        let asked = peer.asked().await;
        assert_eq!((asked.header("content-encoding").as_str(), asked.header("content-length").as_str()), (encoded, length), "{fields:?}");
        if encoded == "br" {
            let whole = if fields.is_empty() { "a b".to_owned() } else { text() };
            assert_eq!(plain("br", &asked.body), whole.as_bytes(), "{fields:?}");
        }
    }
}
