//! Whom requests come from, where extensions of the connection manager say it.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(clients_are_found_as_extensions_say, what_excludes_each_other_is_refused);

fn forwarded(fields: Value) -> Value {
    let config = packed("http.original_ip_detection.xff.v3.XffConfig", fields);
    json!({"name": "envoy.http.original_ip_detection.xff", "typedConfig": config})
}

fn header(fields: Value) -> Value {
    let config = packed("http.original_ip_detection.custom_header.v3.CustomHeaderConfig", fields);
    json!({"name": "envoy.http.original_ip_detection.custom_header", "typedConfig": config})
}

fn ranges(prefixes: &[&str]) -> Value {
    let range = |prefix: &&str| json!({"addressPrefix": prefix, "prefixLen": 8});
    json!({"cidrs": prefixes.iter().map(range).collect::<Vec<_>>()})
}

fn xds(peer: &Recorder, manager: Value) -> Xds {
    let append = json!({"append": {"header": {"key": "x-client", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}});
    let shown = packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {"requestMutations": [append]}}));
    Xds {
        filters: vec![filter("shown", shown)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        manager,
        ..Xds::default()
    }
}

/// Headers, the status of the answer, who the client is, and what the instance hears of `x-forwarded-for`.
type Case = (&'static [(&'static str, &'static str)], u16, &'static str, &'static str);

async fn clients_are_found_as_extensions_say(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    const LIST: (&str, &str) = ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.1.1.1");
    const OWN: (&str, &str) = ("x-real-ip", "7.7.7.7");
    let ours = ranges(&["127.0.0.0", "10.0.0.0"]);
    let appended = "1.1.1.1, 2.2.2.2, 10.1.1.1,192.0.2.2";
    // What extensions say, and of requests: their headers, the status, the client, and who was before it.
    let cases: Vec<(Value, Vec<Case>)> = vec![
        (
            json!([forwarded(json!({}))]),
            vec![(&[], 200, "127.0.0.1", ""), (&[LIST], 200, "10.1.1.1", LIST.1), (&[OWN], 200, "127.0.0.1", "")],
        ),
        (json!([forwarded(json!({"xffNumTrustedHops": 1, "skipXffAppend": false}))]), vec![(&[LIST], 200, "2.2.2.2", appended)]),
        (json!([forwarded(json!({"xffTrustedCidrs": ours}))]), vec![(&[], 200, "127.0.0.1", ""), (&[LIST], 200, "2.2.2.2", LIST.1)]),
        (json!([forwarded(json!({"xffTrustedCidrs": ranges(&["11.0.0.0"])}))]), vec![(&[LIST], 200, "127.0.0.1", appended)]),
        (
            json!([header(json!({"headerName": "x-real-ip"})), forwarded(json!({"skipXffAppend": false}))]),
            vec![(&[OWN, LIST], 200, "7.7.7.7", LIST.1), (&[LIST], 200, "10.1.1.1", appended)],
        ),
        (
            json!([header(json!({"headerName": "x-real-ip", "rejectWithStatus": {"code": "Unauthorized"}}))]),
            vec![(&[OWN], 200, "7.7.7.7", ""), (&[LIST], 401, "", ""), (&[("x-real-ip", "me")], 401, "", "")],
        ),
    ];
    for (extensions, requests) in cases {
        let proxy = LoneProxy::start(plane, &xds(&peer, json!({"originalIpDetectionExtensions": extensions}))).await;
        for (headers, status, client, forwarded) in &requests {
            let told = proxy.ask(request("GET", "/", headers, Content::default())).await.unwrap();
            assert_eq!(told.status, *status, "{extensions} {headers:?}");
            if told.status == 200 {
                let asked = peer.asked().await;
                let heard = [asked.header("x-client"), asked.header("x-forwarded-for")];
                assert_eq!(heard, [*client, *forwarded], "{extensions} {headers:?}");
            }
        }
    }
}

async fn what_excludes_each_other_is_refused(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let both = json!({"xffNumTrustedHops": 1, "xffTrustedCidrs": ranges(&["10.0.0.0"])});
    for manager in [
        json!({"originalIpDetectionExtensions": [forwarded(json!({}))], "useRemoteAddress": true}),
        json!({"originalIpDetectionExtensions": [forwarded(json!({}))], "xffNumTrustedHops": 1}),
        json!({"originalIpDetectionExtensions": [forwarded(both)]}),
        json!({"originalIpDetectionExtensions": [header(json!({"headerName": ""}))]}),
    ] {
        let refused = LoneProxy::start_with_refusals(plane, &xds(&peer, manager.clone())).await.refused();
        assert!(!refused.is_empty(), "{manager}");
    }
}
