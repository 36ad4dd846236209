//! What filters count of themselves.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(filters_count_under_envoys_names, limits_count_under_their_prefixes);

fn share(numerator: u32) -> Value {
    json!({"defaultValue": {"numerator": numerator}, "runtimeKey": "k"})
}

/// A proxy with these filters, in front of an instance.
async fn proxy(plane: DataPlane, filters: Vec<Value>, routes: Vec<Value>) -> (LoneProxy, Recorder, Recorder) {
    let (peer, service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await);
    let clusters = vec![cluster("a", peer.address()), cluster("auth", service.address())];
    (LoneProxy::start(plane, &Xds { filters, routes, clusters, ..Xds::default() }).await, peer, service)
}

/// The numbers that are not 0, of those whose names have one of these parts.
async fn counted(proxy: &LoneProxy, parts: &[&str]) -> Vec<String> {
    let all = proxy.statistics().await;
    let ours = all.iter().filter(|(name, count)| **count > 0 && parts.iter().any(|part| name.starts_with(&format!("envoy_http_{part}_"))));
    ours.map(|(name, count)| format!("{} {count}", name.trim_start_matches("envoy_http_"))).collect()
}

async fn filters_count_under_envoys_names(plane: DataPlane) {
    let cors = json!({"cors": packed("filters.http.cors.v3.CorsPolicy", json!({"allowOriginStringMatch": [{"exact": "http://good"}]}))});
    let delayed = json!({"delay": {"fixedDelay": "0.01s", "percentage": {"numerator": 100}}, "maxActiveFaults": 1});
    let aborted = json!({"abort": {"httpStatus": 418, "percentage": {"numerator": 100}}});
    let fault = |fields: Value| json!({"fault": packed("filters.http.fault.v3.HTTPFault", fields)});
    let service = json!({"serverUri": {"uri": "http://auth.test", "cluster": "auth", "timeout": "5s"}});
    let filters = vec![
        filter("cors", packed("filters.http.cors.v3.Cors", json!({}))),
        filter("csrf", packed("filters.http.csrf.v3.CsrfPolicy", json!({"filterEnabled": share(100)}))),
        filter(
            "basic",
            // The password is `secret`.
            packed("filters.http.basic_auth.v3.BasicAuth", json!({"users": {"inlineString": "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}})),
        ),
        filter("fault", packed("filters.http.fault.v3.HTTPFault", json!({}))),
        filter("authz", packed("filters.http.ext_authz.v3.ExtAuthz", json!({"httpService": service, "statPrefix": "own"}))),
    ];
    let routes = vec![route("/delayed", fault(delayed)), route("/aborted", fault(aborted)), route("/", cors)];
    let (proxy, _peer, service) = proxy(plane, filters, routes).await;
    let ann = ("authorization", "Basic YW5uOnNlY3JldA==");
    let ask = async |method: &str, path: &str, headers: &[(&'static str, &str)]| {
        proxy.ask(request(method, path, headers, Content::default())).await.unwrap().status
    };
    assert_eq!(ask("GET", "/", &[ann, ("origin", "http://good")]).await, 200);
    assert_eq!(ask("GET", "/", &[ann, ("origin", "http://bad")]).await, 200);
    assert_eq!(ask("GET", "/", &[]).await, 401);
    assert_eq!(ask("POST", "/", &[ann, ("origin", "http://shop.test")]).await, 200);
    assert_eq!(ask("POST", "/", &[ann, ("origin", "http://evil")]).await, 403);
    assert_eq!(ask("POST", "/", &[ann]).await, 403);
    assert_eq!(ask("GET", "/delayed", &[ann]).await, 200);
    assert_eq!(ask("GET", "/aborted", &[ann]).await, 418);
    for status in [403, 500] {
        service.set_answer(hyper::Response::builder().status(status).body(Content::default()).unwrap());
        assert_eq!(ask("GET", "/", &[ann]).await, 403);
    }
    let expected = [
        "basic_auth_allowed 7",
        "basic_auth_denied 1",
        "cors_origin_invalid 3",
        "cors_origin_valid 1",
        "csrf_missing_source_origin 1",
        "csrf_request_invalid 1",
        "csrf_request_valid 1",
        "ext_authz_denied 1",
        "ext_authz_error 1",
        "ext_authz_ok 4",
        "fault_aborts_injected 1",
        "fault_delays_injected 1",
    ];
    assert_eq!(counted(&proxy, &["basic_auth", "cors", "csrf", "ext_authz", "fault"]).await, expected);
}

async fn limits_count_under_their_prefixes(plane: DataPlane) {
    let limits = |prefix: &str, tokens: u32, enforced: u32| {
        let bucket = json!({"maxTokens": tokens, "tokensPerFill": tokens, "fillInterval": "600s"});
        let fields = json!({"statPrefix": prefix, "tokenBucket": bucket, "filterEnabled": share(100), "filterEnforced": share(enforced)});
        packed("filters.http.local_ratelimit.v3.LocalRateLimit", fields)
    };
    let filters = vec![filter("limits", limits("all", 2, 100))];
    let routes = vec![route("/watched", json!({"limits": limits("watched", 1, 0)})), route("/", json!({}))];
    let (proxy, _peer, _service) = proxy(plane, filters, routes).await;
    for (path, statuses) in [("/", [200, 200, 429]), ("/watched", [200, 200, 200])] {
        for status in statuses {
            assert_eq!(proxy.ask(get(path)).await.unwrap().status, status, "{path}");
        }
    }
    let expected =
        ["local_rate_limit_enabled 6", "local_rate_limit_enforced 1", "local_rate_limit_ok 3", "local_rate_limit_rate_limited 3"];
    assert_eq!(counted(&proxy, &["local_rate_limit"]).await, expected);
}
