//! Who may ask for what, and who may connect.

use serde_json::{Value, json};

use crate::support::{Authority, Proxy, SecureClient, Told, Upstream, cluster, routes, secure, to};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const RBAC: &str = "envoy.filters.http.rbac";

fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.{kind}"));
    config
}

fn filter(name: &str, config: Value) -> Value {
    json!({"name": name, "typedConfig": config})
}

fn rbac(config: Value) -> Value {
    typed("http.rbac.v3.RBAC", config)
}

/// A connection manager with these filters before the router.
fn manager(mut filters: Vec<Value>) -> Value {
    filters.push(filter("router", typed("http.router.v3.Router", json!({}))));
    json!({"httpFilters": filters})
}

/// Policies that each match a path.
fn rules(action: &str, policies: &[(&str, &str)]) -> Value {
    let policy = |path: &str| json!({"permissions": [{"urlPath": {"path": {"exact": path}}}], "principals": [{"any": true}]});
    let policies: serde_json::Map<String, Value> = policies.iter().map(|(name, path)| ((*name).to_owned(), policy(path))).collect();
    json!({"action": action, "policies": policies})
}

/// A proxy whose instance answers all that it is asked.
async fn start(filters: Vec<Value>, routes_of: Value) -> Proxy {
    let instance = Upstream::start().await;
    let clusters = [cluster("a", &[&instance], json!({}))];
    instance.answer_all(OK.as_bytes());
    Proxy::with_manager(manager(filters), routes(routes_of), &clusters).await
}

