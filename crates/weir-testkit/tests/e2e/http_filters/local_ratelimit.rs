//! Limits that each proxy counts alone.

use hyper::{Request, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Told, Xds, cluster, filter, packed};

use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    requests_are_limited_and_told_what_is_left,
    routes_have_limits_of_their_own,
    descriptors_have_buckets_of_their_own,
    calls_are_refused_by_a_grpc_status,
    requests_that_reach_no_instance_count,
);

const NAME: &str = "limits";

/// A bucket that is not filled again while a test runs.
fn bucket(tokens: u32) -> Value {
    json!({"maxTokens": tokens, "tokensPerFill": tokens.max(1), "fillInterval": "3600s"})
}

/// The filter, or a route's configuration of it, for all requests.
fn limits(more: Value) -> Value {
    let all = json!({"defaultValue": {"numerator": 100}});
    let mut config = json!({"statPrefix": "test", "filterEnabled": all, "filterEnforced": all});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    packed("filters.http.local_ratelimit.v3.LocalRateLimit", config)
}

async fn start(plane: DataPlane, config: Value, routes: Vec<Value>) -> (LoneProxy, Recorder) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let clusters = vec![cluster("a", peer.address())];
    let xds = Xds { filters: vec![filter(NAME, config)], routes, clusters, ..Xds::default() };
    (LoneProxy::start(plane, &xds).await, peer)
}

/// The status of each answer to the same request.
async fn statuses(proxy: &LoneProxy, times: usize, request: impl Fn() -> Request<Content>) -> Vec<u16> {
    let mut statuses = vec![];
    for _ in 0..times {
        statuses.push(proxy.ask(request()).await.unwrap().status);
    }
    statuses
}

async fn requests_are_limited_and_told_what_is_left(plane: DataPlane) {
    let added = json!([{"header": {"key": "x-limited", "value": "by %REQ(:path)%"}}]);
    let config = json!({"tokenBucket": bucket(2), "responseHeadersToAdd": added, "enableXRatelimitHeaders": "DRAFT_VERSION_03"});
    let (proxy, mut peer) = start(plane, limits(config), vec![route("/", json!({}))]).await;
    let left = |told: &Told| {
        let reset: u64 = told.header("x-ratelimit-reset").parse().unwrap();
        // While something is left there is nothing to wait for.
        let expected = if told.header("x-ratelimit-remaining") == "0" { 1700..=1800 } else { 0..=0 };
        assert!(expected.contains(&reset), "{told:?}");
        (told.status, told.header("x-ratelimit-limit"), told.header("x-ratelimit-remaining"), told.header("x-limited"), told.text())
    };
    let texts = |status, remaining: &str, limited: &str, body: &str| {
        (status, "2".to_owned(), remaining.to_owned(), limited.to_owned(), body.to_owned())
    };
    for remaining in ["1", "0"] {
        assert_eq!(left(&proxy.ask(get("/p")).await.unwrap()), texts(200, remaining, "", ""));
        peer.asked().await;
    }
    let told = proxy.ask(get("/p")).await.unwrap();
    assert_eq!(left(&told), texts(429, "0", "by /p", "local_rate_limited"));
    assert_eq!((told.header("content-type"), told.header("retry-after")), ("text/plain".to_owned(), String::new()));
    assert!(!peer.has_been_asked());
    assert_eq!(proxy.log(3).await.pop().unwrap(), "429 RL local_rate_limited a");
}

