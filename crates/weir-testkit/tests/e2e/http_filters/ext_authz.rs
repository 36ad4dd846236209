//! Requests that a service decides about, by HTTP and by gRPC.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Act, BadPeer, Content, DataPlane, LoneProxy, Recorded, Recorder, Xds, cluster, filter, http2_cluster, packed};
use weir_xds::auth::{CheckRequest, CheckResponse};

use super::grpc::{answer, message};
use super::{get, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_of_http_lets_a_request_pass_and_changes_it,
    a_service_of_http_refuses_a_request_in_its_own_words,
    a_service_of_http_gets_what_it_may,
    a_service_that_fails_lets_nobody_pass,
    a_service_that_fails_may_let_all_pass,
    a_service_gets_bodies_up_to_a_limit,
    routes_say_whether_and_how_somebody_is_asked,
    a_service_of_grpc_gets_all_attributes,
    a_service_of_grpc_decides_and_changes,
    the_route_is_found_anew_where_that_is_wanted,
    requests_that_nobody_is_asked_about_may_be_refused,
    rules_say_what_a_service_may_change,
    nobody_is_refused_in_shadow,
);

const NAME: &str = "authz";

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// The filter, with a service of HTTP.
fn http(service: Value, more: Value) -> Value {
    let uri = json!({"serverUri": {"uri": "http://auth.test", "cluster": "auth", "timeout": "5s"}});
    packed("filters.http.ext_authz.v3.ExtAuthz", with(json!({"httpService": with(uri, service)}), more))
}

