//! gRPC calls of browsers.

use hyper::{Response, StatusCode, Version};
use serde_json::json;
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Told, Xds, cluster, filter, http2_cluster, packed};

use super::{filter_config, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    calls_become_those_of_grpc_and_trailers_a_frame,
    what_is_no_call_passes_as_it_is,
    answers_that_are_none_of_grpc_become_messages,
    a_body_that_is_no_base64_is_refused,
    a_call_that_is_held_back_before_or_behind_is_decoded,
);

const NAME: &str = "web";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";
const FRAME: &[u8] = b"\0\0\0\0\x02hi";
const FRAME_TEXT: &str = "AAAAAAJoaQ==";

async fn start(plane: DataPlane) -> (LoneProxy, Recorder) {
    let peer = Recorder::start(Version::HTTP_2).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut dead = route("/dead", json!({}));
    dead["route"]["cluster"] = json!("dead");
    let xds = Xds {
        filters: vec![filter(NAME, packed("filters.http.grpc_web.v3.GrpcWeb", json!({})))],
        routes: vec![
            dead,
            route("/off", json!({NAME: filter_config(json!({"disabled": true}))})),
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 403, "body": {"inlineString": "no way"}}}),
            route("/shop", json!({})),
        ],
        clusters: vec![http2_cluster("a", peer.address()), cluster("dead", gone)],
        ..Xds::default()
    };
    (LoneProxy::start(plane, &xds).await, peer)
}

fn grpc(content: Content) -> Response<Content> {
    Response::builder().header("content-type", "application/grpc").body(content).unwrap()
}

async fn calls_become_those_of_grpc_and_trailers_a_frame(plane: DataPlane) {
    let (proxy, mut peer) = start(plane).await;
    peer.set_answer(grpc(Content::of(FRAME).trailing(&[("grpc-status", "0"), ("x-t", "a b")])));
    let trailers = b"\x80\0\0\0\x18grpc-status:0\r\nx-t:a b\r\n";
    let binary = [FRAME, trailers].concat();
    let text = format!("{FRAME_TEXT}gAAAABhncnBjLXN0YXR1czowDQp4LXQ6YSBiDQo=").into_bytes();
    let cases = [
        (BINARY, "*/*", FRAME, BINARY, &binary),
        (BINARY, TEXT, FRAME, TEXT, &text),
        (TEXT, TEXT, FRAME_TEXT.as_bytes(), TEXT, &text),
        ("application/grpc-web-text", "application/grpc-web-text", FRAME_TEXT.as_bytes(), TEXT, &text),
        (TEXT, BINARY, FRAME_TEXT.as_bytes(), BINARY, &binary),
    ];
    for (content_type, accept, body, answer_type, answer) in cases {
        let headers = [("content-type", content_type), ("accept", accept)];
        let call = || request("POST", "/shop.Cart/Get", &headers, Content::of(body.to_vec()));
        for told in [proxy.ask(call()).await.unwrap(), proxy.ask_http2(call()).await.unwrap()] {
            let asked = peer.asked().await;
            assert_eq!(asked.body, FRAME, "{content_type}");
            let said = ["content-type", "te", "grpc-accept-encoding", "content-length"].map(|name| asked.header(name));
            assert_eq!(said, ["application/grpc", "trailers", "identity", ""], "{content_type}");
            assert_eq!((told.status, told.header("content-type").as_str()), (200, answer_type), "{content_type}");
            assert_eq!(told.body.to_vec(), *answer, "{content_type} for {accept}");
            assert!(told.trailers.is_empty(), "{told:?}");
        }
    }
    // No message, only its end.
    peer.set_answer(grpc(Content::default().trailing(&[("grpc-status", "0"), ("x-t", "a b")])));
    let told = proxy.ask(request("POST", "/shop.Cart/Get", &[("content-type", BINARY)], Content::of(FRAME))).await.unwrap();
    peer.asked().await;
    assert_eq!((told.status, told.body.as_ref()), (200, &trailers[..]));
    // The instance refuses at once: there is no body, and the status stays in the head.
    let refusal = Response::builder().header("content-type", "application/grpc").header("grpc-status", "7");
    peer.set_answer(refusal.header("grpc-message", "no").body(Content::default()).unwrap());
    let headers = [("content-type", BINARY)];
    let told = proxy.ask(request("POST", "/shop.Cart/Get", &headers, Content::of(FRAME))).await.unwrap();
    assert_eq!(summary(&told), (200, BINARY.to_owned(), "7".to_owned(), "no".to_owned(), String::new()));
}

