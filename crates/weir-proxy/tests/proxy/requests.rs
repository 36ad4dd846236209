//! What a request and its answer look like on the other side.

use serde_json::json;

use crate::support::{Proxy, Upstream, cluster, routes, to};

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("PUT /a%2Fb?c=d&&e HTTP/1.1\r\nHost: Shop.example\r\nX-Twice: 1\r\nx-twice: 2\r\nContent-Length: 4\r\n\r\nbody").await;

    let mut instance = upstream.accept().await;
    let mut head = instance.head().await;
    head.retain(|line| !line.starts_with("x-request-id: "));
    let expected = [
        "PUT /a%2Fb?c=d&&e HTTP/1.1",
        "content-length: 4",
        "host: Shop.example",
        "x-envoy-expected-rq-timeout-ms: 15000",
        "x-forwarded-proto: http",
        "x-twice: 1",
        "x-twice: 2",
    ];
    assert_eq!(head, expected);
    instance.hears("body").await;

    instance.say("HTTP/1.1 201 Made it\r\nX-Answer: yes\r\ncontent-length: 2\r\n\r\nok").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 201 Created");
    assert!(headers.contains(&"x-answer: yes".to_owned()), "{headers:?}");
    client.hears("ok").await;
    assert_eq!(proxy.stop().await, ["201 - via_upstream"]);
}

#[tokio::test]
async fn headers_that_a_route_writes_are_made_of_the_request_as_it_was() {
    let upstream = Upstream::start().await;
    let mut route = to("a");
    let written = |name: &str, value: &str| json!({"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    route["request_headers_to_add"] =
        json!([written("x-b", "%REQ(x-a)% of %REQ(:path)%"), written("x-a", "new"), written("x-c", "%REQ(x-a)%")]);
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET /p HTTP/1.1\r\nhost: a\r\nx-a: old\r\n\r\n").await;

    let head = upstream.accept().await.head().await;
    for line in ["x-a: new", "x-b: old of /p", "x-c: old"] {
        assert!(head.iter().any(|found| found == line), "no {line} in {head:?}");
    }
}

#[tokio::test]
async fn what_concerns_one_connection_only_is_not_passed_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-own\r\nkeep-alive: timeout=5\r\nx-own: 1\r\nproxy-connection: close\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    for gone in ["connection:", "keep-alive:", "x-own:", "proxy-connection:"] {
        assert!(!head.iter().any(|line| line.starts_with(gone)), "{gone} in {head:?}");
    }
}

#[tokio::test]
async fn an_instances_connection_is_used_again() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    // Two clients, one after the other, and one connection to the instance for both.
    let mut instance = None;
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let connection = match &mut instance {
            Some(connection) => connection,
            None => instance.insert(upstream.accept().await),
        };
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n!").await;
        client.head().await;
        client.hears("!").await;
    }
}

#[tokio::test]
async fn a_request_whose_length_is_not_clear_goes_nowhere() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    const LENGTH: &str = "HTTP/1.1 400 Bad Request";
    const CODING: &str = "HTTP/1.1 501 Not Implemented";
    for (head, refused) in
        [("content-length: 4\r\ncontent-length: 5", LENGTH), ("transfer-encoding: chunked, x", CODING), ("transfer-encoding: x", CODING)]
    {
        let mut client = proxy.connect().await;
        client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n0\r\n\r\n")).await;
        let (status, _) = client.answer().await;
        assert_eq!(status, refused, "{head}");
        client.end().await;
    }
    // The first that the instance hears of is this one.
    let mut client = proxy.connect().await;
    client.say("GET /good HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(upstream.accept().await.head().await[0], "GET /good HTTP/1.1");
}

#[tokio::test]
async fn a_length_that_contradicts_the_chunks_goes_nowhere() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(routes(json!([to("a")])), &[cluster("a", &[&upstream], json!({}))]).await;
    for head in ["content-length: 40\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 40"] {
        let mut client = proxy.connect().await;
        client.say(&format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n")).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 400 Bad Request", "{head}");
        client.end().await;
    }
    assert_eq!(proxy.stop().await, ["400 DPE http1.codec_error"; 2]);
}

#[tokio::test]
async fn headers_tell_which_attempt_it_is_before_the_first() {
    let upstream = Upstream::start().await;
    let mut route = to("a");
    route["requestHeadersToAdd"] = json!([{"header": {"key": "x-attempt", "value": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}}]);
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = upstream.accept().await.head().await;
    assert!(head.contains(&"x-attempt: 1".to_owned()), "{head:?}");
}

/// How long an instance took is counted from the end of the request: who answers before that took no time that could be told.
#[tokio::test]
async fn the_time_of_an_instance_is_told_of_whole_requests_only() {
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (request, told) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", true),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf", false),
        (upgrade, false),
    ] {
        let upstream = Upstream::start().await;
        let websocket = json!({"upgradeConfigs": [{"upgradeType": "websocket"}]});
        let routes = routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]));
        let proxy = Proxy::with_manager(websocket, routes, &[cluster("a", &[&upstream], json!({}))]).await;
        let mut client = proxy.connect().await;
        client.say(request).await;
        let mut instance = upstream.accept().await;
        instance.head().await;
        if let Some((_, body)) = request.split_once("\r\n\r\n") {
            instance.hears(body).await;
        }
        instance.say("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        let (_, headers) = client.answer().await;
        assert_eq!(headers.iter().any(|line| line.starts_with("x-envoy-upstream-service-time")), told, "{request:?}");
    }
}

/// What belongs to a connection is for that connection to say, whoever adds it.
#[tokio::test]
async fn no_route_adds_to_an_answer_what_belongs_to_its_connection() {
    let upstream = Upstream::start().await;
    let add = |key: &str| json!({"header": {"key": key, "value": "v1"}});
    let mut route = to("a");
    route["responseHeadersToAdd"] = json!([add("connection"), add("keep-alive"), add("transfer-encoding"), add("x-new")]);
    let proxy = Proxy::start(routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    let added = headers.iter().filter(|line| line.ends_with(": v1") || line.starts_with("connection"));
    assert_eq!(added.collect::<Vec<_>>(), ["x-new: v1"]);
}

/// As in Envoy: the way to TLS is no route, so that nothing is added to it.
#[tokio::test]
async fn the_way_to_tls_is_told_as_it_is() {
    let mut table = routes(json!([to("a")]));
    let added = json!([{"header": {"key": "x-new", "value": "v1"}}]);
    table["virtualHosts"][0]["requireTls"] = json!("ALL");
    table["virtualHosts"][0]["responseHeadersToAdd"] = added.clone();
    table["responseHeadersToAdd"] = added;
    let proxy = Proxy::start(table, &[]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 301 Moved Permanently");
    assert!(headers.contains(&"location: https://a/".to_owned()) && !headers.contains(&"x-new: v1".to_owned()), "{headers:?}");
}

#[tokio::test]
async fn headers_by_which_the_proxy_tells_of_itself_are_left_out_where_that_is_said() {
    let upstream = Upstream::start().await;
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "suppressEnvoyHeaders": true});
    let manager = json!({"httpFilters": [{"name": "router", "typedConfig": router}]});
    let mut route = to("a");
    route["route"]["prefixRewrite"] = json!("/new");
    let proxy = Proxy::with_manager(manager, routes(json!([route])), &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut instance = upstream.accept().await;
    let head = instance.head().await;
    instance.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    for line in head.iter().chain(&headers) {
        assert!(!line.starts_with("x-envoy-"), "{line}");
    }
}
