//! Bodies that pass no faster than they may.

use std::time::Instant;

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(bodies_take_their_time);

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