/// Status, content type, gRPC status and message, body.
fn summary(told: &Told) -> (u16, String, String, String, String) {
    let header = |name| told.header(name);
    (told.status, header("content-type"), header("grpc-status"), header("grpc-message"), told.text())
}

async fn what_is_no_call_passes_as_it_is(plane: DataPlane) {
    let (proxy, mut peer) = start(plane).await;
    peer.set_answer(Response::builder().header("content-type", "text/plain").body(Content::of("ok")).unwrap());
    let cases = [
        ("/shop", "text/plain"),
        ("/shop", "application/grpc-web+json"),
        ("/shop", "application/grpc-web; charset=utf-8"),
        ("/off", "application/grpc-web+proto"),
    ];
    for (path, content_type) in cases {
        let told = proxy.ask(request("POST", path, &[("content-type", content_type)], Content::of("a"))).await.unwrap();
        let asked = peer.asked().await;
        let said = (asked.header("content-type"), asked.header("content-length"), asked.header("te"));
        assert_eq!(said, (content_type.to_owned(), "1".to_owned(), String::new()), "{path} {content_type}");
        assert_eq!((told.header("content-type").as_str(), told.text().as_str()), ("text/plain", "ok"), "{path} {content_type}");
    }
}

async fn answers_that_are_none_of_grpc_become_messages(plane: DataPlane) {
    let (proxy, mut peer) = start(plane).await;
    let call = |path: &str| request("POST", path, &[("content-type", BINARY)], Content::of(FRAME));
    let message = |http, status: &str, text: &str| (http, BINARY.to_owned(), status.to_owned(), text.to_owned(), String::new());
    let cases = [
        (503, "no 100%", message(503, "14", "no 100%25")),
        (403, "no way", message(403, "7", "no way")),
        (200, "<html>", message(200, "2", "<html>")),
    ];
    for (status, body, expected) in cases {
        let mut answer = Response::builder().header("content-type", "text/plain").body(Content::of(body)).unwrap();
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        peer.set_answer(answer);
        let told = proxy.ask(call("/shop.Cart/Get")).await.unwrap();
        peer.asked().await;
        assert_eq!(summary(&told), expected, "{status}");
    }
    // So do those of the proxy itself.
    for (path, http, status) in [("/dead", 503, "14"), ("/direct", 403, "7"), ("/nowhere", 404, "")] {
        let told = proxy.ask(call(path)).await.unwrap();
        assert_eq!((told.status, told.header("grpc-status").as_str(), told.text().as_str()), (http, status, ""), "{path}: {told:?}");
        assert_eq!(told.header("content-type"), BINARY, "{path}");
    }
}

async fn a_body_that_is_no_base64_is_refused(plane: DataPlane) {
    let (proxy, _peer) = start(plane).await;
    for body in ["AAA=A", "****", "AAAAA"] {
        let told = proxy.ask(request("POST", "/shop.Cart/Get", &[("content-type", TEXT)], Content::of(body))).await.unwrap();
        let (status, _, grpc_status, message, body_said) = summary(&told);
        let expected = (400, "13", "Bad gRPC-web request, invalid base64 data.", "");
        assert_eq!((status, grpc_status.as_str(), message.as_str(), body_said.as_str()), expected, "{body}");
    }
}

async fn a_call_that_is_held_back_before_or_behind_is_decoded(plane: DataPlane) {
    let buffer = || filter("buffer", packed("filters.http.buffer.v3.Buffer", json!({"maxRequestBytes": 100})));
    let web = || filter(NAME, packed("filters.http.grpc_web.v3.GrpcWeb", json!({})));
    // Whoever comes last has the last word on the length.
    for (filters, length) in [(vec![buffer(), web()], ""), (vec![web(), buffer()], "7")] {
        let mut peer = Recorder::start(Version::HTTP_2).await;
        let clusters = vec![http2_cluster("a", peer.address())];
        let xds = Xds { filters, routes: vec![route("/", json!({}))], clusters, ..Xds::default() };
        let proxy = LoneProxy::start(plane, &xds).await;
        let call = request("POST", "/shop.Cart/Get", &[("content-type", TEXT)], Content::of(FRAME_TEXT));
        proxy.ask(call).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!((asked.body.as_ref(), asked.header("content-length").as_str()), (FRAME, length));
    }
}
