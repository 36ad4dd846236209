//! Services that speak HTTP.

use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane};

use super::{Scene, get, headers_of, names, of_http, of_route, request, route, says};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_of_http_lets_a_request_pass_and_changes_it,
    a_service_of_http_refuses_a_request_in_its_own_words,
    a_service_of_http_gets_what_it_may,
    a_service_gets_bodies_up_to_a_limit,
    routes_say_whether_and_how_somebody_is_asked,
    the_route_is_found_anew_where_that_is_wanted,
    refusals_are_in_the_clients_own_language,
);

async fn a_service_of_http_lets_a_request_pass_and_changes_it(plane: DataPlane) {
    let response = json!({
        "allowedUpstreamHeaders": names(&["x-set"]),
        "allowedUpstreamHeadersToAppend": names(&["x-add"]),
        "allowedClientHeadersOnSuccess": names(&["x-ok"]),
    });
    let mut scene = Scene::with_all_routed(plane, of_http(json!({"authorizationResponse": response}), json!({}))).await;
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
    assert_eq!(headers_of(&question), "content-length: 0|host: shop.test|x-envoy-expected-rq-timeout-ms: 5000|x-envoy-internal: true");
    let heard = scene.peer.asked().await;
    assert_eq!((heard.header("x-set"), heard.header("x-add")), ("newer".to_owned(), "old,more".to_owned()));
    assert_eq!((heard.header("x-secret"), heard.header("x-stays"), &heard.body[..]), (String::new(), "yes".to_owned(), &b"body"[..]));
    assert_eq!((told.status, told.header("x-ok"), told.header("x-hidden")), (200, "yes".to_owned(), String::new()));
    assert_eq!(scene.proxy.log(1).await, ["200 - via_upstream a"]);
}

async fn a_service_of_http_refuses_a_request_in_its_own_words(plane: DataPlane) {
    let mut scene = Scene::with_all_routed(plane, of_http(json!({}), json!({}))).await;
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
    let mut scene = Scene::with_all_routed(plane, of_http(response, json!({"maxDeniedResponseBodyBytes": 3}))).await;
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
    let mut scene = Scene::with_all_routed(plane, of_http(service, more)).await;
    let sent = [("x-user", "ann"), ("x-a", "1"), ("x-a", "2"), ("x-not", "n"), ("other", "o"), ("authorization", "me")];
    scene.proxy.ask(request("GET", "/p?q=%20", &sent, Content::default())).await.unwrap();
    let question = scene.service.asked().await;
    assert_eq!(question.path, "/check/p?q=%20");
    let expected = "authorization: me|content-length: 0|host: shop.test|x-a: 1,2|x-asked: by GET|x-envoy-expected-rq-timeout-ms: 5000|\
                    x-envoy-internal: true|x-user: ours";
    assert_eq!(headers_of(&question), expected);

    let service = json!({"pathOverride": "/fixed"});
    let more = json!({"allowedHeaders": names(&["x-a"]), "encodeRawHeaders": true});
    let mut scene = Scene::with_all_routed(plane, of_http(service, more)).await;
    scene.proxy.ask(request("GET", "/p", &sent, Content::default())).await.unwrap();
    let question = scene.service.asked().await;
    assert_eq!((question.path.as_str(), question.headers.get_all("x-a").iter().count()), ("/fixed", 2));
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
        let mut scene = Scene::start(plane, of_http(json!({}), body(partial)), routes()).await;
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
    let mut scene = Scene::start(plane, of_http(json!({}), json!({})), routes).await;
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

async fn the_route_is_found_anew_where_that_is_wanted(plane: DataPlane) {
    for clears in [false, true] {
        let header = json!({"name": "x-to", "stringMatch": {"exact": "there"}});
        let routes = vec![
            json!({"match": {"prefix": "/", "headers": [header]}, "directResponse": {"status": 418}}),
            json!({"match": {"prefix": "/there"}, "directResponse": {"status": 419}}),
            route("/", json!({})),
        ];
        let response = json!({"authorizationResponse": {"allowedUpstreamHeaders": names(&["x-to"])}});
        let scene = Scene::start(plane, of_http(response, json!({"clearRouteCache": clears})), routes).await;
        scene.service.set_answer(says(200, &[("x-to", "there")], ""));
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, if clears { 418 } else { 200 });
    }
}

async fn refusals_are_in_the_clients_own_language(plane: DataPlane) {
    let scene = Scene::with_all_routed(plane, of_http(json!({}), json!({}))).await;
    // The status of the service, and of the answer to a call.
    for (status, grpc_status, message) in [(401, "16", "why"), (403, "7", "why"), (404, "12", "why"), (500, "7", "")] {
        scene.service.set_answer(says(status, &[("x-why", "because")], "why"));
        let call = request("POST", "/s/m", &[("content-type", "application/grpc")], Content::default());
        let told = scene.proxy.ask(call).await.unwrap();
        let heard = (told.status, told.header("grpc-status"), told.header("grpc-message"));
        assert_eq!((heard.0, heard.1.as_str(), heard.2.as_str()), (200, grpc_status, message), "{status}");
    }
    scene.service.set_answer(says(403, &[], "why"));
    let told = scene.proxy.ask_http2(get("/")).await.unwrap();
    assert_eq!((told.status, told.text().as_str()), (403, "why"));
    let told = scene.proxy.ask(request("HEAD", "/", &[], Content::default())).await.unwrap();
    assert_eq!((told.status, told.body.len()), (403, 0));
}
