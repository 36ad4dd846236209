//! Configurations of filters that ask services: what is refused.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};

use super::route;
use crate::support::over_each_data_plane;

over_each_data_plane!(configurations_are_refused_alike);

const NAME: &str = "asking";

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

fn authz(config: Value) -> Value {
    packed("filters.http.ext_authz.v3.ExtAuthz", config)
}

fn http(service: Value, more: Value) -> Value {
    let uri = json!({"serverUri": {"uri": "http://auth.test", "cluster": "auth", "timeout": "5s"}});
    authz(with(json!({"httpService": with(uri, service)}), more))
}

fn grpc(service: Value, more: Value) -> Value {
    let of_cluster = json!({"envoyGrpc": {"clusterName": "auth"}});
    authz(with(json!({"grpcService": with(of_cluster, service), "transportApiVersion": "V3"}), more))
}

fn limits(more: Value) -> Value {
    let service = json!({"grpcService": {"envoyGrpc": {"clusterName": "auth"}}, "transportApiVersion": "V3"});
    packed("filters.http.ratelimit.v3.RateLimit", with(json!({"domain": "d", "rateLimitService": service}), more))
}

/// Configurations, with what a route says, and whether they are accepted.
fn cases() -> Vec<(Value, Value, bool)> {
    let nothing = || json!({});
    let said = |kind: &str, fields: Value| json!({NAME: packed(&format!("filters.http.{kind}"), fields)});
    let settings = |fields: Value| said("ext_authz.v3.ExtAuthzPerRoute", fields);
    let names = || json!({"patterns": [{"exact": "x-a"}]});
    let key = |more: Value| with(json!({"actions": [{"genericKey": {"descriptorValue": "v"}}]}), more);
    let added = |name: &str| json!({"header": {"key": name, "value": "v"}});
    vec![
        (http(nothing(), nothing()), nothing(), true),
        (grpc(nothing(), nothing()), nothing(), true),
        (http(json!({"pathPrefix": "a"}), nothing()), nothing(), false),
        (http(json!({"pathOverride": "a"}), nothing()), nothing(), false),
        (http(json!({"pathPrefix": "/a", "pathOverride": "/b"}), nothing()), nothing(), false),
        (http(json!({"authorizationRequest": {"allowedHeaders": names()}}), json!({"allowedHeaders": names()})), nothing(), false),
        (http(nothing(), json!({"transportApiVersion": "AUTO"})), nothing(), true),
        (grpc(nothing(), json!({"transportApiVersion": "AUTO"})), nothing(), true),
        (grpc(nothing(), json!({"transportApiVersion": "V2"})), nothing(), false),
        (http(nothing(), json!({"withRequestBody": {"maxRequestBytes": 0}})), nothing(), false),
        (http(nothing(), json!({"statusOnError": {"code": 0}})), nothing(), false),
        (http(nothing(), json!({"denyAtDisable": {"runtimeKey": "k"}})), nothing(), false),
        (http(nothing(), json!({"allowedHeaders": {}})), nothing(), false),
        (http(json!({"authorizationRequest": {"headersToAdd": [{"key": "x-a", "value": "%NOTHING%"}]}}), nothing()), nothing(), false),
        (grpc(nothing(), json!({"decoderHeaderMutationRules": {"allowExpression": {"regex": "("}}})), nothing(), false),
        (http(nothing(), nothing()), settings(json!({"disabled": false})), true),
        (http(nothing(), nothing()), settings(nothing()), false),
        (
            http(nothing(), nothing()),
            settings(json!({"checkSettings": {"disableRequestBodyBuffering": true, "withRequestBody": {"maxRequestBytes": 1}}})),
            false,
        ),
        (http(nothing(), nothing()), settings(json!({"checkSettings": {"withRequestBody": {"maxRequestBytes": 0}}})), false),
        (limits(nothing()), nothing(), true),
        (limits(json!({"domain": ""})), nothing(), false),
        (limits(json!({"stage": 11})), nothing(), false),
        (limits(json!({"requestType": "some"})), nothing(), false),
        (
            limits(json!({"rateLimitService": {"grpcService": {"envoyGrpc": {"clusterName": "auth"}}, "transportApiVersion": "AUTO"}})),
            nothing(),
            true,
        ),
        (
            limits(json!({"rateLimitService": {"grpcService": {"envoyGrpc": {"clusterName": "auth"}}, "transportApiVersion": "V2"}})),
            nothing(),
            false,
        ),
        (limits(json!({"rateLimits": [key(nothing())]})), nothing(), true),
        (limits(json!({"rateLimits": [key(json!({"stage": 1}))]})), nothing(), false),
        (limits(json!({"rateLimits": [key(json!({"disableKey": "k"}))]})), nothing(), false),
        (limits(json!({"responseHeadersToAdd": [added("x-a")]})), nothing(), true),
        (limits(json!({"responseHeadersToAdd": [added("host")]})), nothing(), false),
        (limits(json!({"responseHeadersToAdd": vec![added("x-a"); 11]})), nothing(), false),
        (limits(nothing()), said("ratelimit.v3.RateLimitPerRoute", json!({"rateLimits": [key(json!({"stage": 1}))]})), false),
        (limits(nothing()), said("ratelimit.v3.RateLimitPerRoute", json!({"vhRateLimits": "INCLUDE"})), true),
    ]
}

async fn configurations_are_refused_alike(plane: DataPlane) {
    let service = Recorder::start(Version::HTTP_2).await;
    let mut others = vec![];
    for (config, said, accepted) in cases() {
        let xds = Xds {
            filters: vec![filter(NAME, config.clone())],
            routes: vec![route("/", said.clone())],
            clusters: vec![cluster("a", service.address()), http2_cluster("auth", service.address())],
            ..Xds::default()
        };
        let refused = LoneProxy::start_with_refusals(plane, &xds).await.refused();
        if refused.is_empty() != accepted {
            others.push(format!("{config} {said}: {refused:?}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
