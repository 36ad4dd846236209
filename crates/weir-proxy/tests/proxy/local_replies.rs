//! Answers of the proxy's own that look otherwise than usual.

use serde_json::json;

use crate::support::{Proxy, cluster, routes, to};

#[tokio::test]
async fn the_first_mapper_that_takes_an_answer_changes_it() {
    let status = |code: u32| json!({"statusCodeFilter": {"comparison": {"op": "EQ", "value": {"defaultValue": code, "runtimeKey": "k"}}}});
    let manager = json!({"localReplyConfig": {
        "mappers": [
            {"filter": status(500), "statusCode": 418},
            {"filter": status(404), "statusCode": 410, "body": {"inlineString": "gone"},
             "headersToAdd": [{"header": {"key": "x-why", "value": "%RESPONSE_CODE_DETAILS%"}}]},
            {"filter": status(404), "statusCode": 411},
        ],
        "bodyFormat": {"jsonFormat": {"code": "%RESPONSE_CODE%", "text": "%LOCAL_REPLY_BODY%"}},
    }});
    let proxy = Proxy::with_manager(manager, routes(json!([])), &[]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 410 Gone");
    for line in ["content-type: application/json", "x-why: route_not_found"] {
        assert!(headers.contains(&line.to_owned()), "no {line} in {headers:?}");
    }
    client.hears("{\"code\":410,\"text\":\"gone\"}\n").await;
    assert_eq!(proxy.stop().await, ["410 NR route_not_found"]);
}

#[tokio::test]
async fn what_a_route_writes_of_an_answer_s_status_is_written_before_it_is_known() {
    let redirect = json!({"match": {"prefix": "/to"}, "redirect": {"hostRedirect": "b"}});
    let mut routes = routes(json!([redirect, to("nowhere")]));
    routes["virtualHosts"][0]["responseHeadersToAdd"] = json!([{"header": {"key": "x-status", "value": "%RESPONSE_CODE%"}}]);
    // What the mappers write comes later, and knows it.
    let mapper = json!({"headersToAdd": [{"header": {"key": "x-mapped", "value": "%RESPONSE_CODE%"}}],
        "filter": {"notHealthCheckFilter": {}}});
    let proxy = Proxy::with_manager(json!({"localReplyConfig": {"mappers": [mapper]}}), routes, &[]).await;
    for (path, status) in [("/to", "301 Moved Permanently"), ("/", "503 Service Unavailable")] {
        let mut client = proxy.connect().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (found, headers) = client.answer().await;
        assert_eq!(found, format!("HTTP/1.1 {status}"));
        for line in ["x-status: 0".to_owned(), format!("x-mapped: {}", &status[..3])] {
            assert!(headers.contains(&line), "no {line} in {headers:?}");
        }
    }
}

#[tokio::test]
async fn who_is_refused_is_known_by_its_route_where_its_scheme_was_told() {
    let mapper = json!({"headersToAdd": [{"header": {"key": "x-route", "value": "%ROUTE_NAME%|%UPSTREAM_CLUSTER%"}}],
        "filter": {"notHealthCheckFilter": {}}});
    let mut table = routes(json!([{"name": "r", "match": {"prefix": "/"}, "route": {"cluster": "a"}}]));
    table["virtualHosts"][0]["responseHeadersToAdd"] = json!([{"header": {"key": "x-added", "value": "1"}}]);
    let proxy = Proxy::with_manager(json!({"localReplyConfig": {"mappers": [mapper]}}), table, &[cluster("a", &[], json!({}))]).await;
    let told = "x-forwarded-proto: http\r\n";
    for (head, route) in [
        (format!("GET / HTTP/1.1\r\n{told}\r\n"), "r|a"),
        (format!("GET /#b HTTP/1.1\r\nhost: a\r\n{told}\r\n"), "r|a"),
        ("GET /#b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "|"),
        (format!("GET / HTTP/1.1\r\nhost: a b\r\n{told}\r\n"), "|"),
    ] {
        let mut client = proxy.connect().await;
        client.say(&head).await;
        let (status, headers) = client.answer().await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert!(headers.contains(&format!("x-route: {route}")), "{head:?}: {headers:?}");
        assert!(!headers.iter().any(|line| line.starts_with("x-added")), "{head:?}: {headers:?}");
    }
}

#[tokio::test]
async fn a_mapper_finds_nothing_in_a_head_that_could_not_be_read() {
    let by = |name: &str| json!({"filter": {"headerFilter": {"header": {"name": name}}}, "statusCode": 418});
    let rest = json!({"filter": {"notHealthCheckFilter": {}}, "statusCode": 410});
    let mappers = [by(":authority"), by(":method"), by(":path"), by(":scheme"), rest];
    let proxy = Proxy::with_manager(json!({"localReplyConfig": {"mappers": mappers}}), routes(json!([])), &[]).await;
    for (head, status) in [("GET / HTTP/1.0\r\nhost: a\r\n\r\n", "410 Gone"), ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "418 Unknown")] {
        let mut client = proxy.connect().await;
        client.say(head).await;
        assert_eq!(client.answer().await.0, format!("HTTP/1.1 {status}"), "{head:?}");
    }
}

#[tokio::test]
async fn an_answer_of_nothing_is_of_no_type_whatever_its_route_says() {
    let redirect = json!({"match": {"prefix": "/to"}, "redirect": {"hostRedirect": "b"}});
    let mut table = routes(json!([redirect, {"match": {"prefix": "/"}, "directResponse": {"status": 200, "body": {"inlineString": "x"}}}]));
    table["virtualHosts"][0]["responseHeadersToAdd"] = json!([{"header": {"key": "content-type", "value": "own"}}]);
    let proxy = Proxy::start(table, &[]).await;
    let mut client = proxy.connect().await;
    for (path, told) in [("/to", false), ("/", true)] {
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (_, headers) = client.answer().await;
        assert_eq!(headers.contains(&"content-type: own".to_owned()), told, "{headers:?}");
    }
}

#[tokio::test]
async fn an_answer_without_content_has_no_body_whatever_its_route_says() {
    let route = json!({"match": {"prefix": "/"}, "directResponse": {"status": 204, "body": {"inlineString": "hello"}}});
    let proxy = Proxy::start(routes(json!([route])), &[]).await;
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let (status, headers) = client.answer().await;
        assert_eq!(status, "HTTP/1.1 204 No Content");
        assert!(!headers.iter().any(|line| line.starts_with("content-length")), "{headers:?}");
    }
    drop(client);
    assert_eq!(proxy.stop().await, ["204 - direct_response"; 2]);
}

/// The body of a gRPC answer is its `grpc-message`, and HEAD asks for none.
#[tokio::test]
async fn the_head_of_a_grpc_answer_has_no_message() {
    let table = routes(json!([{"match": {"prefix": "/"}, "directResponse": {"status": 503, "body": {"inlineString": "later"}}}]));
    let proxy = Proxy::start(table, &[]).await;
    for (method, told) in [("POST", true), ("HEAD", false)] {
        let mut client = proxy.connect().await;
        client.say(&format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\r\n")).await;
        let (_, headers) = client.answer().await;
        assert!(headers.contains(&"grpc-status: 14".to_owned()), "{headers:?}");
        assert_eq!(headers.contains(&"grpc-message: later".to_owned()), told, "{method}");
    }
}

#[tokio::test]
async fn an_answer_says_that_its_connection_ends() {
    let route = json!({"match": {"prefix": "/"}, "directResponse": {"status": 204}});
    let proxy = Proxy::start(routes(json!([route])), &[]).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"] {
        let mut client = proxy.connect().await;
        client.say(request).await;
        let (_, headers) = client.answer().await;
        assert!(headers.contains(&"connection: close".to_owned()), "{request:?} {headers:?}");
        client.end().await;
    }
}
