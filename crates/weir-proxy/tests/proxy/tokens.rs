//! Tokens: keys that are fetched, kept, changed and out of reach, and what routes and instances are told of good ones.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, Wire, cluster, routes, to};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A secret, which is a key as well as another.
fn secret(name: &str) -> Vec<u8> {
    format!("the secret of {name}").into_bytes()
}

fn jwks(names: &[&str]) -> String {
    let key = |name: &&str| json!({"kty": "oct", "kid": name, "k": BASE64.encode(secret(name))});
    json!({"keys": names.iter().map(key).collect::<Vec<_>>()}).to_string()
}

/// A token of a key, with these claims besides the issuer.
fn token(name: &str, mut claims: Value) -> String {
    claims["iss"] = json!("issuer.test");
    let part = |value: &Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256", "kid": name})), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret(name)), text.as_bytes());
    format!("{text}.{}", BASE64.encode(signature))
}

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({"name": name, "typedConfig": config})
}

/// A connection manager that requires a token of one provider.
fn manager(mut provider: Value) -> Value {
    provider["issuer"] = json!("issuer.test");
    let rules = json!([{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}]);
    let check = filter("jwt", "jwt_authn.v3.JwtAuthentication", json!({"providers": {"p": provider}, "rules": rules}));
    json!({"httpFilters": [check, filter("router", "router.v3.Router", json!({}))]})
}

/// Where keys are fetched from, and more about that.
fn remote(more: Value) -> Value {
    let uri = json!({"uri": "https://keys.test:8443/set?v=1", "cluster": "keys", "timeout": "5s"});
    let mut remote = json!({"httpUri": uri, "cacheDuration": "600s"});
    remote.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"remoteJwks": remote})
}

/// A proxy, an instance, and a server of keys.
async fn start(provider: Value) -> (Proxy, Upstream, Upstream) {
    let (instance, keys) = (Upstream::start().await, Upstream::start().await);
    let clusters = [cluster("a", &[&instance], json!({})), cluster("keys", &[&keys], json!({}))];
    let proxy = Proxy::with_manager(manager(provider), routes(json!([to("a")])), &clusters).await;
    (proxy, instance, keys)
}

