//! HTTP/1.1 from the socket on: what a client may write, how long it may take, and what the proxy answers that no handler sees.

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster, in_time, routes, to};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn start(manager: serde_json::Value) -> (Proxy, Upstream) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    (proxy, upstream)
}

/// Slowloris: a head that never ends holds a connection for as long as it may take, and no longer.
#[tokio::test]
async fn a_head_that_is_not_complete_in_time_is_408_and_others_do_not_notice() {
    let (proxy, upstream) = start(json!({"requestHeadersTimeout": "1s"})).await;
    let mut slow = proxy.connect().await;
    slow.say("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    let mut quick = proxy.connect().await;
    quick.say("GET /quick HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(quick.answer().await.0, "HTTP/1.1 200 OK");
    let head = slow.head().await;
    assert_eq!(head[0], "HTTP/1.1 408 Request Timeout");
    assert!(head.contains(&"connection: close".to_owned()), "{head:?}");
    slow.hears("request header timeout").await;
    slow.end().await;
    // Who is silent between two requests is not late.
    quick.say("GET /quick HTTP/1.1\r\nhost: a\r\n\r\n").await;
    instance.head().await;
    instance.say(OK).await;
    assert_eq!(quick.answer().await.0, "HTTP/1.1 200 OK");
    drop(quick);
    let mut lines = proxy.stop().await;
    lines.sort();
    assert_eq!(lines, ["200 - via_upstream", "200 - via_upstream", "408 - request_header_timeout"]);
}

#[tokio::test]
async fn what_is_no_request_is_answered_as_envoy_does() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}", "x".repeat(70 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(101));
    let cases = [
        // A client that speaks TLS to a port that does not.
        ("\u{16}\u{3}\u{1}", "400 Bad Request", "Bad Request", "400 DPE http1.codec_error"),
        // One that speaks something else, and waits.
        ("hello\n", "400 Bad Request", "Bad Request", "400 DPE http1.codec_error"),
        ("GET /\r\n\r\n", "400 Bad Request", "Bad Request", "400 DPE http1.codec_error"),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "400 Bad Request", "Bad Request", "400 DPE http1.codec_error"),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", "426 Upgrade Required", "", "426 DPE low_version"),
        ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", "426 Upgrade Required", "", "426 DPE low_version"),
        (long.as_str(), "431 Request Header Fields Too Large", "Request Header Fields Too Large", "431 DPE http1.headers_too_large"),
        (many.as_str(), "431 Request Header Fields Too Large", "Request Header Fields Too Large", "431 DPE http1.too_many_headers"),
    ];
    for (said, status, body, line) in cases {
        let (proxy, _upstream) = start(json!({})).await;
        let mut client = proxy.connect().await;
        client.say(said).await;
        let head = client.head().await;
        assert_eq!(head[0], format!("HTTP/1.1 {status}"), "{said:.40}");
        assert!(head.contains(&"connection: close".to_owned()), "{head:?}");
        client.hears(body).await;
        client.end().await;
        assert_eq!(proxy.stop().await, [line], "{said:.40}");
    }
}

