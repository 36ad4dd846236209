//! Limits that a service counts for many proxies.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Act, BadPeer, Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, http2_cluster, packed};
use weir_xds::ratelimit_service::{RateLimitRequest, RateLimitResponse};

use super::grpc::{answer, message};
use super::{get, request};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_is_asked_by_descriptors,
    requests_that_are_too_many_are_refused,
    the_client_and_the_instance_are_told,
    a_rate_limit_service_that_fails_lets_pass_or_not,
    no_failure_of_the_service_counts_against_an_instance,
    values_of_metadata_are_counted,
    what_the_service_tells_is_left,
);

const NAME: &str = "limits";

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

fn limits(more: Value) -> Value {
    let service = json!({"grpcService": {"envoyGrpc": {"clusterName": "rls"}}, "transportApiVersion": "V3"});
    packed("filters.http.ratelimit.v3.RateLimit", with(json!({"domain": "d", "timeout": "5s", "rateLimitService": service}), more))
}

fn key(key: &str) -> Value {
    json!({"actions": [{"genericKey": {"descriptorKey": key, "descriptorValue": "v"}}]})
}

/// A route to the cluster `a`, with what it counts towards and what it says of the filter.
fn route(prefix: &str, limits: Value, said: Value) -> Value {
    let filters = if said.is_null() { json!({}) } else { json!({NAME: packed("filters.http.ratelimit.v3.RateLimitPerRoute", said)}) };
    json!({"match": {"prefix": prefix}, "route": {"cluster": "a", "rateLimits": limits}, "typedPerFilterConfig": filters})
}

struct Scene {
    proxy: LoneProxy,
    peer: Recorder,
    service: Recorder,
}

impl Scene {
    async fn start(plane: DataPlane, config: Value, routes: Vec<Value>) -> Self {
        let (peer, service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_2).await);
        service.set_answer(answer::<RateLimitResponse>(json!({"overallCode": "OK"})));
        let clusters = vec![cluster("a", peer.address()), http2_cluster("rls", service.address())];
        let virtual_host = json!({"rateLimits": [key("host")]});
        let xds = Xds { filters: vec![filter(NAME, config)], virtual_host, routes, clusters, ..Xds::default() };
        Self { proxy: LoneProxy::start(plane, &xds).await, peer, service }
    }

    /// What the service was asked: the domain, and each descriptor's keys and values.
    async fn asked(&mut self) -> String {
        let question = message::<RateLimitRequest>(&self.service.asked().await.body);
        let descriptors = question.descriptors.iter().map(|descriptor| {
            let entries = descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect::<Vec<_>>().join("+");
            descriptor.hits_addend.map_or(entries.clone(), |hits| format!("{entries}*{hits}"))
        });
        format!("{} {} {}", question.domain, question.hits_addend, descriptors.collect::<Vec<_>>().join(","))
    }
}

