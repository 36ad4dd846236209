//! Bodies that are compressed or decompressed on their way, where something is wrong with them or they take their time.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn filter(name: &str, kind: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
    json!({"name": name, "typedConfig": fields})
}

/// A proxy that decompresses both ways, and an instance of it.
async fn decompressing() -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let library = filter("gzip", "compression.gzip.decompressor.v3.Gzip", json!({}));
    let filters = json!([
        filter("d", "filters.http.decompressor.v3.Decompressor", json!({"decompressorLibrary": library})),
        filter("r", "filters.http.router.v3.Router", json!({})),
    ]);
    let clusters = [cluster("a", &[&upstream], json!({}))];
    (Proxy::with_manager(json!({"httpFilters": filters}), routes(json!([to("a")])), &clusters).await, upstream)
}

async fn say_chunk(wire: &mut Wire, bytes: &[u8]) {
    wire.say_bytes(format!("{:x}\r\n", bytes.len()).as_bytes()).await;
    wire.say_bytes(bytes).await;
    wire.say_bytes(b"\r\n").await;
}

#[tokio::test]
async fn a_request_that_is_not_in_its_coding_is_refused() {
    let (proxy, _upstream) = decompressing().await;
    let whole = gzip(b"a body that is long enough");
    let bomb = gzip(&vec![0; 4 << 20]);
    let cases = [
        (&b"no gzip at all"[..], "decompression_failed"),
        (&whole[..whole.len() - 3], "decompression_failed"),
        (&[&whole[..], b"garbage"].concat(), "decompression_failed"),
        (&bomb, "decompressed_body_too_large"),
    ];
    let mut expected = vec![];
    for (body, details) in cases {
        let mut client = proxy.connect().await;
        client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        client.say_bytes(body).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request", "{details}");
        expected.push(format!("400 - {details}"));
    }
    assert_eq!(proxy.stop().await, expected);
}

#[tokio::test]
async fn an_answer_that_is_not_in_its_coding_breaks_off() {
    let (proxy, upstream) = decompressing().await;
    let whole = gzip(b"a body");
    let bomb = gzip(&vec![0; 4 << 20]);
    for body in [&b"no gzip at all"[..], &whole[..whole.len() - 3], &bomb] {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = upstream.accept().await;
        assert!(instance.head().await.contains(&"accept-encoding: gzip".to_owned()));
        instance.say(&format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        instance.say_bytes(body).await;
        let said = client.end().await;
        assert!(!said.ends_with("0\r\n\r\n"), "it looks whole: {} bytes", said.len());
        // What came of it until then is bounded.
        assert!(said.len() < body.len() * 100 + (64 << 10), "{} of {}", said.len(), body.len());
    }
    drop(upstream);
    proxy.stop().await;
}

#[tokio::test]
async fn what_has_come_of_a_body_is_passed_on_at_once() {
    let (proxy, upstream) = decompressing().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(b"first").unwrap();
    encoder.flush().unwrap();
    say_chunk(&mut instance, encoder.get_ref()).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    client.hears("5\r\nfirst\r\n").await;
    let before = encoder.get_ref().len();
    encoder.write_all(b"second").unwrap();
    say_chunk(&mut instance, &encoder.finish().unwrap()[before..]).await;
    instance.say("0\r\n\r\n").await;
    client.hears("6\r\nsecond\r\n0\r\n\r\n").await;
    drop(client);
    assert_eq!(proxy.stop().await, ["200 - via_upstream"]);
}
