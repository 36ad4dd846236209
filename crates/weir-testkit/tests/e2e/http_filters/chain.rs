//! Which filters see a request, and its answer.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{filter_config, get, mark, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    filters_see_answers_that_no_instance_gave,
    routes_enable_and_disable_filters_by_name,
    answers_pass_the_filters_backwards,
    what_is_not_known_is_refused_unless_it_is_optional,
);

fn marking(name: &str, value: &str) -> Value {
    filter(name, mark("HeaderMutation", value))
}

async fn filters_see_answers_that_no_instance_gave(plane: DataPlane) {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut nobody = route("/nobody", json!({}));
    nobody["route"]["cluster"] = json!("nobody");
    let xds = Xds {
        filters: vec![marking("one", "1")],
        routes: vec![
            json!({"match": {"prefix": "/moved"}, "redirect": {"pathRedirect": "/new"}}),
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
            nobody,
            route("/dead", json!({})),
        ],
        clusters: vec![cluster("a", gone)],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let cases = [("/moved", 301), ("/direct", 418), ("/nobody", 503), ("/dead", 503), ("/nowhere", 404)];
    for (path, status) in cases {
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!((told.status, told.header("x-mark").as_str()), (status, "1"), "{path}");
    }
}

async fn routes_enable_and_disable_filters_by_name(plane: DataPlane) {
    let mut off = marking("off", "off");
    off["disabled"] = json!(true);
    let peer = Recorder::start(Version::HTTP_11).await;
    let disabled = || filter_config(json!({"disabled": true}));
    // Of no meaning to the filter, but it says that it is there.
    let nothing = json!({"@type": "type.googleapis.com/envoy.config.core.v3.Address", "pipe": {"path": "x"}});
    let enabled = || filter_config(json!({"config": nothing, "isOptional": true}));
    let own = |value: &str| mark("HeaderMutationPerRoute", value);
    let xds = Xds {
        filters: vec![marking("on", "on"), off, marking("host", "host")],
        virtual_host: json!({"typedPerFilterConfig": {"host": disabled()}}),
        routes: vec![
            route("/without", json!({"on": disabled()})),
            route("/with", json!({"off": enabled()})),
            route("/own", json!({"off": own("own"), "on": disabled()})),
            route("/packed", json!({"off": filter_config(json!({"config": own("own")}))})),
            route("/back", json!({"host": enabled(), "on": disabled()})),
            // Names are what counts, and not what the filters are.
            route("/other", json!({"envoy.filters.http.header_mutation": disabled()})),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    // Answers pass the filters backwards; those of a filter come before those of its routes.
    let cases = [
        ("/", "on"),
        ("/without", ""),
        ("/with", "off,on"),
        ("/own", "off,own"),
        ("/packed", "off,own,on"),
        ("/back", "host"),
        ("/other", "on"),
    ];
    for (path, marks) in cases {
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!((told.status, told.header("x-mark").as_str()), (200, marks), "{path}");
    }
}

async fn answers_pass_the_filters_backwards(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let limit = packed("filters.http.buffer.v3.Buffer", json!({"maxRequestBytes": 1}));
    let xds = Xds {
        filters: vec![marking("one", "1"), filter("buffer", limit), marking("two", "2")],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    for (body, status, marks) in [("a", 200, "2,1"), ("ab", 413, "2,1")] {
        let told = proxy.ask(request("POST", "/", &[], Content::of(body))).await.unwrap();
        assert_eq!((told.status, told.header("x-mark").as_str()), (status, marks), "{body}");
    }
}

async fn what_is_not_known_is_refused_unless_it_is_optional(plane: DataPlane) {
    let unknown = || json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true});
    let peer = Recorder::start(Version::HTTP_11).await;
    for (optional, refused) in [(false, true), (true, false)] {
        let mut filter = filter("unknown", unknown());
        filter["isOptional"] = json!(optional);
        let clusters = vec![cluster("a", peer.address())];
        let xds = Xds { filters: vec![filter], routes: vec![route("/", json!({}))], clusters, ..Xds::default() };
        let proxy = LoneProxy::start_with_refusals(plane, &xds).await;
        assert_eq!(!proxy.refused().is_empty(), refused, "{:?}", proxy.refused());
        if !refused {
            assert_eq!(proxy.ask(get("/")).await.unwrap().status, 200);
        }
    }
}