async fn a_service_is_asked_by_descriptors(plane: DataPlane) {
    let with_header = json!({"actions": [
        {"requestHeaders": {"headerName": "x-user", "descriptorKey": "user"}}, {"destinationCluster": {}}, {"remoteAddress": {}}]});
    let routes = vec![
        route("/own", json!([key("r")]), Value::Null),
        route("/key", json!([with(key("r"), json!({"disableKey": "k", "hitsAddend": {"number": 3}}))]), Value::Null),
        route("/stage", json!([with(key("r"), json!({"stage": 1}))]), Value::Null),
        route("/header", json!([with_header]), Value::Null),
        route("/include", json!([key("r")]), json!({"vhRateLimits": "INCLUDE"})),
        route("/ignore", json!([]), json!({"vhRateLimits": "IGNORE"})),
        route("/domain", json!([]), json!({"domain": "e"})),
        route("/filter", json!([key("r")]), json!({"rateLimits": [with(key("own"), json!({"hitsAddend": {"number": 3}}))]})),
        json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
        json!({"match": {"prefix": "/absent"}, "route": {"cluster": "absent"}}),
        route("/", json!([]), Value::Null),
    ];
    let mut scene = Scene::start(plane, limits(json!({})), routes).await;
    let cases = [
        ("/own", Some("d 0 r=v")),
        ("/key", Some("d 0 r=v")),
        ("/stage", None),
        ("/header", Some("d 0 user=ann+destination_cluster=a+remote_address=127.0.0.1")),
        ("/include", Some("d 0 r=v,host=v")),
        ("/ignore", None),
        ("/domain", Some("e 0 host=v")),
        ("/filter", Some("d 0 own=v*3")),
        ("/direct", None),
        ("/absent", None),
        ("/", Some("d 0 host=v")),
    ];
    for (path, expected) in cases {
        scene.proxy.ask(request("GET", path, &[("x-user", "ann")], Content::default())).await.unwrap();
        match expected {
            Some(expected) => assert_eq!(scene.asked().await, expected, "{path}"),
            None => assert!(!scene.service.has_been_asked(), "{path}"),
        }
    }
    scene.proxy.ask(get("/header")).await.unwrap();
    assert!(!scene.service.has_been_asked(), "it lacks what is counted");
    let mut scene =
        Scene::start(plane, limits(json!({"rateLimits": [key("own")]})), vec![route("/", json!([key("r")]), Value::Null)]).await;
    scene.proxy.ask(get("/")).await.unwrap();
    assert_eq!(scene.asked().await, "d 0 own=v");
    for (of, asked) in [("internal", false), ("external", true)] {
        let mut scene = Scene::start(plane, limits(json!({"requestType": of})), vec![route("/", json!([]), Value::Null)]).await;
        scene.proxy.ask(get("/")).await.unwrap();
        assert_eq!(scene.service.has_been_asked(), asked, "{of}");
    }
}

async fn requests_that_are_too_many_are_refused(plane: DataPlane) {
    let over = || {
        let headers = json!([{"key": "x-rls", "value": "1"}, {"key": "content-type", "value": "application/json"}]);
        json!({"overallCode": "OVER_LIMIT", "responseHeadersToAdd": headers, "requestHeadersToAdd": [{"key": "x-in", "value": "1"}],
            "rawBody": "e30=", "statuses": [{"code": "OVER_LIMIT", "durationUntilReset": "7s"}]})
    };
    let added = json!([{"header": {"key": "x-over", "value": "at %REQ(:path)%"}}]);
    let never = json!({"defaultValue": {"numerator": 0}});
    // The status, whether it is told that it was too much, when to come again.
    let cases = [
        (json!({}), 429, "true", ""),
        (json!({"rateLimitedStatus": {"code": "ServiceUnavailable"}}), 503, "true", ""),
        (json!({"rateLimitedStatus": {"code": "Accepted"}}), 429, "true", ""),
        (json!({"disableXEnvoyRatelimitedHeader": true}), 429, "", ""),
        (json!({"filterEnforced": never}), 200, "true", ""),
        (json!({"enableRetryAfterHeader": true}), 429, "true", "7"),
        (json!({"enableRetryAfterHeader": true, "rateLimitedStatus": {"code": "ServiceUnavailable"}}), 503, "true", ""),
        (json!({"filterEnabled": never}), 200, "", ""),
    ];
    for (more, status, limited, wait) in cases {
        let config = limits(with(json!({"responseHeadersToAdd": added}), more.clone()));
        let mut scene = Scene::start(plane, config, vec![route("/", json!([]), Value::Null)]).await;
        scene.service.set_answer(answer::<RateLimitResponse>(over()));
        let told = scene.proxy.ask(get("/p")).await.unwrap();
        let heard = (told.status, told.header("x-envoy-ratelimited"), told.header("retry-after"));
        assert_eq!((heard.0, heard.1.as_str(), heard.2.as_str()), (status, limited, wait), "{more}");
        let line = scene.proxy.log(1).await.remove(0);
        if status == 200 {
            assert_eq!((line.as_str(), told.header("x-over").as_str()), ("200 - via_upstream a", ""), "{more}");
            assert_eq!(scene.peer.asked().await.header("x-in"), if limited.is_empty() { "" } else { "1" });
        } else {
            assert_eq!(line, format!("{status} RL request_rate_limited a"));
            assert_eq!((told.header("x-rls"), told.header("x-over")), ("1".to_owned(), "at /p".to_owned()));
            assert_eq!((told.text().as_str(), told.header("content-type").as_str()), ("{}", "application/json"));
            assert!(!scene.peer.has_been_asked());
        }
    }
    for (exhausted, grpc_status) in [(false, "14"), (true, "8")] {
        let config = limits(json!({"rateLimitedAsResourceExhausted": exhausted}));
        let scene = Scene::start(plane, config, vec![route("/", json!([]), Value::Null)]).await;
        scene.service.set_answer(answer::<RateLimitResponse>(json!({"overallCode": "OVER_LIMIT"})));
        let call = request("POST", "/p", &[("content-type", "application/grpc")], Content::default());
        let told = scene.proxy.ask(call).await.unwrap();
        assert_eq!((told.status, told.header("grpc-status").as_str()), (200, grpc_status));
    }
}