fn get(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A request that no instance sees, and what its client is told.
async fn refused(client: &mut Wire, token: &str, told: &str) {
    client.say(&get(token)).await;
    let (status, _) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    client.hears(told).await;
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let (proxy, instance, keys) = start(remote(json!({}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    let head = server.head().await;
    assert_eq!(head[0], "GET /set?v=1 HTTP/1.1");
    assert!(head.contains(&"host: keys.test:8443".to_owned()), "{head:?}");
    // Who comes meanwhile waits for the same keys.
    let mut second = proxy.connect().await;
    second.say(&get(&token("k1", json!({})))).await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = [instance.accept().await, instance.accept().await];
    for heard in &mut heard {
        let head = heard.head().await;
        assert!(!head.iter().any(|line| line.starts_with("authorization")), "{head:?}");
        heard.say(OK).await;
    }
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    assert_eq!(second.answer().await.0, "HTTP/1.1 200 OK");
    refused(&mut client, &token("k2", json!({})), "Jwks doesn't have key to match kid or alg from Jwt").await;
    let statistics = proxy.ask_admin("/stats").await;
    for (name, count) in [("allowed", 2), ("denied", 1), ("jwks_fetch_success", 1), ("jwks_fetch_failed", 0)] {
        let name = format!("envoy_http_jwt_authn_{name}{{");
        let line = statistics.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("no {name} in {statistics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
    drop((client, second));
    let mut log = proxy.stop().await;
    log.sort();
    let details = "jwt_authn_access_denied{Jwks_doesn't_have_key_to_match_kid_or_alg_from_Jwt}";
    assert_eq!(log, ["200 - via_upstream", "200 - via_upstream", &format!("401 - {details}")]);
}

#[tokio::test]
async fn keys_change_when_they_are_no_longer_good() {
    let (proxy, instance, keys) = start(remote(json!({"cacheDuration": "1s"}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    client.answer().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.say(&get(&token("k2", json!({})))).await;
    server.head().await;
    server.say(&answer(&jwks(&["k2"]))).await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    // Who has signed before does so no more.
    refused(&mut client, &token("k1", json!({})), "Jwks doesn't have key to match kid or alg from Jwt").await;
}

#[tokio::test]
async fn nobody_gets_in_without_keys() {
    let (proxy, instance, keys) = start(remote(json!({}))).await;
    let broken = [
        String::new(),
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
        answer("<html>"),
        answer(r#"{"keys": []}"#),
        "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{".to_owned(),
        "what?\r\n\r\n".to_owned(),
    ];
    for said in broken {
        let mut client = proxy.connect().await;
        client.say(&get(&token("k1", json!({})))).await;
        let mut server = keys.accept().await;
        server.head().await;
        server.say(&said).await;
        drop(server);
        assert_eq!(client.answer().await.0, "HTTP/1.1 401 Unauthorized", "{said:?}");
        client.hears("Jwks remote fetch is failed").await;
        // For a moment nobody is asked again.
        client.say(&get(&token("k1", json!({})))).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 401 Unauthorized", "{said:?}");
        client.hears("Jwks remote fetch is failed").await;
        tokio::time::sleep(Duration::from_millis(1050)).await;
    }
    // The next one is better off.
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn the_last_keys_stay_where_they_are_kept_fetched() {
    let (proxy, instance, keys) = start(remote(json!({"cacheDuration": "1s", "asyncFetch": {"failedRefetchDuration": "600s"}}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    client.answer().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.say(&get(&token("k1", json!({})))).await;
    server.head().await;
    server.say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    // It is not asked again for a while.
    for _ in 0..2 {
        heard.head().await;
        heard.say(OK).await;
        assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
        client.say(&get(&token("k1", json!({})))).await;
    }
}

#[tokio::test]
async fn a_fetch_is_tried_again_as_often_as_it_may() {
    let retries = json!({"numRetries": 2, "retryBackOff": {"baseInterval": "0.001s"}});
    let (proxy, instance, keys) = start(remote(json!({"retryPolicy": retries}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    for _ in 0..2 {
        drop(keys.accept().await);
    }
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_client_that_leaves_leaves_the_fetch_to_the_next() {
    let (proxy, instance, keys) = start(remote(json!({}))).await;
    let mut first = proxy.connect().await;
    first.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    server.head().await;
    let mut second = proxy.connect().await;
    second.say(&get(&token("k1", json!({})))).await;
    drop(first);
    assert_eq!(server.end().await, "");
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(second.answer().await.0, "HTTP/1.1 200 OK");
}

/// What stands in the configuration itself.
fn local(mut more: Value) -> Value {
    more["localJwks"] = json!({"inlineString": jwks(&["k1"])});
    more
}

#[tokio::test]
async fn claims_decide_about_the_route_and_are_told() {
    let more = json!({
        "payloadInMetadata": "payload", "clearRouteCache": true, "claimToHeaders": [{"headerName": "x-user", "claimName": "sub"}],
        "normalizePayloadInMetadata": {"spaceDelimitedClaims": ["scope"]},
    });
    let path = json!([{"key": "payload"}, {"key": "scope"}]);
    let one_of = json!({"listMatch": {"oneOf": {"stringMatch": {"exact": "admin"}}}});
    let claim = json!({"filter": "envoy.filters.http.jwt_authn", "path": path, "value": one_of});
    let admin = json!({"match": {"prefix": "/", "dynamicMetadata": [claim]}, "directResponse": {"status": 418}});
    let by_header = json!({"match": {"prefix": "/", "headers": [{"name": "x-user", "stringMatch": {"exact": "bob"}}]},
        "directResponse": {"status": 410}});
    let instance = Upstream::start().await;
    let clusters = [cluster("a", &[&instance], json!({}))];
    let proxy = Proxy::with_manager(manager(local(more)), routes(json!([admin, by_header, to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    for (claims, expected) in [(json!({"scope": "read admin"}), "HTTP/1.1 418"), (json!({"sub": "bob"}), "HTTP/1.1 410")] {
        client.say(&get(&token("k1", claims))).await;
        assert!(client.answer().await.0.starts_with(expected), "{expected}");
    }
    // What a client says itself is not believed.
    let forged = get(&token("k1", json!({"sub": "ann", "scope": "administrator"}))).replace("host: a", "host: a\r\nx-user: bob");
    client.say(&forged).await;
    let mut heard = instance.accept().await;
    let head = heard.head().await;
    assert!(head.contains(&"x-user: ann".to_owned()) && !head.contains(&"x-user: bob".to_owned()), "{head:?}");
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_route_may_ask_for_nothing_or_for_what_there_is_not() {
    let said = |mut config: Value| {
        config["@type"] = json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig");
        json!({"jwt": config})
    };
    let mut open = to("a");
    open["match"] = json!({"prefix": "/open"});
    open["typedPerFilterConfig"] = said(json!({"disabled": true}));
    let mut wrong = to("a");
    wrong["match"] = json!({"prefix": "/wrong"});
    wrong["typedPerFilterConfig"] = said(json!({"requirementName": "none"}));
    let instance = Upstream::start().await;
    let clusters = [cluster("a", &[&instance], json!({}))];
    let proxy = Proxy::with_manager(manager(local(json!({}))), routes(json!([open, wrong, to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    assert!(headers.contains(&"www-authenticate: Bearer realm=\"http://a/other\"".to_owned()), "{headers:?}");
    client.hears("Jwt is missing").await;
    client.say("GET /wrong HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 403 Forbidden");
    client.hears("Failed JWT authentication: Wrong requirement_name: none. It should be one of []").await;
    client.say("GET /open HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn keys_that_are_good_for_less_than_a_second_let_their_request_pass() {
    let (proxy, instance, keys) = start(remote(json!({"cacheDuration": "0.5s", "asyncFetch": {"failedRefetchDuration": "0s"}}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    let mut server = keys.accept().await;
    server.head().await;
    server.say(&answer(&jwks(&["k1"]))).await;
    let mut heard = instance.accept().await;
    heard.head().await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_time_that_no_clock_counts_to_ends_nothing() {
    let (proxy, _, keys) = start(remote(json!({"asyncFetch": {"failedRefetchDuration": "315576000000s"}}))).await;
    let mut client = proxy.connect().await;
    client.say(&get(&token("k1", json!({})))).await;
    drop(keys.accept().await);
    assert_eq!(client.answer().await.0, "HTTP/1.1 401 Unauthorized");
    client.hears("Jwks remote fetch is failed").await;
    assert!(proxy.ask_admin("/stats").await.contains("jwks_fetch_failed"));
}

/// What has a cluster take trailers.
fn trailing() -> Value {
    json!({"typedExtensionProtocolOptions": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"httpProtocolOptions": {"enableTrailers": true}},
    }}})
}

#[tokio::test]
async fn own_headers_do_not_come_in_behind_a_body() {
    let claims = local(json!({"claimToHeaders": [{"headerName": "x-user", "claimName": "sub"}], "forwardPayloadHeader": "x-payload"}));
    let mut manager = manager(claims);
    manager["httpProtocolOptions"] = json!({"enableTrailers": true});
    let instance = Upstream::start().await;
    let clusters = [cluster("a", &[&instance], trailing())];
    let proxy = Proxy::with_manager(manager, routes(json!([to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    let head = get(&token("k1", json!({"sub": "ann"}))).replace("GET", "POST").replace("host: a", "host: a\r\ntransfer-encoding: chunked");
    client.say(&format!("{head}2\r\nhi\r\n0\r\nx-user: admin\r\nX-Payload: e30\r\nx-own: 1\r\n\r\n")).await;
    let mut heard = instance.accept().await;
    let head = heard.head().await;
    assert!(head.contains(&"x-user: ann".to_owned()), "{head:?}");
    heard.hears("2\r\nhi\r\n0\r\nx-own: 1\r\n\r\n").await;
    heard.say(OK).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
}
