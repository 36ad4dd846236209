//! Services that fail, and requests that nobody is asked about.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Act, BadPeer, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster};
use weir_xds::auth::CheckResponse;

use super::grpc::answer;
use super::{NAME, Scene, get, names, of_grpc, of_http, of_route, route, says};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_that_fails_lets_nobody_pass,
    a_service_that_fails_may_let_all_pass,
    services_of_grpc_fail_in_many_ways,
    requests_that_nobody_is_asked_about_may_be_refused,
    nobody_is_refused_in_shadow,
);

/// Clusters of services that fail, each in its own way.
async fn failing() -> (Vec<BadPeer>, Vec<(&'static str, Value)>) {
    let scripts: [(&str, &[Act]); 6] = [
        ("status", &[Act::Read, Act::Say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nwhat"), Act::UntilEnd]),
        ("closing", &[Act::Read]),
        ("resetting", &[Act::Read, Act::Reset]),
        ("half", &[Act::Read, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), Act::Reset]),
        ("garbage", &[Act::Read, Act::Say("what?\r\n\r\n")]),
        ("slow", &[Act::Read, Act::UntilEnd]),
    ];
    let (mut peers, mut clusters) = (vec![], vec![]);
    for (name, script) in scripts {
        let peer = BadPeer::start(&[script]).await;
        clusters.push((name, cluster(name, peer.address())));
        peers.push(peer);
    }
    let refusing = BadPeer::refusing().await;
    clusters.push(("refusing", cluster("refusing", refusing.address())));
    peers.push(refusing);
    clusters.push(("nobody", json!({"name": "nobody", "type": "STATIC", "loadAssignment": {"clusterName": "nobody"}})));
    let mut limited = cluster("limited", peers[0].address());
    limited["circuitBreakers"] = json!({"thresholds": [{"maxRequests": 0}]});
    clusters.push(("limited", limited));
    (peers, clusters)
}

/// What clients hear where services fail, and what instances do.
async fn fails(plane: DataPlane, more: Value) -> (Vec<(u16, String)>, Vec<String>, Recorder) {
    let (_peers, services) = failing().await;
    let peer = Recorder::start(Version::HTTP_11).await;
    let names: Vec<&str> = services.iter().map(|(name, _)| *name).chain(["absent"]).collect();
    let of_service = |name: &&str| {
        let service = json!({"serverUri": {"uri": "http://auth.test", "cluster": name, "timeout": "0.5s"}});
        route(&format!("/{name}"), of_route(json!({"checkSettings": {"httpService": service}})))
    };
    // One failure of an instance would leave it out.
    let mut own = cluster("a", peer.address());
    own["outlierDetection"] = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "600s"});
    own["commonLbConfig"] = json!({"healthyPanicThreshold": {}});
    let routes = names.iter().map(of_service).chain([route("/", of_route(json!({"disabled": true})))]).collect();
    let clusters = [own].into_iter().chain(services.iter().map(|(_, cluster)| cluster.clone())).collect();
    let xds = Xds { filters: vec![filter(NAME, of_http(json!({}), more))], routes, clusters, ..Xds::default() };
    let proxy = LoneProxy::start(plane, &xds).await;
    let mut heard = vec![];
    for name in &names {
        let told = proxy.ask(get(&format!("/{name}"))).await.unwrap();
        heard.push((told.status, told.text()));
    }
    // The instance is fine all the while.
    assert_eq!(proxy.ask(get("/fine")).await.unwrap().status, 200);
    let log = proxy.log(names.len() + 1).await;
    (heard, log, peer)
}

async fn a_service_that_fails_lets_nobody_pass(plane: DataPlane) {
    let (heard, log, mut peer) = fails(plane, json!({})).await;
    for (heard, line) in heard.iter().zip(&log) {
        assert_eq!((heard, line.as_str()), (&(403, String::new()), "403 UAEX ext_authz_error a"));
    }
    assert_eq!(peer.asked().await.path, "/fine");
    let (heard, log, _) = fails(plane, json!({"statusOnError": {"code": 503}})).await;
    assert!(heard.iter().all(|heard| *heard == (503, String::new())), "{heard:?}");
    assert_eq!(log[0], "503 UAEX ext_authz_error a");
}