#[tokio::test]
async fn a_path_that_no_uri_may_have_reaches_the_instance_as_it_stands() {
    let (proxy, upstream) = start(json!({})).await;
    let mut client = proxy.connect().await;
    client.say("GET /<a>`^|?\"{}> HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(upstream.accept().await.head().await[0], "GET /<a>`^|?\"{}> HTTP/1.1");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_one_after_the_other() {
    let (proxy, upstream) = start(json!({})).await;
    let mut client = proxy.connect().await;
    let with_body = "PUT /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    client.say(&format!("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n{with_body}\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    let mut instance = upstream.accept().await;
    assert_eq!(instance.head().await[0], "GET /1 HTTP/1.1");
    instance.say(OK).await;
    assert_eq!(instance.head().await[0], "PUT /2 HTTP/1.1");
    instance.hears("2\r\nok\r\n0\r\n\r\n").await;
    instance.say(OK).await;
    assert_eq!(instance.head().await[0], "GET /3 HTTP/1.1");
    instance.say(OK).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    }
}

/// A client that goes away while its answer is waited for takes the request with it.
#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_while_its_answer_is_waited_for() {
    let (proxy, upstream) = start(json!({})).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    drop(client);
    instance.end().await;
    assert_eq!(proxy.stop().await, ["0 DC downstream_remote_disconnect"]);
}

/// A client that never reads holds its instance's connection no longer than a stream may be silent.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let (proxy, upstream) = start(json!({"streamIdleTimeout": "1s"})).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
    instance.say_until_nobody_reads().await;
    in_time("the instance's connection ends", async { while instance.skip(1).await.is_some() {} }).await;
    drop(client);
}

/// A client that reads a little now and then is no such client.
#[tokio::test]
async fn a_client_that_reads_slowly_gets_all() {
    // Much more than the system keeps for either side.
    const LENGTH: usize = 64 << 20;
    let (proxy, upstream) = start(json!({"streamIdleTimeout": "2s"})).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    let writing = tokio::spawn(async move {
        instance.say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH))).await;
        instance
    });
    assert_eq!(client.head().await[0], "HTTP/1.1 200 OK");
    // Longer in all than a stream may be silent, and so little at a time that something always waits.
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        in_time("more comes", client.skip(LENGTH / 200)).await.expect("more comes");
    }
    in_time("the rest comes", client.skip(LENGTH - LENGTH / 200 * 100)).await.expect("all of it comes");
    writing.await.expect("it is written");
}

#[tokio::test]
async fn a_client_of_http_10_hears_no_interim_answers() {
    let manager = json!({"proxy100Continue": true, "httpProtocolOptions": {"acceptHttp10": true}});
    let (proxy, upstream) = start(manager).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say(&format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}")).await;
    assert_eq!(client.head().await[0], "HTTP/1.0 200 OK");
}

#[tokio::test]
async fn an_instance_that_changes_the_protocol_unasked_is_502() {
    let (proxy, upstream) = start(json!({})).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\nbytes").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway");
    instance.end().await;
}

/// The time for a head counts also before it is known which protocol it is of.
#[tokio::test]
async fn the_beginning_of_a_preface_is_not_waited_for_longer_than_a_head() {
    let (proxy, _upstream) = start(json!({"requestHeadersTimeout": "1s"})).await;
    let mut client = proxy.connect().await;
    client.say("PRI * HT").await;
    client.end().await;
}

#[tokio::test]
async fn a_length_that_a_route_takes_away_is_not_told() {
    let upstream = Upstream::start().await;
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}, "responseHeadersToRemove": ["content-length"]});
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let head = client.head().await;
    assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
    client.hears("2\r\nok\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn trailers_that_nobody_announced_pass_both_ways_where_they_are_enabled() {
    let upstream = Upstream::start().await;
    let manager = json!({"httpProtocolOptions": {"enableTrailers": true}});
    let options = json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {"enableTrailers": true}},
    }}});
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[&upstream], options)]).await;
    let mut client = proxy.connect().await;
    client.say("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-own: 1\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.hears("2\r\nok\r\n0\r\nx-own: 1\r\n\r\n").await;
    instance.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nx-back: 1\r\n\r\n").await;
    assert_eq!(client.head().await[0], "HTTP/1.1 200 OK");
    client.hears("2\r\nno\r\n0\r\nx-back: 1\r\n\r\n").await;
}

#[tokio::test]
async fn who_asks_for_another_protocol_and_has_no_route_gets_404() {
    let upstream = Upstream::start().await;
    let one = json!({"match": {"path": "/one"}, "route": {"cluster": "a"}});
    let proxy = Proxy::start(routes(json!([one])), &[cluster("a", &[&upstream], json!({}))]).await;
    for (path, status) in [("/other", "HTTP/1.1 404 Not Found"), ("/one", "HTTP/1.1 403 Forbidden")] {
        let mut client = proxy.connect().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n")).await;
        assert_eq!(client.answer().await.0, status);
        client.end().await;
    }
}
