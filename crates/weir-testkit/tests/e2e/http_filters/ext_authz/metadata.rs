//! What services tell of requests for other filters and logs, and what they are told.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};
use weir_xds::auth::{CheckRequest, CheckResponse};

use super::grpc::{answer, message};
use super::{NAME, get, of_grpc, of_http, says, with};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    what_a_service_of_grpc_tells_is_left,
    what_a_service_of_http_tells_in_headers_is_left,
    a_service_is_told_what_others_have_left,
);

/// Shows what is left in a header of answers.
fn shown() -> Value {
    let value = "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%/%DYNAMIC_METADATA(envoy.filters.http.ext_authz:claims:plan)%";
    let append = json!({"append": {"header": {"key": "x-told", "value": value}}});
    filter("shown", packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {"responseMutations": [append]}})))
}

async fn start(plane: DataPlane, version: Version, config: Value) -> (LoneProxy, Recorder, Recorder) {
    let (peer, service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(version).await);
    let auth = if version == Version::HTTP_2 { http2_cluster("auth", service.address()) } else { cluster("auth", service.address()) };
    let before = json!({"metadata": [{"metadataNamespace": "ns", "value": {"user": "ann", "inner": {"n": 7}}}]});
    let filters = vec![filter("before", packed("filters.http.set_metadata.v3.Config", before)), shown(), filter(NAME, config)];
    let metadata = json!({"filterMetadata": {"of-route": {"plan": "gold"}}});
    let routes = vec![json!({"match": {"prefix": "/"}, "route": {"cluster": "a"}, "metadata": metadata})];
    let xds = Xds { filters, routes, clusters: vec![cluster("a", peer.address()), auth], ..Xds::default() };
    (LoneProxy::start(plane, &xds).await, peer, service)
}

async fn what_a_service_of_grpc_tells_is_left(plane: DataPlane) {
    let told = json!({"user": "ann", "claims": {"plan": "gold"}});
    for (more, expected) in [(json!({}), "ann/gold"), (json!({"enableDynamicMetadataIngestion": false}), "/")] {
        let (proxy, _peer, service) = start(plane, Version::HTTP_2, of_grpc(more)).await;
        for (code, status) in [(0, 200), (7, 403)] {
            service.set_answer(answer::<CheckResponse>(json!({"status": {"code": code}, "dynamicMetadata": told})));
            let heard = proxy.ask(get("/")).await.unwrap();
            assert_eq!((heard.status, heard.header("x-told").as_str()), (status, expected), "{code}");
        }
    }
}

async fn what_a_service_of_http_tells_in_headers_is_left(plane: DataPlane) {
    let response = json!({"authorizationResponse": {"dynamicMetadataFromHeaders": {"patterns": [{"exact": "user"}]}}});
    let (proxy, _peer, service) = start(plane, Version::HTTP_11, of_http(response, json!({}))).await;
    for status in [200, 403] {
        service.set_answer(says(status, &[("user", "ann"), ("other", "x")], ""));
        let heard = proxy.ask(get("/")).await.unwrap();
        assert_eq!((heard.status, heard.header("x-told").as_str()), (status, "ann/"));
    }
}

async fn a_service_is_told_what_others_have_left(plane: DataPlane) {
    let namespaces = json!({"metadataContextNamespaces": ["ns", "none"], "routeMetadataContextNamespaces": ["of-route", "none"]});
    for (more, before, route) in [(namespaces, vec!["ns"], vec!["of-route"]), (json!({}), vec![], vec![])] {
        let (proxy, _peer, mut service) = start(plane, Version::HTTP_2, of_grpc(with(json!({}), more))).await;
        service.set_answer(answer::<CheckResponse>(json!({})));
        assert_eq!(proxy.ask(get("/")).await.unwrap().status, 200);
        let attributes = message::<CheckRequest>(&service.asked().await.body).attributes.unwrap();
        let known = attributes.metadata_context.unwrap_or_default().filter_metadata;
        assert_eq!(known.keys().collect::<Vec<_>>(), before);
        assert_eq!(known.get("ns").is_some_and(|known| known.fields.len() == 2), !before.is_empty());
        let of_route = attributes.route_metadata_context.unwrap_or_default().filter_metadata;
        assert_eq!(of_route.keys().collect::<Vec<_>>(), route);
    }
}