/// The statuses of these paths.
async fn statuses(proxy: &Proxy, paths: &[&str]) -> Vec<String> {
    let mut all = vec![];
    for path in paths {
        let mut client = proxy.connect().await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        all.push(client.end().await.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    all
}

async fn counted(proxy: &Proxy, names: &[(&str, u64)]) {
    let statistics = proxy.ask_admin("/stats").await;
    for (name, expected) in names {
        let line = statistics.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {statistics}"));
        assert!(line.ends_with(&format!(" {expected}")), "{line}");
    }
}

#[tokio::test]
async fn those_are_let_in_whom_a_policy_allows() {
    let proxy =
        start(vec![filter(RBAC, rbac(json!({"rules": rules("ALLOW", &[("one", "/a"), ("other", "/b")])})))], json!([to("a")])).await;
    assert_eq!(statuses(&proxy, &["/a", "/b?x", "/c"]).await, ["200", "200", "403"]);
    let mut client = proxy.connect().await;
    client.say("GET /c HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (_, headers) = client.answer().await;
    assert!(headers.contains(&"content-type: text/plain".to_owned()), "{headers:?}");
    client.hears("RBAC: access denied").await;
    // The connection is good for more.
    client.say("GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.0, "HTTP/1.1 200 OK");
    drop(client);
    let all = [("allowed", 3), ("denied", 2), ("shadow_allowed", 0), ("shadow_denied", 0)];
    for (name, count) in all {
        counted(&proxy, &[(&format!("envoy_http_rbac_{name}"), count)]).await;
    }
    let statistics = proxy.ask_admin("/stats").await;
    let label = "envoy_http_rbac_denied{envoy_http_conn_manager_prefix=\"test\",";
    assert!(statistics.lines().any(|line| line.starts_with(label)), "{statistics}");
    let log = proxy.stop().await;
    assert_eq!(log.iter().filter(|line| *line == "403 - rbac_access_denied_matched_policy[none]").count(), 2, "{log:?}");
}

#[tokio::test]
async fn those_are_refused_whom_a_policy_denies_before_another_allows_them() {
    let filters = vec![
        filter("deny", rbac(json!({"rules": rules("DENY", &[("no way", "/a")]), "rulesStatPrefix": "d_"}))),
        filter("allow", rbac(json!({"rules": rules("ALLOW", &[("one", "/a"), ("other", "/b")]), "rulesStatPrefix": "a_"}))),
    ];
    let proxy = start(filters, json!([to("a")])).await;
    assert_eq!(statuses(&proxy, &["/a", "/b", "/c"]).await, ["403", "200", "403"]);
    // Whom the first refuses the second is not asked about.
    let names = ["d_allowed", "d_denied", "a_allowed", "a_denied"].map(|name| format!("envoy_http_rbac_{name}"));
    counted(&proxy, &[(&names[0], 2), (&names[1], 1), (&names[2], 1), (&names[3], 1)]).await;
    let log = proxy.stop().await;
    let expected =
        ["403 - rbac_access_denied_matched_policy[no_way]", "200 - via_upstream", "403 - rbac_access_denied_matched_policy[none]"];
    assert_eq!(log, expected);
}

#[tokio::test]
async fn no_policy_lets_nobody_in_and_no_rules_everybody() {
    for (config, status) in [(json!({"rules": {}}), "403"), (json!({"rules": {"action": "DENY"}}), "200"), (json!({}), "200")] {
        let proxy = start(vec![filter(RBAC, rbac(config.clone()))], json!([to("a")])).await;
        assert_eq!(statuses(&proxy, &["/a"]).await, [status], "{config}");
    }
}

#[tokio::test]
async fn rules_that_are_only_tried_are_counted_and_refuse_nobody() {
    let config = json!({
        "rules": rules("DENY", &[("in force", "/b")]),
        "shadowRules": rules("DENY", &[("tried", "/a")]), "shadowRulesStatPrefix": "s_",
    });
    let proxy = start(vec![filter(RBAC, rbac(config))], json!([to("a")])).await;
    assert_eq!(statuses(&proxy, &["/a", "/b", "/c"]).await, ["200", "403", "200"]);
    let names = ["allowed", "denied", "s_shadow_allowed", "s_shadow_denied"].map(|name| format!("envoy_http_rbac_{name}"));
    counted(&proxy, &[(&names[0], 2), (&names[1], 1), (&names[2], 2), (&names[3], 1)]).await;
}

#[tokio::test]
async fn those_who_are_only_written_down_are_all_let_in() {
    let proxy = start(vec![filter(RBAC, rbac(json!({"rules": rules("LOG", &[("one", "/a")])})))], json!([to("a")])).await;
    assert_eq!(statuses(&proxy, &["/a", "/b"]).await, ["200", "200"]);
    counted(&proxy, &[("envoy_http_rbac_allowed", 2), ("envoy_http_rbac_denied", 0)]).await;
}

#[tokio::test]
async fn a_route_has_rules_of_its_own_which_the_filter_counts() {
    let of_route = |prefix: &str, config: Value| {
        let mut route = to("a");
        route["match"] = json!({"prefix": prefix});
        route["typedPerFilterConfig"] = json!({RBAC: typed("http.rbac.v3.RBACPerRoute", config)});
        route
    };
    let others = of_route("/own", json!({"rbac": {"rules": rules("DENY", &[("own", "/own/no")])}}));
    let none = of_route("/none", json!({}));
    let proxy = start(vec![filter(RBAC, rbac(json!({"rules": rules("ALLOW", &[("all", "/a")])})))], json!([others, none, to("a")])).await;
    assert_eq!(statuses(&proxy, &["/own", "/own/no", "/none", "/a", "/b"]).await, ["200", "403", "200", "200", "403"]);
    counted(&proxy, &[("envoy_http_rbac_allowed", 2), ("envoy_http_rbac_denied", 2)]).await;
    let log = proxy.stop().await;
    assert_eq!(log[1], "403 - rbac_access_denied_matched_policy[own]", "{log:?}");
}

#[tokio::test]
async fn a_call_is_refused_in_its_own_language_and_its_body_goes_nowhere() {
    let instance = Upstream::start().await;
    let clusters = [cluster("a", &[&instance], json!({}))];
    let filters = vec![filter(RBAC, rbac(json!({"rules": {}})))];
    let proxy = Proxy::with_manager(manager(filters), routes(json!([to("a")])), &clusters).await;
    let mut client = proxy.connect().await;
    client.say("POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\nhello").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains(&"grpc-status: 7".to_owned()), "{headers:?}");
    // Another protocol is one request like any other.
    let mut other = proxy.connect().await;
    other.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(other.answer().await.0, "HTTP/1.1 403 Forbidden");
    assert!(instance.was_left_alone());
}

/// A filter chain with rules for connections before what serves them.
fn connections(rules: Value, more: Value, last: Value) -> Value {
    let mut config = json!({"statPrefix": "tcp.", "rules": rules});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"filters": [filter("rbac", typed("network.rbac.v3.RBAC", config)), filter("last", last)]})
}

fn tcp_proxy() -> Value {
    typed("network.tcp_proxy.v3.TcpProxy", json!({"statPrefix": "t", "cluster": "a"}))
}

/// One policy, of those who come from a range of addresses.
fn from(action: &str, address: &str, length: u32) -> Value {
    let principal = json!({"directRemoteIp": {"addressPrefix": address, "prefixLen": length}});
    json!({"action": action, "policies": {"from": {"permissions": [{"any": true}], "principals": [principal]}}})
}

#[tokio::test]
async fn who_may_connect_is_passed_on_and_nobody_else_is() {
    for (rules, is_let_in) in [
        (from("ALLOW", "127.0.0.0", 8), true),
        (from("ALLOW", "10.0.0.0", 8), false),
        (from("DENY", "127.0.0.1", 32), false),
        (from("DENY", "127.0.0.2", 32), true),
        (json!({}), false),
        // A connection of bytes has no path.
        (self::rules("ALLOW", &[("path", "/")]), false),
    ] {
        let instance = Upstream::start().await;
        let chain = connections(rules.clone(), json!({}), tcp_proxy());
        let proxy = Proxy::told(Told { chain, clusters: vec![cluster("a", &[&instance], json!({}))], ..Told::default() }).await;
        let mut client = proxy.connect().await;
        client.say("hello").await;
        if is_let_in {
            instance.accept().await.hears("hello").await;
        } else {
            assert_eq!(client.end().await, "", "{rules}");
        }
        counted(&proxy, &[("envoy_tcp_rbac_allowed", is_let_in.into()), ("envoy_tcp_rbac_denied", (!is_let_in).into())]).await;
        assert!(is_let_in || instance.was_left_alone(), "{rules}");
    }
}

#[tokio::test]
async fn rules_for_connections_that_are_only_tried_end_none() {
    let instance = Upstream::start().await;
    let more = json!({"shadowRules": from("DENY", "127.0.0.1", 32), "shadowRulesStatPrefix": "s_"});
    let chain = connections(from("ALLOW", "127.0.0.1", 32), more, tcp_proxy());
    let proxy = Proxy::told(Told { chain, clusters: vec![cluster("a", &[&instance], json!({}))], ..Told::default() }).await;
    let mut client = proxy.connect().await;
    client.say("hello").await;
    instance.accept().await.hears("hello").await;
    let names = [("envoy_tcp_rbac_allowed", 1), ("envoy_tcp_rbac_s_shadow_denied", 1), ("envoy_tcp_rbac_s_shadow_allowed", 0)];
    counted(&proxy, &names).await;
}

#[tokio::test]
async fn who_may_not_connect_asks_for_nothing() {
    let manager = typed(
        "network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "statPrefix": "h",
            "routeConfig": routes(json!([to("a")])),
            "httpFilters": [filter("router", typed("http.router.v3.Router", json!({})))],
        }),
    );
    let instance = Upstream::start().await;
    let chain = connections(from("DENY", "127.0.0.1", 32), json!({"delayDeny": "0.01s"}), manager);
    let proxy = Proxy::told(Told { chain, clusters: vec![cluster("a", &[&instance], json!({}))], ..Told::default() }).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.end().await, "");
    counted(&proxy, &[("envoy_tcp_rbac_denied", 1)]).await;
    assert!(instance.was_left_alone());
}

