//! Who failed: what a client does is held against no instance, and is not tried again.

use bytes::Bytes;
use h2::{Reason, client};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, frame, request};
use crate::support::{Proxy, Upstream, cluster, in_time, routes};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// One failure and the instance is left out; every failure is tried again.
fn strict() -> (Value, Value) {
    let policy = json!({"retryOn": "5xx,reset,connect-failure,refused-stream", "numRetries": 3});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "retryPolicy": policy}});
    let detection = json!({"consecutive5xx": 1, "consecutiveGatewayFailure": 1, "enforcingConsecutiveGatewayFailure": 100,
        "maxEjectionPercent": 100, "baseEjectionTime": "60s"});
    (routes(json!([route])), json!({"outlierDetection": detection, "commonLbConfig": {"healthyPanicThreshold": {}}}))
}

async fn start() -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let (routes, more) = strict();
    let proxy = Proxy::start(routes, &[cluster("a", &[&upstream], more)]).await;
    (proxy, upstream)
}

/// Lets a client do something five times, each with a path of its own; then the instance is asked for the next, and for nothing
/// in between. Each is written down like this.
async fn is_held_against_no_instance(log: &str, act: impl AsyncFn(&Proxy, &Upstream, &str)) {
    let (proxy, upstream) = start().await;
    for path in ["/0", "/1", "/2", "/3", "/4"] {
        act(&proxy, &upstream, path).await;
    }
    let mut client = proxy.connect().await;
    client.say("GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = tokio::select! {
        instance = upstream.accept() => instance,
        (status, _) = client.answer() => panic!("the instance is left out: {status}"),
    };
    assert_eq!(instance.head().await[0], "GET /next HTTP/1.1");
    instance.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    let lines = proxy.stop().await;
    assert_eq!(lines[..5], [log; 5]);
    assert_eq!(lines[5..], ["200 - via_upstream"]);
}

/// So the other tests could fail.
#[tokio::test]
async fn one_failure_of_an_instance_leaves_it_out() {
    let (proxy, upstream) = start().await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    upstream.accept().await.head().await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 503 Service Unavailable");
    drop(client);
    assert_eq!(proxy.stop().await, ["503 UH no_healthy_upstream"]);
}

#[tokio::test]
async fn a_chunk_that_is_none_is_400_of_the_client() {
    is_held_against_no_instance("400 DPE http1.codec_error", async |proxy, upstream, path| {
        let mut client = proxy.connect().await;
        client.say(&format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")).await;
        let mut instance = upstream.accept().await;
        assert_eq!(instance.head().await[0], format!("POST {path} HTTP/1.1"));
        instance.hears("2\r\nok\r\n").await;
        client.say("zz\r\nok\r\n").await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request");
        assert_eq!(instance.end().await, "");
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_aborted_is_the_clients() {
    is_held_against_no_instance("0 DC downstream_remote_disconnect", async |proxy, upstream, path| {
        let mut client = proxy.connect().await;
        client.say(&format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")).await;
        let mut instance = upstream.accept().await;
        assert_eq!(instance.head().await[0], format!("POST {path} HTTP/1.1"));
        instance.hears("half").await;
        drop(client);
        assert_eq!(instance.end().await, "");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_at_fault_itself() {
    is_held_against_no_instance("200 DC downstream_remote_disconnect", async |proxy, upstream, path| {
        let mut client = proxy.connect().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let mut instance = upstream.accept().await;
        assert_eq!(instance.head().await[0], format!("GET {path} HTTP/1.1"));
        instance.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
        instance.say_until_nobody_reads().await;
        client.reset();
        instance.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_the_clients() {
    for answered in [false, true] {
        let log = if answered { "200 DR http2.remote_reset" } else { "0 DR http2.remote_reset" };
        is_held_against_no_instance(log, async |proxy, upstream, path| {
            let stream = TcpStream::connect(proxy.address()).await.unwrap();
            let (mut sender, connection) = client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = Request::post(format!("http://a{path}")).body(()).unwrap();
            let (answer, mut body) = sender.send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            let mut instance = upstream.accept().await;
            assert_eq!(instance.head().await[0], format!("POST {path} HTTP/1.1"));
            let mut answer = Some(answer);
            if answered {
                instance.say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await;
                in_time("an answer comes", answer.take().unwrap()).await.unwrap();
            }
            body.send_reset(Reason::CANCEL);
            instance.end().await;
        })
        .await;
    }
}

/// A reset by which nobody complains is no end: what came before it is half a request.
#[tokio::test]
async fn an_upload_that_is_reset_without_an_error_is_not_complete() {
    let (proxy, upstream) = start().await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut sender, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/").body(()).unwrap();
    let (_answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.hears("4\r\nhalf\r\n").await;
    body.send_reset(Reason::NO_ERROR);
    assert_eq!(instance.end().await, "", "no last chunk");
}

#[tokio::test]
async fn a_host_that_http2_cannot_carry_is_the_clients() {
    let upstream = Upstream::start().await;
    let (routes, mut more) = strict();
    more["typedExtensionProtocolOptions"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"http2ProtocolOptions": {}},
    }});
    let proxy = Proxy::start(routes, &[cluster("a", &[&upstream], more)]).await;
    // Who asks with one of these gets 400, be it for its head or for what becomes of it.
    for host in ["a:b:c", "[::1", "a%zz", "a^b", "a`b"] {
        let mut client = proxy.connect().await;
        client.say(&format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        let answer = tokio::select! {
            (status, _) = client.answer() => status,
            _ = upstream.accept() => "it is sent on".to_owned(),
        };
        assert_eq!(answer, "HTTP/1.1 400 Bad Request", "{host}");
    }
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answering = async {
        let mut connection = h2::server::handshake(upstream.accept().await.into_stream()).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_response(http::Response::new(()), true).unwrap();
        while connection.accept().await.is_some() {}
    };
    tokio::select! {
        (status, _) = client.answer() => assert_eq!(status, "HTTP/1.1 200 OK"),
        () = answering => panic!("the instance's connection has ended"),
    }
}

/// Who resets a stream without an error has what it wants.
#[tokio::test]
async fn a_stream_that_the_client_ends_in_good_order_is_nobodys_fault() {
    is_held_against_no_instance("0 - -", async |proxy, upstream, path| {
        let mut client = Frames::connect(proxy).await;
        client.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request(path))).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        client.say(&frame(RST_STREAM, 0, 1, &[0; 4])).await;
        instance.end().await;
    })
    .await;
}