async fn the_client_and_the_instance_are_told(plane: DataPlane) {
    let config = limits(json!({"enableXRatelimitHeaders": "DRAFT_VERSION_03"}));
    let mut scene = Scene::start(plane, config, vec![route("/", json!([]), Value::Null)]).await;
    let status = |name: &str, most: u32, unit: &str, left: u32, reset: &str| {
        json!({"code": "OK", "currentLimit": {"name": name, "requestsPerUnit": most, "unit": unit}, "limitRemaining": left,
            "durationUntilReset": reset})
    };
    let statuses = json!([status("first", 1, "MINUTE", 2, "3s"), status("", 4, "WEEK", 5, "6s"), {"code": "OK"}]);
    let header = |key: &str| json!([{"key": key, "value": "new"}]);
    let said =
        json!({"overallCode": "OK", "statuses": statuses, "responseHeadersToAdd": header("x-c"), "requestHeadersToAdd": header("x-r")});
    scene.service.set_answer(answer::<RateLimitResponse>(said));
    scene.peer.set_answer(Response::builder().header("x-c", "old").body(Content::default()).unwrap());
    let told = scene.proxy.ask(request("GET", "/", &[("x-r", "old")], Content::default())).await.unwrap();
    let limit = ["limit", "remaining", "reset"].map(|name| told.header(&format!("x-ratelimit-{name}")));
    assert_eq!(limit, ["1, 1;w=60;name=\"first\", 4;w=604800".to_owned(), "2".to_owned(), "3".to_owned()]);
    assert_eq!((told.header("x-c"), scene.peer.asked().await.header("x-r")), ("old,new".to_owned(), "old,new".to_owned()));
    // What follows it answers itself: it is told all the same.
    assert_eq!(scene.proxy.log(1).await, ["200 - via_upstream a"]);
}

