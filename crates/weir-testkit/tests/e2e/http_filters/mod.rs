//! HTTP filters that no resource of Istio's asks for, each with its routes' own configuration, given as xDS.

use hyper::Request;
use serde_json::{Value, json};
use weir_testkit::{Content, packed};

mod admission_control;
mod asking;
mod bandwidth_limit;
mod basic_auth;
mod buffer;
mod cdn_loop;
mod chain;
mod client_address;
mod compressor;
mod csrf;
mod custom_response;
mod decompressor;
mod ext_authz;
pub(crate) mod grpc;
mod grpc_http1_bridge;
mod grpc_web;
mod header_mutation;
mod health_check;
mod jwt_authn;
mod local_ratelimit;
mod lua;
mod manager;
mod metadata;
mod ratelimit;
mod rbac;
mod stateful_session;
mod statistics;

/// A request for a path of the only host.
fn request(method: &str, path: &str, headers: &[(&'static str, &str)], content: Content) -> Request<Content> {
    let mut request = Request::builder().method(method).uri(format!("http://shop.test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(content).unwrap()
}

/// A request without a body.
fn get(path: &str) -> Request<Content> {
    request("GET", path, &[], Content::default())
}

/// A route to the cluster `a` for all paths that begin so, with what it says of filters by their names.
fn route(prefix: &str, filters: Value) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": "a"}, "typedPerFilterConfig": filters})
}

/// A `FilterConfig`, which enables or disables a filter whatever it is.
fn filter_config(mut fields: Value) -> Value {
    fields["@type"] = json!("type.googleapis.com/envoy.config.route.v3.FilterConfig");
    fields
}

/// What makes a filter write a header of answers, to show that it was there.
fn mark(kind: &str, value: &str) -> Value {
    let append = json!({"header": {"key": "x-mark", "value": value}, "appendAction": "APPEND_IF_EXISTS_OR_ADD"});
    packed(&format!("filters.http.header_mutation.v3.{kind}"), json!({"mutations": {"responseMutations": [{"append": append}]}}))
}
