//! Bodies that pass no faster than they may.

use std::time::Instant;

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(bodies_take_their_time, a_fault_lets_answers_take_their_time);

const NAME: &str = "bandwidth";

fn limit(mode: &str) -> Value {
    packed("filters.http.bandwidth_limit.v3.BandwidthLimit", json!({"statPrefix": "s", "enableMode": mode, "limitKbps": 10}))
}

async fn bodies_take_their_time(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let large = "0123456789abcdef".repeat(1024);
    peer.set_answer(Response::new(Content::of(large.clone())));
    let xds = Xds {
        filters: vec![filter(NAME, limit("DISABLED"))],
        routes: vec![
            route("/answer", json!({NAME: limit("RESPONSE")})),
            route("/request", json!({NAME: limit("REQUEST")})),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    // 16 KiB at 10 KiB a second, of which the first second's are there at the most.
    for (path, is_slow) in [("/", false), ("/answer", true), ("/request", true)] {
        let begin = Instant::now();
        let told = proxy.ask(request("POST", path, &[], Content::of(large.clone()))).await.unwrap();
        let took = begin.elapsed().as_millis();
        assert_eq!((told.status, told.text() == large), (200, true), "{path}");
        assert_eq!(peer.asked().await.body, large, "{path}");
        assert_eq!(took >= 500, is_slow, "{path}: {took} ms");
        assert!(took < 10_000, "{path}: {took} ms");
    }
}

async fn a_fault_lets_answers_take_their_time(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let large = "0123456789abcdef".repeat(1024);
    peer.set_answer(Response::new(Content::of(large.clone())));
    let slow = |limit: Value| packed("filters.http.fault.v3.HTTPFault", json!({"responseRateLimit": limit}));
    let always = json!({"numerator": 100});
    let xds = Xds {
        filters: vec![filter(NAME, slow(json!({"headerLimit": {}, "percentage": always})))],
        routes: vec![
            route("/fixed", json!({NAME: slow(json!({"fixedLimit": {"limitKbps": 10}, "percentage": always}))})),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    for (path, asked, is_slow) in [("/", "", false), ("/", "10", true), ("/fixed", "", true)] {
        let begin = Instant::now();
        let told = proxy.ask(request("GET", path, &[("x-envoy-fault-throughput-response", asked)], Content::default())).await.unwrap();
        assert_eq!((told.status, told.text() == large), (200, true), "{path}");
        // What is not slowed down may be slow all the same.
        assert!(!is_slow || begin.elapsed().as_millis() >= 500, "{path} {asked}");
    }
    assert_eq!(proxy.statistics().await["envoy_http_fault_response_rl_injected"], 2);
}
