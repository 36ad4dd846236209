//! Values that filters leave for each other and for logs: from headers and cookies, and fixed ones.

use hyper::header::HeaderValue;
use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(values_are_taken_from_requests_and_answers, fixed_values_are_merged, a_route_takes_values_of_its_own);

/// Shows what stands under the keys of a namespace, in a header of the request or of the answer for each.
fn shown(list: &str, namespace: &str, keys: &[&str]) -> Value {
    let append = |key: &&str| {
        let value = format!("%DYNAMIC_METADATA({namespace}{}{key})%", if key.is_empty() { "" } else { ":" });
        let name = format!("x-{}", if key.is_empty() { "all" } else { key }).replace(':', "-");
        json!({"append": {"header": {"key": name, "value": value}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    };
    let mutations: Vec<Value> = keys.iter().map(append).collect();
    filter(list, packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {list: mutations}})))
}

fn taking(rules: Value) -> Value {
    packed("filters.http.header_to_metadata.v3.Config", rules)
}

fn fixed(metadata: Value) -> Value {
    packed("filters.http.set_metadata.v3.Config", json!({"metadata": metadata}))
}

async fn proxy(plane: DataPlane, filters: Vec<Value>, routes: Vec<Value>, peer: &Recorder) -> LoneProxy {
    LoneProxy::start(plane, &Xds { filters, routes, clusters: vec![cluster("a", peer.address())], ..Xds::default() }).await
}

async fn values_are_taken_from_requests_and_answers(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let present = |key: &str, mut more: Value| {
        more["metadataNamespace"] = json!("ns");
        more["key"] = json!(key);
        more
    };
    let (version, coded) = (json!({"pattern": {"regex": "^/(v[0-9]+)/.*$"}, "substitution": "\\1"}), json!({"encode": "BASE64"}));
    let request_rules = json!([
        {"header": "x-gone", "onHeaderPresent": present("gone", json!({})), "remove": true},
        {"header": "x-gone", "onHeaderMissing": present("later", json!({"value": "gone"}))},
        {"header": "x-twice", "onHeaderPresent": present("twice", json!({})), "onHeaderMissing": present("twice", json!({"value": "no"}))},
        {"header": "x-none", "onHeaderPresent": present("none", json!({})), "onHeaderMissing": present("none", json!({"value": "no"}))},
        {"header": "x-empty", "onHeaderPresent": present("empty", json!({})), "onHeaderMissing": present("empty", json!({"value": "no"}))},
        {"header": "x-float", "onHeaderPresent": present("float", json!({"type": "NUMBER"}))},
        {"header": "x-twice", "onHeaderPresent": present("float-no", json!({"type": "NUMBER"}))},
        {"header": "x-coded", "onHeaderPresent": present("coded", coded)},
        {"header": ":path", "onHeaderPresent": present("version", json!({"regexValueRewrite": version}))},
        {"cookie": "session", "onHeaderPresent": present("session", json!({}))},
        {"cookie": "none", "onHeaderMissing": present("cookie", json!({"value": "no"}))},
        {"header": "x-twice", "onHeaderPresent": {"key": "own"}},
    ]);
    let response_rules = json!([
        {"header": ":status", "onHeaderPresent": present("status", json!({"type": "NUMBER"}))},
        {"header": "x-answer", "onHeaderPresent": present("answer", json!({})), "remove": true},
    ]);
    let keys = ["gone", "later", "twice", "none", "empty", "float", "float-no", "coded", "version", "session", "cookie"];
    let filters = vec![
        // The last that sees an answer.
        shown("responseMutations", "ns", &["status", "answer", "version"]),
        filter("taking", taking(json!({"requestRules": request_rules, "responseRules": response_rules}))),
        shown("requestMutations", "ns", &keys),
        filter("own", shown("requestMutations", "envoy.filters.http.header_to_metadata", &["own"])["typedConfig"].clone()),
    ];
    let proxy = proxy(plane, filters, vec![route("/", json!({}))], &peer).await;
    let mut answer = Response::new(Content::of("ok"));
    answer.headers_mut().insert("x-answer", HeaderValue::from_static("said"));
    peer.set_answer(answer);
    let said = [
        ("x-gone", "was"),
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-empty", ""),
        ("x-float", "1.50"),
        ("x-coded", "YW5u"),
        ("cookie", "a=b; session=s1"),
    ];
    let told = proxy.ask(request("GET", "/v2/x?y", &said, Content::default())).await.unwrap();
    let asked = peer.asked().await;
    let expected = ["was", "gone", "a,b", "no", "", "1.5", "", "ann", "v2", "s1", "no"];
    for (key, expected) in keys.into_iter().zip(expected) {
        assert_eq!(asked.header(&format!("x-{key}")), expected, "{key}");
    }
    assert_eq!(asked.header("x-own"), "a,b");
    let of_answer = ["x-status", "x-answer", "x-version"].map(|name| told.header(name));
    assert_eq!(of_answer, ["200", "said", "v2"]);
}

async fn fixed_values_are_merged(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let filters = vec![
        filter("first", fixed(json!([{"metadataNamespace": "ns", "value": {"t": "1", "l": ["1"], "s": {"x": 1}, "k": ["1"]}}]))),
        filter(
            "second",
            fixed(json!([
                {"metadataNamespace": "ns", "value": {"t": "no"}},
                {"metadataNamespace": "ns", "allowOverwrite": true, "value": {"t": "2", "l": ["2"], "s": {"y": true}, "k": "3"}},
            ])),
        ),
        filter("older", packed("filters.http.set_metadata.v3.Config", json!({"metadataNamespace": "ns", "value": {"o": 0.5}}))),
        shown("requestMutations", "ns", &["t", "l", "s:x", "s:y", "k", "o", "s:z", "t:x"]),
    ];
    let of_route = fixed(json!([{"metadataNamespace": "ns", "value": {"t": "route"}}]));
    let routes = vec![route("/other", json!({"first": of_route})), route("/", json!({}))];
    let proxy = proxy(plane, filters, routes, &peer).await;
    let names = ["x-t", "x-l", "x-s-x", "x-s-y", "x-k", "x-o", "x-s-z", "x-t-x"];
    // What the route says of the filter changes nothing.
    for path in ["/", "/other"] {
        proxy.ask(request("GET", path, &[], Content::default())).await.unwrap();
        let asked = peer.asked().await;
        let told = names.map(|name| asked.header(name));
        assert_eq!(told, ["2", r#"["1","2"]"#, "1", "true", "3", "0.5", "", ""], "{path}");
    }
}

async fn a_route_takes_values_of_its_own(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let rules =
        |header: &str| taking(json!({"requestRules": [{"header": header, "onHeaderPresent": {"metadataNamespace": "ns", "key": "k"}}]}));
    let filters = vec![filter("taking", rules("x-a")), shown("requestMutations", "ns", &["k", ""])];
    let routes = vec![route("/other", json!({"taking": rules("x-b")})), route("/", json!({}))];
    let proxy = proxy(plane, filters, routes, &peer).await;
    for (path, expected) in [("/", "a"), ("/other", "b")] {
        proxy.ask(request("GET", path, &[("x-a", "a"), ("x-b", "b")], Content::default())).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!((asked.header("x-k").as_str(), asked.header("x-all")), (expected, format!(r#"{{"k":"{expected}"}}"#)), "{path}");
    }
}
