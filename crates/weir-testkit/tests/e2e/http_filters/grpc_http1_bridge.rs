//! gRPC calls of clients that see no trailers, or know nothing of gRPC.

use hyper::{Response, StatusCode, Version};
use serde_json::json;
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Told, Xds, filter, http2_cluster, packed};

use super::{filter_config, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    what_trailers_say_stands_in_the_head,
    messages_get_a_frame_and_lose_it,
    what_is_no_call_or_has_trailers_passes_as_it_is,
    what_is_too_long_to_be_held_back_is_refused,
);

const NAME: &str = "bridge";
const GRPC: &str = "application/grpc";
const MESSAGE: &str = "application/x-protobuf";
const FRAME: &[u8] = b"\0\0\0\0\x02hi";

async fn start(plane: DataPlane, cuts_queries: bool) -> (LoneProxy, Recorder) {
    let peer = Recorder::start(Version::HTTP_2).await;
    let policy = json!({"upgradeProtobufToGrpc": true, "ignoreQueryParameters": cuts_queries});
    let xds = Xds {
        filters: vec![filter(NAME, packed("filters.http.grpc_http1_bridge.v3.Config", policy))],
        routes: vec![
            route("/off", json!({NAME: filter_config(json!({"disabled": true}))})),
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 403, "body": {"inlineString": "no way"}}}),
            route("/shop", json!({})),
        ],
        clusters: vec![http2_cluster("a", peer.address())],
        ..Xds::default()
    };
    (LoneProxy::start(plane, &xds).await, peer)
}

