//! Requests that a service decides about: by HTTP, by gRPC, and where it fails.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorded, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::{get, grpc, request, route};

mod failures;
mod grpc_services;
mod http_services;
mod metadata;

const NAME: &str = "authz";

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// The filter, with a service of HTTP.
fn of_http(service: Value, more: Value) -> Value {
    let uri = json!({"serverUri": {"uri": "http://auth.test", "cluster": "auth", "timeout": "5s"}});
    packed("filters.http.ext_authz.v3.ExtAuthz", with(json!({"httpService": with(uri, service)}), more))
}

/// The filter, with a service of gRPC.
fn of_grpc(more: Value) -> Value {
    let service = json!({"envoyGrpc": {"clusterName": "auth", "authority": "auth.test"}, "timeout": "5s"});
    packed("filters.http.ext_authz.v3.ExtAuthz", with(json!({"grpcService": service, "transportApiVersion": "V3"}), more))
}

fn of_route(settings: Value) -> Value {
    json!({NAME: packed("filters.http.ext_authz.v3.ExtAuthzPerRoute", settings)})
}

fn names(patterns: &[&str]) -> Value {
    json!({"patterns": patterns.iter().map(|prefix| json!({"prefix": prefix})).collect::<Vec<_>>()})
}

/// A proxy with the filter, an instance, and a service.
struct Scene {
    proxy: LoneProxy,
    peer: Recorder,
    service: Recorder,
}

impl Scene {
    async fn start(plane: DataPlane, config: Value, routes: Vec<Value>) -> Self {
        let peer = Recorder::start(Version::HTTP_11).await;
        let is_grpc = config.get("grpcService").is_some();
        let service = Recorder::start(if is_grpc { Version::HTTP_2 } else { Version::HTTP_11 }).await;
        let auth = if is_grpc { http2_cluster("auth", service.address()) } else { cluster("auth", service.address()) };
        let clusters = vec![cluster("a", peer.address()), auth];
        let xds = Xds { filters: vec![filter(NAME, config)], routes, clusters, ..Xds::default() };
        Self { proxy: LoneProxy::start(plane, &xds).await, peer, service }
    }

    async fn with_all_routed(plane: DataPlane, config: Value) -> Self {
        Self::start(plane, config, vec![route("/", json!({}))]).await
    }
}

/// An answer of a service of HTTP.
fn says(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Content> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Content::of(body)).unwrap()
}

/// The names of the headers that came, and their values where they are worth a look.
fn headers_of(recorded: &Recorded) -> String {
    let mut lines: Vec<String> = recorded.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.join("|")
}
