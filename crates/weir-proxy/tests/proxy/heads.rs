//! What is refused of a request's head, what is taken out of it, and whether the connection goes on.

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

async fn proxy(manager: Value, upstream: &Upstream) -> Proxy {
    Proxy::with_manager(manager, routes(json!([to("a")])), &[cluster("a", &[upstream], json!({}))]).await
}

#[tokio::test]
async fn heads_that_are_in_doubt_are_refused_logged_and_end_the_connection() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let cases = [
        ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400, "400 - path_normalization_failed"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "400 - missing_host_header"),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400, "400 DPE http1.invalid_authority"),
        ("FOO / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "400 DPE http1.codec_error"),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", 400, "400 - missing_host_header"),
        ("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: br, chunked\r\n\r\n", 501, "501 DPE http1.invalid_transfer_encoding"),
        ("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nContent-Length: 1\r\n\r\n", 400, "400 DPE http1.codec_error"),
    ];
    for (request, status, _) in cases {
        let mut client = proxy.connect().await;
        client.say(request).await;
        let (line, headers) = client.answer().await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?} {line}");
        assert!(headers.contains(&"connection: close".to_owned()), "{request:?} {headers:?}");
        client.end().await;
    }
    let logged = proxy.stop().await;
    assert_eq!(logged, cases.map(|(.., line)| line));
}

#[tokio::test]
async fn a_request_that_names_two_hosts_finds_no_route() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request");
    assert_eq!(proxy.stop().await, ["400 - several_hosts"]);
}

#[tokio::test]
async fn a_certificate_from_outside_reaches_nobody() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: By=x\r\n\r\n").await;
    let head = upstream.accept().await.head().await;
    assert!(!head.iter().any(|line| line.starts_with("x-forwarded-client-cert")), "{head:?}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_ends_the_connection() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhello").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
    assert!(headers.contains(&"connection: close".to_owned()), "{headers:?}");
    client.say("four").await;
    assert_eq!(client.end().await, "no");
}

#[tokio::test]
async fn answers_without_a_body_say_how_long_it_would_be() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let mut client = proxy.connect().await;
    let mut instance = None;
    for (method, answer, expected) in [
        ("GET", "304 Not Modified\r\ncontent-length: 7", Some("content-length: 7")),
        ("HEAD", "200 OK", Some("transfer-encoding: chunked")),
        ("HEAD", "200 OK\r\ncontent-length: 77", Some("content-length: 77")),
        ("GET", "204 No Content\r\ncontent-length: 0", None),
    ] {
        client.say(&format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let connection = match &mut instance {
            Some(connection) => connection,
            None => instance.insert(upstream.accept().await),
        };
        connection.head().await;
        connection.say(&format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let (_, headers) = client.answer().await;
        let framing = headers.iter().find(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding"));
        assert_eq!(framing.map(String::as_str), expected, "{method} {answer}");
    }
}

#[tokio::test]
async fn the_fields_of_a_connection_manager_change_heads() {
    let upstream = Upstream::start().await;
    let manager = json!({
        "stripAnyHostPort": true,
        "stripTrailingHostDot": true,
        "via": "proxy",
        "alwaysSetRequestIdInResponse": true,
        "schemeHeaderTransformation": {"schemeToOverwrite": "https"},
        "commonHttpProtocolOptions": {"headersWithUnderscoresAction": "DROP_HEADER", "maxRequestsPerConnection": 1},
        "httpProtocolOptions": {"headerKeyFormat": {"properCaseWords": {}}},
    });
    let proxy = proxy(manager, &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a.:80\r\nx_own: 1\r\nvia: 1.1 client\r\nx-request-id: mine\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    for line in ["host: a", "via: 1.1 client, proxy", "x-forwarded-proto: https", "x-request-id: mine"] {
        assert!(head.contains(&line.to_owned()), "no {line} in {head:?}");
    }
    assert!(!head.iter().any(|line| line.starts_with("x_own")), "{head:?}");
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    for line in ["Via: proxy", "X-Request-Id: mine", "Connection: close", "Content-Length: 0"] {
        assert!(headers.iter().any(|found| found.eq(line)), "no {line} in {headers:?}");
    }
    client.end().await;
}

#[tokio::test]
async fn names_of_headers_stay_as_they_were_spelled() {
    let upstream = Upstream::start().await;
    let formatter = json!({"statefulFormatter": {"name": "preserve_case", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"}}});
    let proxy = proxy(json!({"httpProtocolOptions": {"headerKeyFormat": formatter}}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nHost: a\r\nX-MiXed: 1\r\n\r\n").await;
    let head = upstream.accept().await.head().await;
    assert!(head.contains(&"X-MiXed: 1".to_owned()), "{head:?}");
}

#[tokio::test]
async fn an_instances_head_that_is_in_doubt_is_no_answer() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let many: String = (0..120).map(|i| format!("x-{i}: 1\r\n")).collect();
    for head in ["HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n".to_owned(), format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{many}")] {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        instance.say(&format!("{head}\r\n")).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 502 Bad Gateway", "{head}");
        instance.end().await;
    }
}

#[tokio::test]
async fn a_client_is_sent_to_the_path_without_escaped_slashes() {
    let manager = json!({"pathWithEscapedSlashesAction": "UNESCAPE_AND_REDIRECT", "normalizePath": true, "mergeSlashes": true});
    let routes = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    let proxy = Proxy::with_manager(manager, routes, &[]).await;
    let mut client = proxy.connect().await;
    for (path, location) in [("/a%2Fb?x=%2F", "/a/b?x=%2F"), ("/a%2F..%2f/c", "/c")] {
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let (status, headers) = client.answer().await;
        assert_eq!(status, "HTTP/1.1 307 Temporary Redirect");
        assert!(headers.contains(&format!("location: {location}")), "{headers:?}");
    }
    // By the same connection.
    client.say("GET /a/b HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 204 No Content");
    client.say("POST /a%5cb HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    assert!(headers.contains(&"grpc-status: 13".to_owned()), "{headers:?}");
    let redirected = "307 - path_normalization_failed";
    assert_eq!(proxy.stop().await, [redirected, redirected, "204 - direct_response", "200 - path_normalization_failed"]);
}

/// As in Envoy: a proxy before us that tells no scheme leaves nothing to route by.
#[tokio::test]
async fn who_is_told_to_have_come_by_no_scheme_finds_no_route() {
    let upstream = Upstream::start().await;
    let proxy = proxy(json!({}), &upstream).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto:\r\n\r\n").await;
    let status = tokio::select! {
        (status, _) = client.answer() => status,
        _ = upstream.accept() => "it is sent on".to_owned(),
    };
    assert_eq!(status, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn a_client_of_a_trusted_proxy_that_took_tls_off_is_not_sent_to_tls_again() {
    let mut table = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 204}}]));
    table["virtualHosts"][0]["requireTls"] = json!("ALL");
    for (hops, status) in [(0, "HTTP/1.1 301 Moved Permanently"), (1, "HTTP/1.1 204 No Content")] {
        let manager = json!({"useRemoteAddress": true, "xffNumTrustedHops": hops});
        let proxy = Proxy::with_manager(manager, table.clone(), &[]).await;
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n").await;
        assert_eq!(client.answer().await.0, status, "{hops} trusted proxies");
    }
}