#[tokio::test]
async fn who_may_connect_is_known_by_his_certificate() {
    let authority = Authority::new();
    let own = authority.credentials("a.test");
    let principal = json!({"authenticated": {"principalName": {"exact": "web.test"}}});
    let rules = json!({"policies": {"web": {"permissions": [{"any": true}], "principals": [principal]}}});
    let common = json!({"tlsCertificates": [own.certificate()], "validationContext": authority.validation()});
    let instance = Upstream::start().await;
    let mut chain = connections(rules, json!({}), tcp_proxy());
    chain["transportSocket"] = secure("Downstream", json!({"commonTlsContext": common}));
    let proxy = Proxy::told(Told { chain, clusters: vec![cluster("a", &[&instance], json!({}))], ..Told::default() }).await;
    for (shown, is_let_in) in [(Some("web.test"), true), (Some("other.test"), false), (None, false)] {
        let shown = shown.map(|name| authority.credentials(name));
        let mut client = SecureClient { authority: &authority, shown: shown.as_ref() }.connect(proxy.address(), "a.test").await.unwrap();
        client.say("hello").await;
        if is_let_in {
            instance.accept().await.hears("hello").await;
        } else {
            assert_eq!(client.end().await, "");
        }
    }
    counted(&proxy, &[("envoy_tcp_rbac_allowed", 1), ("envoy_tcp_rbac_denied", 2)]).await;
    assert!(instance.was_left_alone());
}
