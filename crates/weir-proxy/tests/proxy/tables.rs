//! What a table of routes says of all its requests.

use serde_json::{Value, json};

use crate::support::{Proxy, Told, Upstream, cluster, routes, to};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// The same table, of which these fields are said besides.
fn with(mut table: Value, more: &Value) -> Value {
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    table
}

#[tokio::test]
async fn a_header_may_name_the_virtual_host() {
    let host = |domain: &str, status: u32| json!({"name": domain, "domains": [domain], "routes": [{"match": {"prefix": "/"}, "directResponse": {"status": status}}]});
    let table = json!({"name": "routes", "vhostHeader": "x-host", "virtualHosts": [host("one.test", 401), host("two.test", 402)]});
    let proxy = Proxy::start(table, &[]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: one.test\r\nx-host: two.test\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 402 Payment Required");
}

#[tokio::test]
async fn headers_that_nobody_outside_may_say_are_taken_away_before_a_route_is_looked_for() {
    let upstream = Upstream::start().await;
    let trusting =
        json!({"match": {"prefix": "/", "headers": [{"name": "x-own", "presentMatch": true}]}, "directResponse": {"status": 403}});
    let table = with(routes(json!([trusting, to("a")])), &json!({"internalOnlyHeaders": ["X-Own"]}));
    let proxy = Proxy::start(table, &[cluster("a", &[&upstream], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nx-own: 1\r\n\r\n").await;
    let mut instance = tokio::select! {
        instance = upstream.accept() => instance,
        (status, _) = client.answer() => panic!("it is believed: {status}"),
    };
    let head = instance.head().await;
    assert!(!head.iter().any(|line| line.starts_with("x-own")), "{head:?}");
}

#[tokio::test]
async fn a_route_that_names_no_copies_has_those_of_its_table() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let table = with(routes(json!([to("a")])), &json!({"requestMirrorPolicies": [{"cluster": "b"}]}));
    let proxy = Proxy::start(table, &[cluster("a", &[&one], json!({})), cluster("b", &[&two], json!({}))]).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    let (mut instance, mut mirror) = (one.accept().await, two.accept().await);
    assert_eq!(
        (instance.head().await.remove(0), mirror.head().await.remove(0)),
        ("GET / HTTP/1.1".to_owned(), "GET / HTTP/1.1".to_owned())
    );
}

#[tokio::test]
async fn faults_of_a_table_and_of_a_chosen_cluster_reach_its_requests() {
    let fault = json!({"envoy.filters.http.fault": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"httpStatus": 418, "percentage": {"numerator": 100}},
    }});
    let of_table = with(routes(json!([to("a")])), &json!({"typedPerFilterConfig": fault}));
    let weighted = json!({"clusters": [{"name": "a", "weight": 1, "typedPerFilterConfig": fault}]});
    let of_cluster = routes(json!([{"match": {"prefix": "/"}, "route": {"weightedClusters": weighted}}]));
    for table in [of_table, of_cluster] {
        let upstream = Upstream::start().await;
        let proxy = Proxy::start(table, &[cluster("a", &[&upstream], json!({}))]).await;
        let mut client = proxy.connect().await;
        client.say(GET).await;
        let status = tokio::select! {
            (status, _) = client.answer() => status,
            _ = upstream.accept() => "it is sent on".to_owned(),
        };
        assert!(status.starts_with("HTTP/1.1 418 "), "{status}");
    }
}

#[tokio::test]
async fn a_table_that_never_comes_does_not_keep_its_listener_closed() {
    let rds = json!({"routeConfigName": "missing", "configSource": {"ads": {}}});
    let proxy = Proxy::told(Told { manager: json!({"rds": rds}), ..Told::default() }).await;
    let mut client = proxy.connect().await;
    client.say(GET).await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 404 Not Found");
    assert_eq!(proxy.stop().await, ["404 NR route_not_found"]);
}