fn answer(status: u16, content: Content) -> Response<Content> {
    let mut answer = Response::builder().header("content-type", GRPC).header("x-own", "1").body(content).unwrap();
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// Status, gRPC status and message, length, body.
fn summary(told: &Told) -> (u16, String, String, String, Vec<u8>) {
    let header = |name| told.header(name);
    (told.status, header("grpc-status"), header("grpc-message"), header("content-length"), told.body.to_vec())
}

fn expected(status: u16, grpc: &str, message: &str, length: &str, body: &[u8]) -> (u16, String, String, String, Vec<u8>) {
    (status, grpc.to_owned(), message.to_owned(), length.to_owned(), body.to_vec())
}

type Trailers = &'static [(&'static str, &'static str)];

async fn what_trailers_say_stands_in_the_head(plane: DataPlane) {
    let (proxy, mut peer) = start(plane, false).await;
    const REFUSED: Trailers = &[("grpc-status", "7"), ("grpc-message", "no way"), ("x-t", "1")];
    let cases: [(u16, &[u8], Trailers, _); 7] = [
        (200, FRAME, &[("grpc-status", "0"), ("x-t", "1")], expected(200, "0", "", "7", FRAME)),
        (200, FRAME, REFUSED, expected(503, "7", "no way", "7", FRAME)),
        (200, b"", REFUSED, expected(503, "7", "no way", "0", b"")),
        (200, FRAME, &[("grpc-status", "x")], expected(503, "x", "", "7", FRAME)),
        (200, FRAME, &[("grpc-status", "99")], expected(503, "99", "", "7", FRAME)),
        (200, FRAME, &[("x-t", "1")], expected(200, "", "", "7", FRAME)),
        (404, FRAME, &[("grpc-status", "0")], expected(404, "0", "", "7", FRAME)),
    ];
    for (status, body, trailers, expected) in cases {
        peer.set_answer(answer(status, Content::of(body).trailing(trailers)));
        let told =
            proxy.ask(request("POST", "/shop.Cart/Get?a=b", &[("content-type", "application/grpc+proto")], Content::of(FRAME))).await;
        let (told, asked) = (told.unwrap(), peer.asked().await);
        assert_eq!((asked.body.as_ref(), asked.path.as_str()), (FRAME, "/shop.Cart/Get?a=b"));
        assert_eq!(summary(&told), expected, "{trailers:?}");
        assert_eq!((told.header("x-own").as_str(), told.trailers.len()), ("1", 0), "{trailers:?}");
    }
    // What has come in the head stays there, and so does the status.
    let refused = Response::builder().header("content-type", GRPC).header("grpc-status", "5").body(Content::default()).unwrap();
    peer.set_answer(refused);
    let told = proxy.ask(request("POST", "/shop.Cart/Get", &[("content-type", GRPC)], Content::of(FRAME))).await.unwrap();
    assert_eq!((told.status, told.header("grpc-status").as_str(), told.text().as_str()), (200, "5", ""));
}

async fn messages_get_a_frame_and_lose_it(plane: DataPlane) {
    for (cuts_queries, path) in [(false, "/shop.Cart/Get?a=b"), (true, "/shop.Cart/Get")] {
        let (proxy, mut peer) = start(plane, cuts_queries).await;
        peer.set_answer(answer(200, Content::of(FRAME).trailing(&[("grpc-status", "0")])));
        let call = |content| request("POST", "/shop.Cart/Get?a=b", &[("content-type", MESSAGE), ("accept", "x")], content);
        for content in [Content::of("hi"), Content::streamed(&["h", "i"])] {
            let told = proxy.ask(call(content)).await.unwrap();
            let asked = peer.asked().await;
            let said = ["content-type", "content-length", "accept"].map(|name| asked.header(name));
            assert_eq!((said, asked.body.as_ref(), asked.path.as_str()), ([GRPC, "", "x"].map(str::to_owned), FRAME, path));
            assert_eq!((summary(&told), told.header("content-type").as_str()), (expected(200, "0", "", "2", b"hi"), GRPC));
        }
        // There is nothing to put a frame before.
        proxy.ask(call(Content::default())).await.unwrap();
        assert_eq!(peer.asked().await.body.len(), 0);
        // An answer that is too short for a frame has no message.
        peer.set_answer(answer(200, Content::of("\0\0").trailing(&[("grpc-status", "7")])));
        let told = proxy.ask(call(Content::of("hi"))).await.unwrap();
        assert_eq!(summary(&told), expected(503, "7", "", "0", b""));
    }
}

async fn what_is_no_call_or_has_trailers_passes_as_it_is(plane: DataPlane) {
    let (proxy, mut peer) = start(plane, true).await;
    // Without trailers nothing is known of the call.
    peer.set_answer(answer(200, Content::of(FRAME)));
    for content_type in [GRPC, MESSAGE, "text/plain", "application/x-protobuf; a=b", "Application/X-Protobuf", "application/protobuf"] {
        let told = proxy.ask(request("POST", "/shop?a=b", &[("content-type", content_type)], Content::of("hi"))).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!(asked.header("content-type"), if content_type == MESSAGE { GRPC } else { content_type });
        assert_eq!(asked.path, if [GRPC, MESSAGE].contains(&content_type) { "/shop" } else { "/shop?a=b" }, "{content_type}");
        assert_eq!((told.status, told.header("grpc-status").as_str(), told.body.as_ref()), (200, "", FRAME), "{content_type}");
    }
    peer.set_answer(answer(200, Content::of(FRAME).trailing(&[("grpc-status", "7")])));
    // Whoever speaks HTTP/2 sees trailers.
    let told = proxy.ask_http2(request("POST", "/shop?a=b", &[("content-type", GRPC)], Content::of(FRAME))).await.unwrap();
    assert_eq!((told.status, told.body.as_ref(), told.trailers.len()), (200, FRAME, 1));
    assert_eq!(peer.asked().await.path, "/shop?a=b");
    let told = proxy.ask(request("POST", "/off", &[("content-type", GRPC)], Content::of(FRAME))).await.unwrap();
    assert_eq!((told.status, told.header("grpc-status").as_str()), (200, ""));
    // Answers of the proxy's own are what the client asked for.
    for (content_type, expected) in [(GRPC, expected(200, "7", "no way", "0", b"")), (MESSAGE, expected(403, "", "", "6", b"no way"))] {
        let told = proxy.ask(request("POST", "/direct", &[("content-type", content_type)], Content::of("hi"))).await.unwrap();
        let (status, grpc, message, length, body) = summary(&told);
        let length = if length.is_empty() { "0".to_owned() } else { length };
        assert_eq!((status, grpc, message, length, body), expected, "{content_type}");
    }
}

async fn what_is_too_long_to_be_held_back_is_refused(plane: DataPlane) {
    let (proxy, mut peer) = start(plane, false).await;
    let long = vec![b'x'; 2 << 20];
    if plane == DataPlane::Weir {
        // Envoy may read more than that at once, and let it pass.
        let told = proxy.ask(request("POST", "/shop", &[("content-type", MESSAGE)], Content::of(long.clone()))).await.unwrap();
        assert_eq!((told.status, peer.has_been_asked()), (413, false));
    }
    peer.set_answer(answer(200, Content::of(long).trailing(&[("grpc-status", "0")])));
    let told = proxy.ask(request("POST", "/shop", &[("content-type", MESSAGE)], Content::of("hi"))).await.unwrap();
    peer.asked().await;
    assert_eq!((told.status, told.text().contains("Internal Server Error")), (500, true));
}