async fn a_rate_limit_service_that_fails_lets_pass_or_not(plane: DataPlane) {
    let half = Content::of(vec![0, 0, 0, 0, 9, 1]).trailing(&[("grpc-status", "0")]);
    let broken = [
        Response::builder().header("content-type", "application/grpc").header("grpc-status", "13").body(Content::default()).unwrap(),
        Response::builder().status(404).body(Content::default()).unwrap(),
        Response::builder().header("content-type", "application/grpc").body(half).unwrap(),
    ];
    let cases = [
        (json!({}), 200, "200 - via_upstream a"),
        (json!({"failureModeDeny": true}), 500, "500 RLSE rate_limiter_error a"),
        (json!({"failureModeDeny": true, "statusOnError": {"code": "ServiceUnavailable"}}), 503, "503 RLSE rate_limiter_error a"),
        (json!({"failureModeDeny": true, "statusOnError": {"code": "Forbidden"}}), 403, "403 RLSE rate_limiter_error a"),
        (json!({"failureModeDeny": true, "failureModeDenyPercent": {"defaultValue": {"numerator": 0}}}), 200, "200 - via_upstream a"),
    ];
    for (more, status, line) in cases {
        let scene = Scene::start(plane, limits(more.clone()), vec![route("/", json!([]), Value::Null)]).await;
        for answer in &broken {
            scene.service.set_answer(answer.clone());
            assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, status, "{more}");
        }
        assert_eq!(scene.proxy.log(broken.len()).await, vec![line; broken.len()]);
    }
}

/// Services that are down, slow, broken, or break off.
async fn failing() -> (Vec<BadPeer>, Vec<Value>) {
    let scripts: [(&str, &[Act]); 4] = [
        ("closing", &[Act::ReadHead]),
        ("resetting", &[Act::ReadHead, Act::Reset]),
        ("slow", &[Act::ReadHead, Act::UntilEnd]),
        ("garbage", &[Act::ReadHead, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]),
    ];
    let (mut peers, mut clusters) = (vec![], vec![]);
    for (name, script) in scripts {
        let peer = BadPeer::start(&[script]).await;
        clusters.push(http2_cluster(name, peer.address()));
        peers.push(peer);
    }
    let refusing = BadPeer::refusing().await;
    clusters.push(http2_cluster("refusing", refusing.address()));
    let mut limited = http2_cluster("limited", peers[0].address());
    limited["circuitBreakers"] = json!({"thresholds": [{"maxRequests": 0}]});
    clusters.extend([limited, json!({"name": "nobody", "type": "STATIC", "loadAssignment": {"clusterName": "nobody"}})]);
    peers.push(refusing);
    (peers, clusters)
}

async fn no_failure_of_the_service_counts_against_an_instance(plane: DataPlane) {
    let (_peers, services) = failing().await;
    let names: Vec<String> = services.iter().map(|cluster| cluster["name"].as_str().unwrap().to_owned()).collect();
    for name in names.iter().map(String::as_str).chain(["absent"]) {
        let mut peer = Recorder::start(Version::HTTP_11).await;
        // One failure of an instance would leave it out.
        let mut own = cluster("a", peer.address());
        own["outlierDetection"] = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "600s"});
        own["commonLbConfig"] = json!({"healthyPanicThreshold": {}});
        let service = json!({"grpcService": {"envoyGrpc": {"clusterName": name}}, "transportApiVersion": "V3"});
        let config = limits(json!({"failureModeDeny": true, "timeout": "0.5s", "rateLimitService": service}));
        let free = json!({"match": {"prefix": "/free"}, "route": {"cluster": "a", "rateLimits": [with(key("r"), json!({"stage": 1}))]}});
        let xds = Xds {
            filters: vec![filter(NAME, config)],
            virtual_host: json!({"rateLimits": [key("host")]}),
            routes: vec![free, route("/", json!([]), Value::Null)],
            clusters: [own].into_iter().chain(services.clone()).collect(),
            ..Xds::default()
        };
        let proxy = LoneProxy::start(plane, &xds).await;
        assert_eq!(proxy.ask(get("/")).await.unwrap().status, 500, "{name}");
        assert_eq!(proxy.ask(get("/free")).await.unwrap().status, 200, "{name}");
        assert_eq!(peer.asked().await.path, "/free", "{name}");
        assert_eq!(proxy.log(2).await[0], "500 RLSE rate_limiter_error a", "{name}");
    }
}