async fn routes_have_limits_of_their_own(plane: DataPlane) {
    let never = json!({"defaultValue": {"numerator": 0}});
    let added = json!([{"header": {"key": "x-over", "value": "yes"}}]);
    let one = |more: Value| {
        let mut config = json!({"tokenBucket": bucket(1)});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({NAME: limits(config)})
    };
    let routes = vec![
        route("/none", json!({NAME: limits(json!({"tokenBucket": bucket(0)}))})),
        route("/status", one(json!({"status": {"code": "ServiceUnavailable"}}))),
        route("/no-error", one(json!({"status": {"code": "Accepted"}}))),
        route("/not-enforced", one(json!({"filterEnforced": never, "requestHeadersToAddWhenNotEnforced": added}))),
        route("/not-enabled", one(json!({"filterEnabled": never}))),
        route("/each-connection", one(json!({"localRateLimitPerDownstreamConnection": true}))),
        route("/", json!({})),
    ];
    // The filter itself has no bucket, so nothing is limited but by routes.
    let (proxy, mut peer) = start(plane, limits(json!({})), routes).await;
    let cases = [
        ("/none", [429, 429]),
        ("/status", [200, 503]),
        ("/no-error", [200, 429]),
        ("/not-enabled", [200, 200]),
        ("/each-connection", [200, 200]),
        ("/", [200, 200]),
    ];
    for (path, expected) in cases {
        assert_eq!(statuses(&proxy, 2, || get(path)).await, expected, "{path}");
    }
    while peer.has_been_asked() {}
    for over in ["", "yes"] {
        assert_eq!(proxy.ask(get("/not-enforced")).await.unwrap().status, 200);
        assert_eq!(peer.asked().await.header("x-over"), over);
    }
}

async fn descriptors_have_buckets_of_their_own(plane: DataPlane) {
    let of_user = json!({"actions": [{"requestHeaders": {"headerName": "x-user", "descriptorKey": "user"}}]});
    let of_path = json!({"actions": [{"genericKey": {"descriptorKey": "path", "descriptorValue": "p"}}]});
    let rule = |key: &str, value: &str, tokens| json!({"entries": [{"key": key, "value": value}], "tokenBucket": bucket(tokens)});
    let descriptors = json!([rule("user", "a", 1), rule("user", "b", 2), rule("path", "p", 3)]);
    let config = json!({"tokenBucket": bucket(100), "descriptors": descriptors, "enableXRatelimitHeaders": "DRAFT_VERSION_03"});
    let mut limited = route("/p", json!({}));
    limited["route"]["rateLimits"] = json!([of_user, of_path]);
    let (proxy, _peer) = start(plane, limits(config), vec![limited, route("/", json!({}))]).await;
    // Of `/p` there are three, whoever asks: one that a user's own limit refuses does not count.
    let cases = [
        ("/p", "a", 200, "1"),
        ("/p", "a", 429, "1"),
        ("/p", "b", 200, "2"),
        ("/p", "c", 200, "3"),
        ("/p", "c", 429, "3"),
        ("/", "a", 200, "100"),
    ];
    for (i, (path, user, status, limit)) in cases.into_iter().enumerate() {
        let told = proxy.ask(request("GET", path, &[("x-user", user)], Content::default())).await.unwrap();
        assert_eq!((told.status, told.header("x-ratelimit-limit").as_str()), (status, limit), "request {i}: {path} of {user}");
    }
}

async fn calls_are_refused_by_a_grpc_status(plane: DataPlane) {
    let exhausted = json!({NAME: limits(json!({"tokenBucket": bucket(0), "rateLimitedAsResourceExhausted": true}))});
    let routes = vec![route("/exhausted", exhausted), route("/", json!({}))];
    let (proxy, _peer) = start(plane, limits(json!({"tokenBucket": bucket(0)})), routes).await;
    for (path, status) in [("/exhausted", "8"), ("/", "14")] {
        let call = request("POST", path, &[("content-type", "application/grpc")], Content::of(&b"\0\0\0\0\0"[..]));
        let told = proxy.ask_http2(call).await.unwrap();
        let said = (told.status, told.header("grpc-status"), told.header("grpc-message"), told.text());
        assert_eq!(said, (200, status.to_owned(), "local_rate_limited".to_owned(), String::new()), "{path}");
        // What is no call gets the status of HTTP, whatever that of gRPC would be.
        assert_eq!(proxy.ask_http2(get(path)).await.unwrap().status, 429, "{path}");
    }
}

async fn requests_that_reach_no_instance_count(plane: DataPlane) {
    let routes = vec![
        json!({"match": {"prefix": "/moved"}, "redirect": {"pathRedirect": "/new"}}),
        json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
    ];
    for (path, status) in [("/moved", 301), ("/direct", 418), ("/nowhere", 404)] {
        let (proxy, _peer) = start(plane, limits(json!({"tokenBucket": bucket(1)})), routes.clone()).await;
        assert_eq!(statuses(&proxy, 2, || get(path)).await, [status, 429], "{path}");
    }
}
