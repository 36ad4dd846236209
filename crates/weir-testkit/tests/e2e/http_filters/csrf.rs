//! Requests that another site makes in its visitors' names.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(requests_must_come_from_their_own_host_or_a_friend);

const NAME: &str = "csrf";

fn policy(percent: u32, suffix: &str) -> Value {
    let enabled = json!({"defaultValue": {"numerator": percent}});
    packed("filters.http.csrf.v3.CsrfPolicy", json!({"filterEnabled": enabled, "additionalOrigins": [{"suffix": suffix}]}))
}

async fn requests_must_come_from_their_own_host_or_a_friend(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let xds = Xds {
        filters: vec![filter(NAME, policy(100, ".friend.test"))],
        routes: vec![
            route("/watched", json!({NAME: policy(0, ".friend.test")})),
            route("/other", json!({NAME: policy(100, ".other.test")})),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    type Fields<'f> = &'f [(&'static str, &'f str)];
    let cases: [(&str, &str, Fields<'_>, bool); 13] = [
        ("POST", "/", &[("origin", "http://shop.test")], true),
        ("PUT", "/", &[("origin", "https://shop.test")], true),
        ("PATCH", "/", &[("referer", "http://shop.test/a?b")], true),
        ("DELETE", "/", &[("origin", "http://b.friend.test")], true),
        ("POST", "/", &[("origin", "http://shop.test:81")], false),
        ("POST", "/", &[("origin", "http://evil.test"), ("referer", "http://shop.test/")], false),
        ("POST", "/", &[("origin", "null")], false),
        ("POST", "/", &[], false),
        ("GET", "/", &[("origin", "http://evil.test")], true),
        ("OPTIONS", "/", &[], true),
        ("POST", "/watched", &[("origin", "http://evil.test")], true),
        ("POST", "/other", &[("origin", "http://b.friend.test")], false),
        ("POST", "/other", &[("origin", "http://b.other.test")], true),
    ];
    for (method, path, fields, passes) in cases {
        let told = proxy.ask(request(method, path, fields, Content::default())).await.unwrap();
        if passes {
            assert_eq!((told.status, peer.asked().await.method.as_str()), (200, method), "{method} {path} {fields:?}");
        } else {
            assert_eq!((told.status, told.text().as_str()), (403, "Invalid origin"), "{method} {path} {fields:?}");
        }
    }
    assert!(!peer.has_been_asked());
    assert_eq!(proxy.log(13).await[4], "403 - csrf_origin_mismatch a");
}