async fn values_of_metadata_are_counted(plane: DataPlane) {
    let of = |source: &str, more: Value| {
        let fields =
            json!({"descriptorKey": "m", "metadataKey": {"key": "ns", "path": [{"key": "claims"}, {"key": "user"}]}, "source": source});
        json!([{"actions": [{"metadata": with(fields, more)}]}])
    };
    let claims = |user: &str| json!({"claims": {"user": user, "number": 7}});
    let mut told = route("/route", of("ROUTE_ENTRY", json!({})), Value::Null);
    told["metadata"] = json!({"filterMetadata": {"ns": claims("of-route")}});
    let mut number = of("DYNAMIC", json!({"defaultValue": "guest"}));
    number[0]["actions"][0]["metadata"]["metadataKey"]["path"][1]["key"] = json!("number");
    let mut absent = of("DYNAMIC", json!({}));
    absent[0]["actions"][0]["metadata"]["metadataKey"]["key"] = json!("absent");
    let mut skipped = absent.clone();
    skipped[0]["actions"][0]["metadata"]["skipIfAbsent"] = json!(true);
    skipped[0]["actions"].as_array_mut().unwrap().push(json!({"genericKey": {"descriptorValue": "v"}}));
    let routes = vec![
        told,
        route("/number", number, Value::Null),
        route("/absent", absent, Value::Null),
        route("/skipped", skipped, Value::Null),
        route("/", of("DYNAMIC", json!({})), Value::Null),
    ];
    let (peer, service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_2).await);
    service.set_answer(answer::<RateLimitResponse>(json!({"overallCode": "OK"})));
    let before = packed("filters.http.set_metadata.v3.Config", json!({"metadata": [{"metadataNamespace": "ns", "value": claims("ann")}]}));
    let xds = Xds {
        filters: vec![filter("before", before), filter(NAME, limits(json!({})))],
        routes,
        clusters: vec![cluster("a", peer.address()), http2_cluster("rls", service.address())],
        ..Xds::default()
    };
    let mut scene = Scene { proxy: LoneProxy::start(plane, &xds).await, peer, service };
    for (path, expected) in [
        ("/", Some("d 0 m=ann")),
        ("/route", Some("d 0 m=of-route")),
        ("/number", Some("d 0 m=guest")),
        ("/absent", None),
        ("/skipped", Some("d 0 generic_key=v")),
    ] {
        assert_eq!(scene.proxy.ask(get(path)).await.unwrap().status, 200);
        match expected {
            Some(expected) => assert_eq!(scene.asked().await, expected, "{path}"),
            None => assert!(!scene.service.has_been_asked(), "{path}"),
        }
    }
}

async fn what_the_service_tells_is_left(plane: DataPlane) {
    for (more, namespace) in [(json!({}), "envoy.filters.http.ratelimit"), (json!({"metadataNamespace": "own"}), "own")] {
        let value = format!("%DYNAMIC_METADATA({namespace}:plan)%");
        let append = json!({"append": {"header": {"key": "x-told", "value": value}}});
        let shown = packed("filters.http.header_mutation.v3.HeaderMutation", json!({"mutations": {"responseMutations": [append]}}));
        let (peer, service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_2).await);
        let xds = Xds {
            filters: vec![filter("shown", shown), filter(NAME, limits(more))],
            virtual_host: json!({"rateLimits": [key("host")]}),
            routes: vec![route("/", json!([]), Value::Null)],
            clusters: vec![cluster("a", peer.address()), http2_cluster("rls", service.address())],
            ..Xds::default()
        };
        let proxy = LoneProxy::start(plane, &xds).await;
        for (code, status) in [("OK", 200), ("OVER_LIMIT", 429)] {
            service.set_answer(answer::<RateLimitResponse>(json!({"overallCode": code, "dynamicMetadata": {"plan": "gold"}})));
            let told = proxy.ask(get("/")).await.unwrap();
            assert_eq!((told.status, told.header("x-told").as_str()), (status, "gold"), "{namespace}");
        }
    }
}
