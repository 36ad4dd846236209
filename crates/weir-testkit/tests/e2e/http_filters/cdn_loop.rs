//! Requests that go in a circle between content delivery networks.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{filter_config, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(requests_tell_where_they_have_been, names_and_routes_that_are_none_are_refused);

const NAME: &str = "cdn";

fn policy(fields: Value) -> Value {
    packed("filters.http.cdn_loop.v3.CdnLoopConfig", fields)
}

async fn requests_tell_where_they_have_been(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![filter(NAME, policy(json!({"cdnId": "a.test", "maxAllowedOccurrences": 1})))],
        routes: vec![route("/off", json!({NAME: filter_config(json!({"disabled": true}))})), route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let passing = [
        (&[][..], "a.test"),
        (&[""], "a.test"),
        (&["a.test"], "a.test,a.test"),
        (&["A.TEST, a.test:80"], "A.TEST, a.test:80,a.test"),
        (&["b", "c;x=1"], "b,c;x=1,a.test"),
        (&["b; x=\"q\\\"r, a.test, a.test\" ;y=2"], "b; x=\"q\\\"r, a.test, a.test\" ;y=2,a.test"),
        (&["[::1]:80,,b:,"], "[::1]:80,,b:,,a.test"),
        (&["[]"], "[],a.test"),
        (&["[:.f]"], "[:.f],a.test"),
    ];
    for (said, expected) in passing {
        let fields: Vec<_> = said.iter().map(|said| ("cdn-loop", *said)).collect();
        let told = proxy.ask(request("GET", "/", &fields, Content::default())).await.unwrap();
        assert_eq!((told.status, peer.asked().await.header("cdn-loop").as_str()), (200, expected), "{said:?}");
    }
    let malformed = "Invalid CDN-Loop header in request.";
    let in_a_circle = "The server has detected a loop between CDNs.";
    let refused = [
        (&["a.test, a.test"][..], 502, in_a_circle),
        (&["a.test;x=1\t,b", "a.test"], 502, in_a_circle),
        (&["a.test, a.test, b c"], 400, malformed),
        (&["b;x = 1"], 400, malformed),
        (&["b;"], 400, malformed),
        (&["b;x=\"a"], 400, malformed),
        (&["[fg]"], 400, malformed),
        (&["b:8a"], 400, malformed),
        (&["\"b\""], 400, malformed),
    ];
    for (said, status, body) in refused {
        let fields: Vec<_> = said.iter().map(|said| ("cdn-loop", *said)).collect();
        let told = proxy.ask(request("GET", "/", &fields, Content::default())).await.unwrap();
        assert_eq!((told.status, told.text().as_str()), (status, body), "{said:?}");
        assert!(!peer.has_been_asked(), "{said:?}");
    }
    let told = proxy.ask(request("GET", "/off", &[("cdn-loop", "b;")], Content::default())).await.unwrap();
    assert_eq!((told.status, peer.asked().await.header("cdn-loop").as_str()), (200, "b;"));
}

async fn names_and_routes_that_are_none_are_refused(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let own = json!({"cdnId": "a.test"});
    for (of_filter, of_route) in [(json!({}), None), (json!({"cdnId": "a b"}), None), (own.clone(), Some(own))] {
        let said = of_route.map_or(json!({}), |said| json!({NAME: policy(said)}));
        let xds = Xds {
            filters: vec![filter(NAME, policy(of_filter.clone()))],
            routes: vec![route("/", said)],
            clusters: vec![cluster("a", peer.address())],
            ..Xds::default()
        };
        let proxy = LoneProxy::start_with_refusals(plane, &xds).await;
        assert!(!proxy.refused().is_empty(), "{of_filter}");
    }
}
