//! Bodies that are decompressed on their way.

use std::io::Write;

use bytes::Bytes;
use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(bodies_are_decompressed_both_ways, trailers_tell_how_long_a_body_was_and_is, compressors_and_decompressors_meet);

const TEXT: &str = "some text, some text, some text";

fn decompressor(kind: &str, mut fields: Value) -> Value {
    let message = match kind {
        "gzip" => "Gzip",
        "brotli" => "Brotli",
        _ => "Zstd",
    };
    let library = packed(&format!("compression.{kind}.decompressor.v3.{message}"), json!({}));
    fields["decompressorLibrary"] = json!({"name": "lib", "typedConfig": library});
    filter(kind, packed("filters.http.decompressor.v3.Decompressor", fields))
}

fn compressed(kind: &str) -> Bytes {
    match kind {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
            encoder.write_all(TEXT.as_bytes()).unwrap();
            encoder.finish().unwrap().into()
        }
        "brotli" => {
            let mut encoder = brotli::CompressorWriter::new(vec![], 4096, 5, 20);
            encoder.write_all(TEXT.as_bytes()).unwrap();
            encoder.into_inner().into()
        }
        _ => zstd::encode_all(TEXT.as_bytes(), 3).unwrap().into(),
    }
}

fn encoded(token: &str, body: Content) -> Response<Content> {
    Response::builder().header("content-encoding", token).body(body).unwrap()
}

async fn bodies_are_decompressed_both_ways(plane: DataPlane) {
    for (kind, token) in [("gzip", "gzip"), ("brotli", "br"), ("zstd", "zstd")] {
        let mut peer = Recorder::start(Version::HTTP_11).await;
        let xds = Xds {
            filters: vec![decompressor(kind, json!({}))],
            routes: vec![route("/", json!({}))],
            clusters: vec![cluster("a", peer.address())],
            ..Xds::default()
        };
        let proxy = LoneProxy::start(plane, &xds).await;
        peer.set_answer(encoded(token, Content::of(compressed(kind))));
        let fields = [("content-encoding", token), ("accept-encoding", "deflate, x;q=0.5")];
        let told = proxy.ask(request("POST", "/", &fields, Content::of(compressed(kind)))).await.unwrap();
        assert_eq!((told.text().as_str(), told.header("content-encoding").as_str()), (TEXT, ""), "{kind}");
        assert_eq!(told.header("content-length"), "", "{kind}");
        let asked = peer.asked().await;
        assert_eq!((asked.body.as_ref(), asked.header("content-encoding").as_str()), (TEXT.as_bytes(), ""), "{kind}");
        assert_eq!(asked.header("accept-encoding"), format!("deflate,x;q=0.5,{token}"), "{kind}");
        // What is in another coding, or in none, passes, and so does what nobody may change.
        for (answered, body) in [("other", "abc"), ("", "abc")] {
            peer.set_answer(encoded(answered, Content::of(body)));
            let told = proxy.ask(request("GET", "/", &[], Content::default())).await.unwrap();
            assert_eq!((told.text().as_str(), told.header("content-length").as_str()), ("abc", "3"), "{kind} {answered}");
            assert_eq!(peer.asked().await.header("accept-encoding"), token);
        }
        let mut kept = encoded(token, Content::of(compressed(kind)));
        kept.headers_mut().insert("cache-control", "no-transform".parse().unwrap());
        peer.set_answer(kept);
        let told = proxy.ask(request("GET", "/", &[], Content::default())).await.unwrap();
        assert_eq!((told.body, told.headers["content-encoding"].to_str().unwrap()), (compressed(kind), token), "{kind}");
    }
}

async fn trailers_tell_how_long_a_body_was_and_is(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let xds = Xds {
        filters: vec![decompressor("gzip", json!({"requestDirectionConfig": {"advertiseAcceptEncoding": false}}))],
        routes: vec![route("/", json!({}))],
        clusters: vec![http2_cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let (before, after) = (compressed("gzip").len().to_string(), TEXT.len().to_string());
    let names = ["x-envoy-decompressor-lib-compressed-bytes", "x-envoy-decompressor-lib-uncompressed-bytes"];
    for trailers in [&[][..], &[("x-end", "1")]] {
        let body =
            || if trailers.is_empty() { Content::of(compressed("gzip")) } else { Content::of(compressed("gzip")).trailing(trailers) };
        peer.set_answer(encoded("gzip", body()));
        let told = proxy.ask_http2(request("POST", "/", &[("content-encoding", "gzip")], body())).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!(asked.header("accept-encoding"), "");
        for fields in [&told.trailers, &asked.trailers] {
            let values = names.map(|name| fields.get(name).map_or("", |value| value.to_str().unwrap()));
            assert_eq!(values, [before.as_str(), after.as_str()], "{trailers:?}");
            assert_eq!(fields.contains_key("x-end"), !trailers.is_empty());
        }
    }
}

async fn compressors_and_decompressors_meet(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let library = json!({"name": "l", "typedConfig": packed("compression.zstd.compressor.v3.Zstd", json!({}))});
    let compressor = json!({"compressorLibrary": library, "responseDirectionConfig": {}});
    let xds = Xds {
        filters: vec![filter("c", packed("filters.http.compressor.v3.Compressor", compressor)), decompressor("gzip", json!({}))],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    peer.set_answer(encoded("gzip", Content::of(compressed("gzip"))));
    let told = proxy.ask(request("GET", "/", &[("accept-encoding", "zstd")], Content::default())).await.unwrap();
    assert_eq!(told.header("content-encoding"), "zstd");
    assert_eq!(zstd::decode_all(&told.body[..]).unwrap(), TEXT.as_bytes());
    assert_eq!(peer.asked().await.header("accept-encoding"), "zstd,gzip");
}
