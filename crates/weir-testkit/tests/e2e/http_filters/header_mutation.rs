//! Changes to heads, trailers and queries.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    every_action_changes_heads_and_trailers,
    nothing_makes_trailers_where_there_are_none,
    queries_are_changed,
    levels_come_in_their_order,
);

const NAME: &str = "mutation";

fn write(name: &str, value: &str, action: &str) -> Value {
    json!({"append": {"header": {"key": name, "value": value}, "appendAction": action}})
}

/// What is written and taken away, whatever it is of.
fn mutations() -> Value {
    json!([
        write("x-append", "new", "APPEND_IF_EXISTS_OR_ADD"),
        write("x-append-none", "new", "APPEND_IF_EXISTS_OR_ADD"),
        write("x-absent", "new", "ADD_IF_ABSENT"),
        write("x-absent-none", "new", "ADD_IF_ABSENT"),
        write("x-set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
        write("x-set-none", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
        write("x-present", "new", "OVERWRITE_IF_EXISTS"),
        write("x-present-none", "new", "OVERWRITE_IF_EXISTS"),
        write("x-empty", "", "OVERWRITE_IF_EXISTS_OR_ADD"),
        write("x-made", "%REQ(:path)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        write("x-cluster", "%UPSTREAM_CLUSTER%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        {"remove": "x-gone"},
        {"removeOnMatch": {"keyMatcher": {"prefix": "x-bad-"}}},
        {"removeOnMatch": {"keyMatcher": {"safeRegex": {"regex": "x-[0-9]+"}}}},
        // Each sees what those before it did.
        write("x-append-none", "newer", "OVERWRITE_IF_EXISTS"),
        write("x-gone", "back", "ADD_IF_ABSENT"),
    ])
}

/// What was there, and what is there then; nothing is an empty text.
const CASES: [(&str, &str, &str); 16] = [
    ("x-append", "old", "old,new"),
    ("x-append-none", "", "newer"),
    ("x-absent", "old", "old"),
    ("x-absent-none", "", "new"),
    ("x-set", "old", "new"),
    ("x-set-none", "", "new"),
    ("x-present", "old", "new"),
    ("x-present-none", "", ""),
    ("x-empty", "old", "old"),
    ("x-made", "", "/p"),
    ("x-cluster", "", "a"),
    ("x-gone", "old", "back"),
    ("x-bad-a", "old", ""),
    ("x-bad-b", "old", ""),
    ("x-12", "old", ""),
    ("x-1a", "old", "old"),
];

fn before() -> Vec<(&'static str, &'static str)> {
    CASES.iter().filter(|(_, before, _)| !before.is_empty()).map(|(name, before, _)| (*name, *before)).collect()
}

fn assert_changed(what: &str, fields: &HeaderMap) {
    for (name, _, after) in CASES {
        let values: Vec<&str> = fields.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values.join(","), after, "{name} of {what}: {fields:?}");
    }
}

async fn every_action_changes_heads_and_trailers(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let all = json!({"requestMutations": mutations(), "requestTrailersMutations": mutations(),
        "responseMutations": mutations(), "responseTrailersMutations": mutations()});
    let config = packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": all}));
    let xds = Xds {
        filters: vec![filter(NAME, config)],
        routes: vec![route("/", json!({}))],
        clusters: vec![http2_cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let mut answer = Response::new(Content::streamed(&["ok"]).trailing(&before()));
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    answer.headers_mut().extend(before().into_iter().map(field));
    peer.set_answer(answer);
    let told = proxy.ask_http2(request("POST", "/p", &before(), Content::streamed(&["hi"]).trailing(&before()))).await.unwrap();
    let asked = peer.asked().await;
    assert_eq!((asked.body.as_ref(), told.body.as_ref()), (&b"hi"[..], &b"ok"[..]));
    assert_changed("the request's head", &asked.headers);
    assert_changed("the request's trailers", &asked.trailers);
    assert_changed("the answer's head", &told.headers);
    assert_changed("the answer's trailers", &told.trailers);
}

async fn nothing_makes_trailers_where_there_are_none(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_2).await;
    let all = json!({"requestTrailersMutations": mutations(), "responseTrailersMutations": mutations()});
    let config = packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": all}));
    let xds = Xds {
        filters: vec![filter(NAME, config)],
        routes: vec![route("/", json!({}))],
        clusters: vec![http2_cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    peer.set_answer(Response::new(Content::of("ok")));
    let told = proxy.ask_http2(request("POST", "/p", &[], Content::of("hi"))).await.unwrap();
    let asked = peer.asked().await;
    assert_eq!((asked.header("content-length"), told.header("content-length")), ("2".to_owned(), "2".to_owned()));
    assert!(asked.trailers.is_empty() && told.trailers.is_empty(), "{asked:?} {told:?}");
}

async fn queries_are_changed(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let write = |key: &str, value: &str, action: &str| json!({"append": {"record": {"key": key, "value": value}, "action": action}});
    let mutations = json!([
        write("append", "new", "APPEND_IF_EXISTS_OR_ADD"),
        write("absent", "n w", "ADD_IF_ABSENT"),
        write("set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
        write("present", "new", "OVERWRITE_IF_EXISTS"),
        {"remove": "gone"},
    ]);
    let config = packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {"queryParameterMutations": mutations}}));
    let xds = Xds {
        filters: vec![filter(NAME, config)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases = [
        ("/p", "/p?absent=n%20w&append=new&set=new"),
        ("/p?append=1&absent=2&set=3&present=4&gone=5&gone=6", "/p?absent=2&append=1&append=new&present=new&set=new"),
        ("/p?z=1&a=%41&b", "/p?a=A&absent=n%20w&append=new&b=&set=new&z=1"),
    ];
    for (path, changed) in cases {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, 200, "{path}");
        assert_eq!(peer.asked().await.path, changed, "{path}");
    }
}

async fn levels_come_in_their_order(plane: DataPlane) {
    let cases = [(false, "filter,cluster,route,host,table"), (true, "filter,table,host,route,cluster")];
    for (most_specific_wins, order) in cases {
        let mut peer = Recorder::start(Version::HTTP_11).await;
        let level = |kind: &str, value: &str| {
            let list = json!([write("x-level", value, "APPEND_IF_EXISTS_OR_ADD")]);
            packed(
                &format!("filters.http.header_mutation.v3.{kind}"),
                json!({"mutations": {"requestMutations": list, "responseMutations": list}}),
            )
        };
        let mut config = level("HeaderMutation", "filter");
        config["mostSpecificHeaderMutationsWins"] = json!(most_specific_wins);
        let of = |value: &str| json!({NAME: level("HeaderMutationPerRoute", value)});
        let mut route = route("/", of("route"));
        let weighted = json!({"name": "a", "weight": 1, "typedPerFilterConfig": of("cluster")});
        route["route"] = json!({"weightedClusters": {"clusters": [weighted]}});
        let xds = Xds {
            filters: vec![filter(NAME, config)],
            table: json!({"typedPerFilterConfig": of("table")}),
            virtual_host: json!({"typedPerFilterConfig": of("host")}),
            routes: vec![route],
            clusters: vec![cluster("a", peer.address())],
            ..Xds::default()
        };
        let proxy = LoneProxy::start(plane, &xds).await;
        let told = proxy.ask(get("/")).await.unwrap();
        assert_eq!((peer.asked().await.header("x-level"), told.header("x-level")), (order.to_owned(), order.to_owned()));
    }
}