/// The filter, with a service of gRPC.
fn grpc(more: Value) -> Value {
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
fn headers(recorded: &Recorded) -> String {
    let mut lines: Vec<String> = recorded.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.join("|")
}

async fn a_service_of_http_lets_a_request_pass_and_changes_it(plane: DataPlane) {
    let response = json!({
        "allowedUpstreamHeaders": names(&["x-set"]),
        "allowedUpstreamHeadersToAppend": names(&["x-add"]),
        "allowedClientHeadersOnSuccess": names(&["x-ok"]),
    });
    let mut scene = Scene::with_all_routed(plane, http(json!({"authorizationResponse": response}), json!({}))).await;
    let answer = [
        ("x-set", "new"),
        ("x-set", "newer"),
        ("x-add", "more"),
        ("x-ok", "yes"),
        ("x-hidden", "no"),
        ("x-envoy-auth-headers-to-remove", "x-secret, x-none"),
    ];
    scene.service.set_answer(says(200, &answer, "ignored"));
    let asked =
        request("POST", "/p?q=1", &[("x-set", "old"), ("x-add", "old"), ("x-secret", "s"), ("x-stays", "yes")], Content::of("body"));
    let told = scene.proxy.ask(asked).await.unwrap();
    let question = scene.service.asked().await;
    assert_eq!((question.method.as_str(), question.path.as_str(), question.body.len()), ("POST", "/p?q=1", 0));
    assert_eq!(headers(&question), "content-length: 0|host: shop.test|x-envoy-expected-rq-timeout-ms: 5000|x-envoy-internal: true");
    let heard = scene.peer.asked().await;
    assert_eq!((heard.header("x-set"), heard.header("x-add")), ("newer".to_owned(), "old,more".to_owned()));
    assert_eq!((heard.header("x-secret"), heard.header("x-stays"), &heard.body[..]), (String::new(), "yes".to_owned(), &b"body"[..]));
    assert_eq!((told.status, told.header("x-ok"), told.header("x-hidden")), (200, "yes".to_owned(), String::new()));
    assert_eq!(scene.proxy.log(1).await, ["200 - via_upstream a"]);
}

async fn a_service_of_http_refuses_a_request_in_its_own_words(plane: DataPlane) {
    let mut scene = Scene::with_all_routed(plane, http(json!({}), json!({}))).await;
    let answer = [("x-why", "because"), ("content-type", "application/json"), ("location", "/login"), ("www-authenticate", "Basic")];
    for status in [401, 302, 201, 204, 404] {
        scene.service.set_answer(says(status, &answer, if status == 204 { "" } else { "{}" }));
        let told = scene.proxy.ask(get("/")).await.unwrap();
        scene.service.asked().await;
        assert_eq!((told.status, told.header("x-why"), told.header("location")), (status, "because".to_owned(), "/login".to_owned()));
        assert_eq!(told.header("www-authenticate"), "Basic");
        assert!(!told.header("x-envoy-upstream-service-time").is_empty(), "{status}: as with all answers to Envoy's client");
        if status != 204 {
            assert_eq!((told.text().as_str(), told.header("content-type").as_str()), ("{}", "application/json"));
        }
    }
    assert!(!scene.peer.has_been_asked());
    let log = scene.proxy.log(5).await;
    assert_eq!((log[0].as_str(), log[1].as_str()), ("401 UAEX ext_authz_denied a", "302 UAEX ext_authz_denied a"));

    let response = json!({"authorizationResponse": {"allowedClientHeaders": names(&["x-w"])}});
    let mut scene = Scene::with_all_routed(plane, http(response, json!({"maxDeniedResponseBodyBytes": 3}))).await;
    scene.service.set_answer(says(403, &[("x-why", "because"), ("x-other", "o"), ("location", "/login")], "longer"));
    let told = scene.proxy.ask(get("/")).await.unwrap();
    scene.service.asked().await;
    assert_eq!(
        (told.header("x-why"), told.header("x-other"), told.header("location")),
        ("because".to_owned(), String::new(), "/login".to_owned())
    );
    assert_eq!((told.text().as_str(), told.header("content-length").as_str()), ("lon", "3"));
}

async fn a_service_of_http_gets_what_it_may(plane: DataPlane) {
    let added = json!([{"key": "x-asked", "value": "by %REQ(:method)%"}, {"key": "x-user", "value": "ours"}]);
    let service = json!({"pathPrefix": "/check", "authorizationRequest": {"headersToAdd": added}});
    let more = json!({"allowedHeaders": names(&["x-"]), "disallowedHeaders": names(&["x-not", "x-forwarded", "x-request"])});
    let mut scene = Scene::with_all_routed(plane, http(service, more)).await;
    let sent = [("x-user", "ann"), ("x-a", "1"), ("x-a", "2"), ("x-not", "n"), ("other", "o"), ("authorization", "me")];
    scene.proxy.ask(request("GET", "/p?q=%20", &sent, Content::default())).await.unwrap();
    let question = scene.service.asked().await;
    assert_eq!(question.path, "/check/p?q=%20");
    let expected = "authorization: me|content-length: 0|host: shop.test|x-a: 1,2|x-asked: by GET|x-envoy-expected-rq-timeout-ms: 5000|\
                    x-envoy-internal: true|x-user: ours";
    assert_eq!(headers(&question), expected);

    let service = json!({"pathOverride": "/fixed"});
    let more = json!({"allowedHeaders": names(&["x-a"]), "encodeRawHeaders": true});
    let mut scene = Scene::with_all_routed(plane, http(service, more)).await;
    scene.proxy.ask(request("GET", "/p", &sent, Content::default())).await.unwrap();
    let question = scene.service.asked().await;
    assert_eq!((question.path.as_str(), question.headers.get_all("x-a").iter().count()), ("/fixed", 2));
}

/// Clusters of services that fail, each in its own way.
async fn failing() -> (Vec<BadPeer>, Vec<(&'static str, Value)>) {
    let scripts: [(&str, &[Act]); 6] = [
        ("status", &[Act::Read, Act::Say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nwhat"), Act::UntilEnd]),
        ("closing", &[Act::Read]),
        ("resetting", &[Act::Read, Act::Reset]),
        ("half", &[Act::Read, Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"), Act::Reset]),
        ("garbage", &[Act::Read, Act::Say("what?\r\n\r\n")]),
        ("slow", &[Act::Read, Act::UntilEnd]),
    ];
    let (mut peers, mut clusters) = (vec![], vec![]);
    for (name, script) in scripts {
        let peer = BadPeer::start(&[script]).await;
        clusters.push((name, cluster(name, peer.address())));
        peers.push(peer);
    }
    let refusing = BadPeer::refusing().await;
    clusters.push(("refusing", cluster("refusing", refusing.address())));
    peers.push(refusing);
    clusters.push(("nobody", json!({"name": "nobody", "type": "STATIC", "loadAssignment": {"clusterName": "nobody"}})));
    let mut limited = cluster("limited", peers[0].address());
    limited["circuitBreakers"] = json!({"thresholds": [{"maxRequests": 0}]});
    clusters.push(("limited", limited));
    (peers, clusters)
}

/// What clients hear where services fail, and what instances do.
async fn fails(plane: DataPlane, more: Value) -> (Vec<(u16, String)>, Vec<String>, Recorder) {
    let (_peers, services) = failing().await;
    let peer = Recorder::start(Version::HTTP_11).await;
    let names: Vec<&str> = services.iter().map(|(name, _)| *name).chain(["absent"]).collect();
    let of_service = |name: &&str| {
        let service = json!({"serverUri": {"uri": "http://auth.test", "cluster": name, "timeout": "0.5s"}});
        route(&format!("/{name}"), of_route(json!({"checkSettings": {"httpService": service}})))
    };
    // One failure of an instance would leave it out.
    let mut own = cluster("a", peer.address());
    own["outlierDetection"] = json!({"consecutive5xx": 1, "maxEjectionPercent": 100, "baseEjectionTime": "600s"});
    own["commonLbConfig"] = json!({"healthyPanicThreshold": {}});
    let routes = names.iter().map(of_service).chain([route("/", of_route(json!({"disabled": true})))]).collect();
    let clusters = [own].into_iter().chain(services.iter().map(|(_, cluster)| cluster.clone())).collect();
    let xds = Xds { filters: vec![filter(NAME, http(json!({}), more))], routes, clusters, ..Xds::default() };
    let proxy = LoneProxy::start(plane, &xds).await;
    let mut heard = vec![];
    for name in &names {
        let told = proxy.ask(get(&format!("/{name}"))).await.unwrap();
        heard.push((told.status, told.text()));
    }
    // The instance is fine all the while.
    assert_eq!(proxy.ask(get("/fine")).await.unwrap().status, 200);
    let log = proxy.log(names.len() + 1).await;
    (heard, log, peer)
}

async fn a_service_that_fails_lets_nobody_pass(plane: DataPlane) {
    let (heard, log, mut peer) = fails(plane, json!({})).await;
    for (heard, line) in heard.iter().zip(&log) {
        assert_eq!((heard, line.as_str()), (&(403, String::new()), "403 UAEX ext_authz_error a"));
    }
    assert_eq!(peer.asked().await.path, "/fine");
    let (heard, log, _) = fails(plane, json!({"statusOnError": {"code": 503}})).await;
    assert!(heard.iter().all(|heard| *heard == (503, String::new())), "{heard:?}");
    assert_eq!(log[0], "503 UAEX ext_authz_error a");
}

async fn a_service_that_fails_may_let_all_pass(plane: DataPlane) {
    let (heard, log, mut peer) = fails(plane, json!({"failureModeAllow": true, "failureModeAllowHeaderAdd": true})).await;
    for (heard, line) in heard.iter().zip(&log) {
        assert_eq!((heard.0, line.as_str()), (200, "200 - via_upstream a"));
        assert_eq!(peer.asked().await.header("x-envoy-auth-failure-mode-allowed"), "true");
    }
}

async fn a_service_gets_bodies_up_to_a_limit(plane: DataPlane) {
    let body = |partial: bool| json!({"withRequestBody": {"maxRequestBytes": 6, "allowPartialMessage": partial}});
    let settings = |settings: Value| of_route(json!({ "checkSettings": settings }));
    let routes = || {
        vec![
            route("/none", settings(json!({"disableRequestBodyBuffering": true}))),
            route("/more", settings(json!({"withRequestBody": {"maxRequestBytes": 20}}))),
            route("/", json!({})),
        ]
    };
    // The status; what the service gets, and whether it is told that it is a part; how the request was framed.
    type Case = (bool, &'static str, &'static [&'static str], u16, &'static str, &'static str);
    let cases: [Case; 9] = [
        (false, "/", &["abc", "def"], 200, "abcdef", "false"),
        (false, "/", &["abc", "defg"], 413, "", ""),
        (false, "/", &[], 200, "", ""),
        (false, "/none", &["abc", "defg"], 200, "", ""),
        (false, "/more", &["abc", "defg"], 200, "abcdefg", "false"),
        (true, "/", &["abc", "de"], 200, "abcde", "false"),
        (true, "/", &["abc", "def"], 200, "abcdef", "false"),
        (true, "/", &["abc", "defghijkl", "mno"], 200, "abcdef", "true"),
        (true, "/none", &["abc", "defg"], 200, "", ""),
    ];
    for partial in [false, true] {
        let mut scene = Scene::start(plane, http(json!({}), body(partial)), routes()).await;
        for (_, path, parts, status, part, told) in cases.into_iter().filter(|case| case.0 == partial) {
            for content in [Content::streamed(parts), Content::of(parts.concat())] {
                let has_length = !format!("{content:?}").contains("streamed: true");
                let answer = scene.proxy.ask(request("POST", path, &[], content)).await.unwrap();
                assert_eq!(answer.status, status, "{path} {parts:?}");
                if status == 413 {
                    continue;
                }
                let question = scene.service.asked().await;
                let length = question.body.len().to_string();
                assert_eq!(question.header("content-length"), length);
                // Of a body that comes bit by bit more may have come than was waited for.
                let is_told = (question.header("x-envoy-auth-partial-body"), String::from_utf8_lossy(&question.body).into_owned());
                if !parts.is_empty() {
                    assert_eq!(is_told, (told.to_owned(), part.to_owned()), "{path} {parts:?}");
                }
                let heard = scene.peer.asked().await;
                assert_eq!(&heard.body[..], parts.concat().as_bytes(), "{path} {parts:?}");
                if has_length && !parts.is_empty() {
                    assert_eq!(heard.header("content-length"), parts.concat().len().to_string(), "{path} {parts:?}");
                }
            }
        }
    }
}

async fn routes_say_whether_and_how_somebody_is_asked(plane: DataPlane) {
    let routes = vec![
        route("/off", of_route(json!({"disabled": true}))),
        json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
        json!({"match": {"prefix": "/redirect"}, "redirect": {"pathRedirect": "/"}}),
        route("/routed", json!({})),
    ];
    let mut scene = Scene::start(plane, http(json!({}), json!({})), routes).await;
    scene.service.set_answer(says(403, &[], ""));
    let cases = [("/off", 200, false), ("/direct", 403, true), ("/redirect", 403, true), ("/routed", 403, true), ("/nowhere", 404, false)];
    for (path, status, is_asked) in cases {
        assert_eq!(scene.proxy.ask(get(path)).await.unwrap().status, status, "{path}");
        if is_asked {
            assert_eq!(scene.service.asked().await.path, path);
        }
        assert!(!scene.service.has_been_asked(), "{path}");
    }
}

/// What a service of gRPC was asked.
async fn checked(service: &mut Recorder) -> (Recorded, CheckRequest) {
    let recorded = service.asked().await;
    let request = message::<CheckRequest>(&recorded.body);
    (recorded, request)
}

async fn a_service_of_grpc_gets_all_attributes(plane: DataPlane) {
    let service = json!({
        "envoyGrpc": {"clusterName": "auth", "authority": "auth.test"},
        "timeout": "5s",
        "initialMetadata": [{"key": "x-meta", "value": "of %REQ(:path)%"}],
    });
    let config = grpc(json!({"grpcService": service, "withRequestBody": {"maxRequestBytes": 10}, "includeTlsSession": true}));
    let extensions = |pairs: Value| json!({"checkSettings": {"contextExtensions": pairs}});
    let routes = vec![route("/", of_route(extensions(json!({"a": "route"}))))];
    let mut scene = Scene::start(plane, config, routes).await;
    scene.service.set_answer(answer::<CheckResponse>(json!({})));
    let sent = [("x-a", "1"), ("x-a", "2"), ("x-envoy-auth-partial-body", "lie"), ("user-agent", "me")];
    let told = scene.proxy.ask(request("PUT", "/p?q=1", &sent, Content::of("body"))).await.unwrap();
    assert_eq!(told.status, 200);
    let (recorded, question) = checked(&mut scene.service).await;
    assert_eq!((recorded.method.as_str(), recorded.path.as_str()), ("POST", "/envoy.service.auth.v3.Authorization/Check"));
    assert_eq!((recorded.header("te"), recorded.header("content-type")), ("trailers".to_owned(), "application/grpc".to_owned()));
    assert_eq!((recorded.header("grpc-timeout"), recorded.header("x-meta")), ("5000m".to_owned(), "of /p?q=1".to_owned()));
    assert_eq!(recorded.header("x-envoy-internal"), "true");
    assert_eq!(recorded.header("x-envoy-expected-rq-timeout-ms"), "5000");
    assert!(!recorded.header("x-forwarded-for").is_empty());
    let attributes = question.attributes.unwrap();
    assert_eq!(attributes.context_extensions.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "route".to_owned())]);
    assert!(attributes.source.unwrap().address.is_some() && attributes.destination.unwrap().address.is_some());
    assert_eq!(attributes.tls_session.map(|session| session.sni), Some(String::new()));
    let request = attributes.request.unwrap();
    assert!(request.time.unwrap().seconds > 1_600_000_000);
    let http = request.http.unwrap();
    assert!(http.id.parse::<u64>().is_ok());
    assert_eq!(
        (http.method.as_str(), http.path.as_str(), http.host.as_str(), http.scheme.as_str()),
        ("PUT", "/p?q=1", "shop.test", "http")
    );
    assert_eq!((http.protocol.as_str(), http.size, http.body.as_str(), http.raw_body.len()), ("HTTP/1.1", 4, "body", 0));
    let names: Vec<&str> = http.headers.keys().map(String::as_str).collect();
    let expected = [
        ":authority",
        ":method",
        ":path",
        ":scheme",
        "content-length",
        "user-agent",
        "x-a",
        "x-envoy-auth-partial-body",
        "x-forwarded-proto",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert_eq!((http.headers["x-a"].as_str(), http.headers["x-envoy-auth-partial-body"].as_str()), ("1,2", "false"));
}

async fn a_service_of_grpc_decides_and_changes(plane: DataPlane) {
    let mut scene = Scene::with_all_routed(plane, grpc(json!({}))).await;
    let header = |key: &str, value: &str, more: Value| with(json!({"header": {"key": key, "value": value}}), more);
    let all = |prefix: &str| {
        json!([
            header(&format!("{prefix}-usual"), "new", json!({})),
            header(&format!("{prefix}-append"), "new", json!({"append": true})),
            header(&format!("{prefix}-append-absent"), "new", json!({"append": true})),
            header(&format!("{prefix}-not-append"), "new", json!({"append": false})),
            header(&format!("{prefix}-add"), "new", json!({"appendAction": "APPEND_IF_EXISTS_OR_ADD"})),
            header(&format!("{prefix}-if-absent"), "new", json!({"appendAction": "ADD_IF_ABSENT"})),
            header(&format!("{prefix}-if-exists"), "new", json!({"appendAction": "OVERWRITE_IF_EXISTS"})),
            header(&format!("{prefix}-if-exists-absent"), "new", json!({"appendAction": "OVERWRITE_IF_EXISTS"})),
            header(&format!("{prefix}-set"), "new", json!({"appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"})),
        ])
    };
    let names = ["usual", "append", "not-append", "add", "if-absent", "if-exists", "set"];
    let ok = json!({
        "headers": all("x-r"),
        "headersToRemove": ["x-secret", "host", ":path"],
        "responseHeadersToAdd": all("x-c"),
        "queryParametersToSet": [{"key": "b", "value": "2"}],
        "queryParametersToRemove": ["a"],
    });
    scene.service.set_answer(answer::<CheckResponse>(json!({"status": {"code": 0}, "okResponse": ok})));
    let mut sent = request("GET", "/p?z=1&a=1&b=1&b=3", &[("x-secret", "s")], Content::default());
    let mut back = Response::builder();
    for name in names {
        sent.headers_mut().append(hyper::header::HeaderName::try_from(format!("x-r-{name}")).unwrap(), "old".parse().unwrap());
        back = back.header(format!("x-c-{name}"), "old");
    }
    scene.peer.set_answer(back.body(Content::default()).unwrap());
    let told = scene.proxy.ask(sent).await.unwrap();
    scene.service.asked().await;
    let heard = scene.peer.asked().await;
    assert_eq!((heard.path.as_str(), heard.header("host").as_str(), heard.header("x-secret").as_str()), ("/p?b=2&z=1", "shop.test", ""));
    let names = ["usual", "append", "append-absent", "not-append", "add", "if-absent", "if-exists", "if-exists-absent", "set"];
    let request: Vec<String> = names.iter().map(|name| format!("{name}={}", heard.header(&format!("x-r-{name}")))).collect();
    let expected =
        "usual=new append=old,new append-absent= not-append=new add=new if-absent=new if-exists=new if-exists-absent=new set=new";
    assert_eq!(request.join(" "), expected);
    let response: Vec<String> = names.iter().map(|name| format!("{name}={}", told.header(&format!("x-c-{name}")))).collect();
    let expected =
        "usual=old,new append=old,new append-absent=new not-append=new add=old,new if-absent=old if-exists=new if-exists-absent= set=new";
    assert_eq!(response.join(" "), expected);

    let cases = [
        (json!({"status": {"code": 7}}), 403, "", "", "403 UAEX ext_authz_denied a"),
        (
            json!({"status": {"code": 16}, "deniedResponse": {"status": {"code": "Unauthorized"}, "body": "why", "headers": [
                header("x-d", "1", json!({})), header("x-f", "2", json!({"append": true})), header("x-e", "3", json!({"append": false})),
                header("x-d", "4", json!({}))]}}),
            401,
            "why",
            "1,4 3",
            "401 UAEX ext_authz_denied a",
        ),
        (
            json!({"status": {"code": 13}, "errorResponse": {"status": {"code": "ServiceUnavailable"}, "body": "broken", "headers": [
                header("x-d", "1", json!({}))]}}),
            503,
            "broken",
            "1 ",
            "503 UAEX ext_authz_error a",
        ),
        (json!({"status": {"code": 13}, "errorResponse": {}}), 403, "", " ", "403 UAEX ext_authz_error a"),
        // Nothing at all is a good answer.
        (json!({}), 200, "", "", "200 - via_upstream a"),
    ];
    let mut lines = vec!["200 - via_upstream a".to_owned()];
    for (said, status, body, headers, line) in cases {
        scene.service.set_answer(answer::<CheckResponse>(said.clone()));
        let told = scene.proxy.ask(get("/")).await.unwrap();
        let heard = (told.status, told.text(), format!("{} {}", told.header("x-d"), told.header("x-e")));
        assert_eq!((heard.0, heard.1.as_str(), heard.2.trim()), (status, body, headers.trim()), "{said}");
        lines.push(line.to_owned());
    }
    // Calls that fail.
    let trailers_only =
        || Response::builder().header("content-type", "application/grpc").header("grpc-status", "7").body(Content::default());
    let no_status = Response::builder().header("content-type", "application/grpc").body(Content::of(vec![0, 0, 0, 0, 0])).unwrap();
    let garbage = Content::of(vec![0, 0, 0, 0, 1, 255]).trailing(&[("grpc-status", "0")]);
    for broken in [
        trailers_only().unwrap(),
        Response::builder().status(503).body(Content::default()).unwrap(),
        no_status,
        Response::builder().header("content-type", "application/grpc").body(garbage).unwrap(),
    ] {
        scene.service.set_answer(broken);
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, 403);
        lines.push("403 UAEX ext_authz_error a".to_owned());
    }
    assert_eq!(scene.proxy.log(lines.len()).await, lines);
}

async fn the_route_is_found_anew_where_that_is_wanted(plane: DataPlane) {
    for clears in [false, true] {
        let header = json!({"name": "x-to", "stringMatch": {"exact": "there"}});
        let routes = vec![
            json!({"match": {"prefix": "/", "headers": [header]}, "directResponse": {"status": 418}}),
            json!({"match": {"prefix": "/there"}, "directResponse": {"status": 419}}),
            route("/", json!({})),
        ];
        let response = json!({"authorizationResponse": {"allowedUpstreamHeaders": names(&["x-to"])}});
        let scene = Scene::start(plane, http(response, json!({"clearRouteCache": clears})), routes).await;
        scene.service.set_answer(says(200, &[("x-to", "there")], ""));
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, if clears { 418 } else { 200 });
    }
}

async fn requests_that_nobody_is_asked_about_may_be_refused(plane: DataPlane) {
    let never = json!({"defaultValue": {"numerator": 0}, "runtimeKey": "k"});
    for (denies, status, line) in [(false, 200, "200 - via_upstream a"), (true, 403, "403 UAEX ext_authz_error a")] {
        let flag = json!({"defaultValue": denies, "runtimeKey": "d"});
        let mut scene = Scene::with_all_routed(plane, http(json!({}), json!({"filterEnabled": never, "denyAtDisable": flag}))).await;
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, status);
        assert!(!scene.service.has_been_asked());
        assert_eq!(scene.proxy.log(1).await, [line]);
    }
}

async fn rules_say_what_a_service_may_change(plane: DataPlane) {
    let header = |key: &str| json!({"header": {"key": key, "value": "new"}, "append": false});
    let joined = json!({"header": {"key": ":path", "value": "new"}, "append": true});
    let said = || {
        let headers = json!([header("x-a"), header("host"), header(":method"), header("x-envoy-a"), joined]);
        json!({"okResponse": {"headers": headers, "headersToRemove": ["x-gone", "host", "x-envoy-b"]}})
    };
    let cases = [
        (json!({}), 200, "200 - via_upstream a", ["new", "shop.test", "old", "", "kept"]),
        (json!({"allowEnvoy": true}), 200, "200 - via_upstream a", ["new", "shop.test", "new", "", ""]),
        (json!({"disallowAll": true}), 200, "200 - via_upstream a", ["old", "shop.test", "old", "kept", "kept"]),
        (json!({"disallowIsError": true}), 500, "500 UAEX ext_authz_invalid a", [""; 5]),
    ];
    for (rules, status, line, heard) in cases {
        let mut scene = Scene::with_all_routed(plane, grpc(json!({"decoderHeaderMutationRules": rules}))).await;
        scene.service.set_answer(answer::<CheckResponse>(said()));
        let sent = [("x-a", "old"), ("x-envoy-a", "old"), ("x-gone", "kept"), ("x-envoy-b", "kept")];
        let told = scene.proxy.ask(request("GET", "/", &sent, Content::default())).await.unwrap();
        assert_eq!(told.status, status, "{rules}");
        assert_eq!(scene.proxy.log(1).await, [line]);
        if status == 200 {
            let recorded = scene.peer.asked().await;
            assert_eq!(["x-a", "host", "x-envoy-a", "x-gone", "x-envoy-b"].map(|name| recorded.header(name)), heard, "{rules}");
        }
    }
}

async fn nobody_is_refused_in_shadow(plane: DataPlane) {
    let response = json!({"authorizationResponse": {"allowedUpstreamHeaders": names(&["x-to"])}});
    let mut scene = Scene::with_all_routed(plane, http(response, json!({"shadowMode": true}))).await;
    for (status, to) in [(403, ""), (500, ""), (200, "there")] {
        scene.service.set_answer(says(status, &[("x-to", "there")], ""));
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, 200);
        assert_eq!(scene.peer.asked().await.header("x-to"), to, "{status}");
    }
}
