//! Health checks of whoever stands before a proxy.

use hyper::{Response, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{get, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(health_checks_are_answered_here_or_by_the_instance, a_check_is_answered_when_its_body_has_come);

fn health_check(path: &str, mut fields: Value) -> Value {
    fields["headers"] = json!([{"name": ":path", "stringMatch": {"exact": path}}]);
    filter(path, packed("filters.http.health_check.v3.HealthCheck", fields))
}

async fn health_checks_are_answered_here_or_by_the_instance(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let least =
        |cluster: &str, percent: u32| json!({"passThroughMode": false, "clusterMinHealthyPercentages": {cluster: {"value": percent}}});
    let xds = Xds {
        filters: vec![
            health_check("/here", json!({"passThroughMode": false})),
            health_check("/enough", least("a", 100)),
            health_check("/nobody", least("nobody", 1)),
            health_check("/passed", json!({"passThroughMode": true})),
            health_check("/kept", json!({"passThroughMode": true, "cacheTime": "3600s"})),
        ],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let of_instance = |status| peer.set_answer(Response::builder().status(status).body(Content::of("instance")).unwrap());
    // What the instance would say, and what is said, and whether the instance was asked.
    let cases = [
        ("/here", 500, 200, false),
        ("/here?", 500, 500, true),
        ("/enough", 500, 200, false),
        ("/nobody", 200, 503, false),
        ("/passed", 503, 503, true),
        ("/passed", 200, 200, true),
        ("/kept", 503, 503, true),
        ("/kept", 200, 503, false),
        ("/", 200, 200, true),
    ];
    let mut asked = vec![];
    for (path, would, status, _) in cases {
        of_instance(would);
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!(told.status, status, "{path}");
        let is_check = !matches!(path, "/" | "/here?");
        assert_eq!(told.header("x-envoy-upstream-healthchecked-cluster"), if is_check { "client.default" } else { "" }, "{path}");
        asked.push(told.text() == "instance");
    }
    assert_eq!(asked, cases.map(|(.., asked)| asked));
    for (path, ..) in cases.iter().filter(|(.., asked)| *asked) {
        assert_eq!(peer.asked().await.path, *path);
    }
    assert!(!peer.has_been_asked());
    let log = proxy.log(cases.len()).await;
    let details = [
        (0, "200 - health_check_ok a"),
        (2, "200 - health_check_ok_cluster_healthy a"),
        (3, "503 LH health_check_failed_no_cluster_found a"),
        (4, "503 - via_upstream a"),
        (7, "503 LH health_check_cached a"),
    ];
    for (line, details) in details {
        assert_eq!(log[line], details);
    }
}

/// The connection goes on: what was still to come of a check is no part of the next request.
async fn a_check_is_answered_when_its_body_has_come(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![health_check("/here", json!({"passThroughMode": false}))],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    for body in ["content-length: 4\r\n\r\nbody", "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "\r\n"] {
        client.write_all(format!("POST /here HTTP/1.1\r\nhost: a\r\n{body}").as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(client.read_u8().await.unwrap()));
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("connection: close"), "{head}");
    }
    assert!(!peer.has_been_asked());
}