async fn a_service_that_fails_may_let_all_pass(plane: DataPlane) {
    let (heard, log, mut peer) = fails(plane, json!({"failureModeAllow": true, "failureModeAllowHeaderAdd": true})).await;
    for (heard, line) in heard.iter().zip(&log) {
        assert_eq!((heard.0, line.as_str()), (200, "200 - via_upstream a"));
        assert_eq!(peer.asked().await.header("x-envoy-auth-failure-mode-allowed"), "true");
    }
}

async fn requests_that_nobody_is_asked_about_may_be_refused(plane: DataPlane) {
    let never = json!({"defaultValue": {"numerator": 0}, "runtimeKey": "k"});
    for (denies, status, line) in [(false, 200, "200 - via_upstream a"), (true, 403, "403 UAEX ext_authz_error a")] {
        let flag = json!({"defaultValue": denies, "runtimeKey": "d"});
        let mut scene = Scene::with_all_routed(plane, of_http(json!({}), json!({"filterEnabled": never, "denyAtDisable": flag}))).await;
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, status);
        assert!(!scene.service.has_been_asked());
        assert_eq!(scene.proxy.log(1).await, [line]);
    }
}

async fn nobody_is_refused_in_shadow(plane: DataPlane) {
    let response = json!({"authorizationResponse": {"allowedUpstreamHeaders": names(&["x-to"])}});
    let mut scene = Scene::with_all_routed(plane, of_http(response, json!({"shadowMode": true}))).await;
    for (status, to) in [(403, ""), (500, ""), (200, "there")] {
        scene.service.set_answer(says(status, &[("x-to", "there")], ""));
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, 200);
        assert_eq!(scene.peer.asked().await.header("x-to"), to, "{status}");
    }
}

async fn services_of_grpc_fail_in_many_ways(plane: DataPlane) {
    let scripts: [(&str, &[Act]); 4] = [
        ("closing", &[Act::ReadHead]),
        ("resetting", &[Act::ReadHead, Act::Reset]),
        ("garbage", &[Act::ReadHead, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]),
        ("slow", &[Act::ReadHead, Act::UntilEnd]),
    ];
    let (mut peers, mut services) = (vec![], vec![]);
    for (name, script) in scripts {
        let peer = BadPeer::start(&[script]).await;
        services.push(http2_cluster(name, peer.address()));
        peers.push(peer);
    }
    let fine = Recorder::start(Version::HTTP_2).await;
    fine.set_answer(answer::<CheckResponse>(json!({"okResponse": {"headersToRemove": ["x-a-name-that-is-long"]}})));
    let refusing = BadPeer::refusing().await;
    let mut limited = http2_cluster("limited", fine.address());
    limited["circuitBreakers"] = json!({"thresholds": [{"maxRequests": 0}]});
    services.extend([http2_cluster("refusing", refusing.address()), limited, http2_cluster("large", fine.address())]);
    // What speaks HTTP/1.1 has no trailers.
    services.push(cluster("plain", fine.address()));
    let names: Vec<String> = services.iter().map(|cluster| cluster["name"].as_str().unwrap().to_owned()).collect();
    let of_service = |name: &String| {
        let envoy = json!({"clusterName": name, "maxReceiveMessageLength": if name == "large" { 10 } else { 1000 }});
        let service = json!({"grpcService": {"envoyGrpc": envoy, "timeout": "0.5s"}});
        route(&format!("/{name}"), of_route(json!({ "checkSettings": service })))
    };
    let peer = Recorder::start(Version::HTTP_11).await;
    let clusters = [cluster("a", peer.address()), http2_cluster("auth", fine.address())].into_iter().chain(services.clone()).collect();
    let routes = names.iter().map(of_service).chain([route("/", json!({}))]).collect();
    let xds = Xds { filters: vec![filter(NAME, of_grpc(json!({})))], routes, clusters, ..Xds::default() };
    let proxy = LoneProxy::start(plane, &xds).await;
    for name in &names {
        assert_eq!(proxy.ask(get(&format!("/{name}"))).await.unwrap().status, 403, "{name}");
    }
    assert_eq!(proxy.ask(get("/")).await.unwrap().status, 200);
    let log = proxy.log(names.len() + 1).await;
    assert!(log.iter().take(names.len()).all(|line| line == "403 UAEX ext_authz_error a"), "{log:?}");
}
