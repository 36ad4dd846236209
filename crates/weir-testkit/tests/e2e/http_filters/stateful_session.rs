//! Requests of a session that go to one instance.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Told, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(a_session_stays_at_its_instance, a_header_can_say_where_a_session_is);

const NAME: &str = "session";

/// Sessions that are kept so; Envoy finds the extension by its name.
fn session(extension: &str, state: Value, strict: bool) -> Value {
    json!({"sessionState": {"name": extension, "typedConfig": state}, "strict": strict})
}

const COOKIE: &str = "envoy.http.stateful_session.cookie";

fn cookie(name: &str) -> Value {
    packed("http.stateful_session.cookie.v3.CookieBasedSessionState", json!({"cookie": {"name": name, "path": "/", "ttl": "60s"}}))
}

/// A cluster of both instances.
fn both(one: &Recorder, other: &Recorder) -> Value {
    let mut cluster = cluster("a", one.address());
    let mut endpoints = cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"].as_array().unwrap().clone();
    let mut second = endpoints[0].clone();
    second["endpoint"]["address"]["socketAddress"] =
        json!({"address": other.address().ip().to_string(), "portValue": other.address().port()});
    endpoints.push(second);
    cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"] = json!(endpoints);
    cluster
}

async fn ask(proxy: &LoneProxy, path: &str, fields: &[(&'static str, &str)]) -> Told {
    proxy.ask(request("GET", path, fields, Content::default())).await.unwrap()
}

async fn a_session_stays_at_its_instance(plane: DataPlane) {
    let (mut one, mut other) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await);
    let of_route = |fields| json!({NAME: packed("filters.http.stateful_session.v3.StatefulSessionPerRoute", fields)});
    let xds = Xds {
        filters: vec![filter(NAME, packed("filters.http.stateful_session.v3.StatefulSession", session(COOKIE, cookie("seat"), false)))],
        routes: vec![
            route("/off", of_route(json!({"disabled": true}))),
            route("/strict", of_route(json!({"statefulSession": session(COOKIE, cookie("seat"), true)}))),
            route("/", json!({})),
        ],
        clusters: vec![both(&one, &other)],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let told = ask(&proxy, "/", &[]).await.header("set-cookie");
    let (pair, attributes) = told.split_once(';').unwrap();
    assert_eq!(attributes, " Max-Age=60; Path=/; HttpOnly");
    let asked_first = one.has_been_asked();
    let (mine, theirs) = if asked_first { (&mut one, &mut other) } else { (&mut other, &mut one) };
    while theirs.has_been_asked() {}
    for path in ["/", "/strict"] {
        for _ in 0..6 {
            let told = ask(&proxy, path, &[("cookie", pair)]).await;
            assert_eq!((told.status, told.header("set-cookie")), (200, String::new()), "{path}");
            mine.asked().await;
        }
    }
    assert!(!theirs.has_been_asked());
    // Base64 of an address that is nobody's.
    let nobody = "seat=MTI3LjAuMC4xOjE=";
    let told = ask(&proxy, "/", &[("cookie", nobody)]).await;
    assert_eq!((told.status, told.header("set-cookie").is_empty()), (200, false));
    let told = ask(&proxy, "/strict", &[("cookie", nobody)]).await;
    assert_eq!((told.status, told.text().as_str()), (503, "no healthy upstream"));
    let told = ask(&proxy, "/off", &[]).await;
    assert_eq!((told.status, told.header("set-cookie")), (200, String::new()));
}

async fn a_header_can_say_where_a_session_is(plane: DataPlane) {
    let (one, other) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await);
    let state = packed("http.stateful_session.header.v3.HeaderBasedSessionState", json!({"name": "x-seat"}));
    let xds = Xds {
        filters: vec![filter(
            NAME,
            packed("filters.http.stateful_session.v3.StatefulSession", session("envoy.http.stateful_session.header", state, false)),
        )],
        routes: vec![route("/", json!({}))],
        clusters: vec![both(&one, &other)],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let seat = ask(&proxy, "/", &[]).await.header("x-seat");
    assert!(!seat.is_empty());
    for _ in 0..6 {
        assert_eq!(ask(&proxy, "/", &[("x-seat", &seat)]).await.header("x-seat"), "", "it is where it was");
    }
    assert!(!ask(&proxy, "/", &[("x-seat", "bm9ib2R5")]).await.header("x-seat").is_empty());
}
