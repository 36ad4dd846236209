//! Requests that only those may make who know a password.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{filter_config, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(who_knows_a_password_goes_on);

const NAME: &str = "auth";
/// `ann` with the password `test`, and `bob` with none.
const USERS: &str = "# staff\nann:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\nbob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=";

fn users(text: &str) -> Value {
    json!({"users": {"inlineString": text}})
}

async fn who_knows_a_password_goes_on(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let mut config = users(USERS);
    config["forwardUsernameHeader"] = json!("x-user");
    let of_route = packed("filters.http.basic_auth.v3.BasicAuthPerRoute", users("eve:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="));
    let xds = Xds {
        filters: vec![filter(NAME, packed("filters.http.basic_auth.v3.BasicAuth", config))],
        routes: vec![
            route("/eve", json!({NAME: of_route})),
            route("/free", json!({NAME: filter_config(json!({"disabled": true}))})),
            route("/", json!({})),
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    let (nobody, scheme) = ("no_credential_for_basic_auth", "invalid_scheme_for_basic_auth");
    let (format, wrong) = ("invalid_format_for_basic_auth", "invalid_credential_for_basic_auth");
    // `ann:test`, `bob:`, `eve:test`, `ann:no`, `ann`.
    let cases = [
        ("/", "Basic YW5uOnRlc3Q=", Ok("ann")),
        ("/", "Basic YW5uOnRlc3Q", Ok("ann")),
        ("/", "Basic Ym9iOg==", Ok("bob")),
        ("/", "Basic ZXZlOnRlc3Q=", Err(wrong)),
        ("/", "Basic YW5uOm5v", Err(wrong)),
        ("/", "Basic YW5u", Err(format)),
        ("/", "Basic *", Err(format)),
        ("/", "basic YW5uOnRlc3Q=", Err(scheme)),
        ("/", "Bearer x", Err(scheme)),
        ("/", "", Err(scheme)),
        ("/eve", "Basic ZXZlOnRlc3Q=", Ok("eve")),
        ("/eve", "Basic YW5uOnRlc3Q=", Err(wrong)),
        ("/free", "Bearer x", Ok("mallory")),
    ];
    let mut logged = vec![];
    for (path, authorization, expected) in cases {
        let fields = [("authorization", authorization), ("x-user", "mallory")];
        let told = proxy.ask(request("GET", path, &fields, Content::default())).await.unwrap();
        match expected {
            Ok(name) => {
                let asked = peer.asked().await;
                assert_eq!((told.status, asked.header("x-user").as_str()), (200, name), "{path} {authorization}");
                assert_eq!(asked.header("authorization"), authorization);
                logged.push("200 - via_upstream a".to_owned());
            }
            Err(details) => {
                let challenge = format!("Basic realm=\"http://shop.test{path}\"");
                assert_eq!((told.status, told.header("www-authenticate")), (401, challenge), "{path} {authorization}");
                assert!(told.text().starts_with("User authentication failed. "), "{}", told.text());
                logged.push(format!("401 - {details} a"));
            }
        }
    }
    let told = proxy.ask(request("GET", "/a?b", &[], Content::default())).await.unwrap();
    assert_eq!(told.header("www-authenticate"), "Basic realm=\"http://shop.test/a?b\"");
    logged.push(format!("401 - {nobody} a"));
    assert!(!peer.has_been_asked());
    assert_eq!(proxy.log(logged.len()).await, logged);
}
