//! Services that speak gRPC.

use hyper::Response;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, Recorded, Recorder};
use weir_xds::auth::{CheckRequest, CheckResponse};

use super::grpc::{answer, message};
use super::{Scene, get, of_grpc, of_route, request, route, with};
use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_service_of_grpc_gets_all_attributes,
    a_service_of_grpc_decides_and_changes,
    a_service_may_make_another_request_of_it,
    rules_say_what_a_service_may_change,
    an_answer_that_cannot_be_carried_out_is_none_where_that_is_wanted,
    what_is_added_to_answers_is_added_to_all,
);

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
    let config = of_grpc(json!({"grpcService": service, "withRequestBody": {"maxRequestBytes": 10}, "includeTlsSession": true}));
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
    let mut scene = Scene::with_all_routed(plane, of_grpc(json!({}))).await;
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
        let mut scene = Scene::with_all_routed(plane, of_grpc(json!({"decoderHeaderMutationRules": rules}))).await;
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

async fn a_service_may_make_another_request_of_it(plane: DataPlane) {
    let mut scene = Scene::with_all_routed(plane, of_grpc(json!({}))).await;
    let header = |key: &str, value: &str| json!({"header": {"key": key, "value": value}});
    let headers = json!([header(":path", "/other?z=9"), header("Host", "other.test"), header("cookie", "c=3"), header("x-empty", "")]);
    let joined = json!({"header": {"key": "cookie", "value": "c=3"}, "append": true});
    let parameters = json!([{"key": "b", "value": "x%20y"}, {"key": "e", "value": ""}]);
    let cases = [
        (json!({ "headers": headers }), "GET /other?z=9 other.test c=3 ''"),
        (json!({"headers": [joined]}), "GET /p?c&b=1&a=%20&b=2 shop.test a=1; b=2; c=3 "),
        (json!({"queryParametersToSet": parameters}), "GET /p?a=%20&b=x%20y&c=&e= shop.test a=1; b=2 "),
        (json!({"queryParametersToRemove": ["a", "b", "c"]}), "GET /p shop.test a=1; b=2 "),
        (json!({"headers": [header(":method", "PUT")]}), "PUT /p?c&b=1&a=%20&b=2 shop.test a=1; b=2 "),
    ];
    for (ok, expected) in cases {
        scene.service.set_answer(answer::<CheckResponse>(json!({ "okResponse": ok })));
        let sent = request("GET", "/p?c&b=1&a=%20&b=2", &[("cookie", "a=1; b=2")], Content::default());
        scene.proxy.ask(sent).await.unwrap();
        let heard = scene.peer.asked().await;
        let empty = if heard.headers.contains_key("x-empty") { "''" } else { "" };
        let text = format!("{} {} {} {} {empty}", heard.method, heard.path, heard.header("host"), heard.header("cookie"));
        assert_eq!(text, expected, "{ok}");
    }
}

async fn an_answer_that_cannot_be_carried_out_is_none_where_that_is_wanted(plane: DataPlane) {
    let header = |key: &str, value: &str| json!([{"header": {"key": key, "value": value}}]);
    let cases = [
        (json!({"okResponse": {"headers": header("x-a", "v")}}), 200),
        (json!({"okResponse": {"headers": header("x a", "v")}}), 500),
        (json!({"okResponse": {"headers": header("x-a", "a\nb")}}), 500),
        (json!({"okResponse": {"responseHeadersToAdd": header("x a", "v")}}), 500),
        (json!({"okResponse": {"headersToRemove": ["x a"]}}), 200),
        (json!({"okResponse": {"queryParametersToSet": [{"key": "a", "value": "b-._*"}]}}), 200),
        (json!({"okResponse": {"queryParametersToSet": [{"key": "a", "value": "b%20c"}]}}), 500),
        (json!({"okResponse": {"queryParametersToSet": [{"key": "a", "value": "b c"}]}}), 500),
        (json!({"okResponse": {"queryParametersToSet": [{"key": "a&", "value": "b"}]}}), 500),
        (json!({"status": {"code": 7}, "deniedResponse": {"headers": header("x a", "v")}}), 500),
        (json!({"status": {"code": 7}, "deniedResponse": {"headers": header("x-a", "v")}}), 403),
    ];
    let scene = Scene::with_all_routed(plane, of_grpc(json!({"validateMutations": true}))).await;
    let mut lines = vec![];
    for (said, status) in cases {
        scene.service.set_answer(answer::<CheckResponse>(said.clone()));
        assert_eq!(scene.proxy.ask(get("/")).await.unwrap().status, status, "{said}");
        lines.push(match status {
            200 => "200 - via_upstream a",
            500 => "500 UAEX ext_authz_invalid a",
            _ => "403 UAEX ext_authz_denied a",
        });
    }
    assert_eq!(scene.proxy.log(lines.len()).await, lines);
}

async fn what_is_added_to_answers_is_added_to_all(plane: DataPlane) {
    let extensions = |a: &str| of_route(json!({"checkSettings": {"contextExtensions": {"a": a}}}));
    let chosen = json!([{"name": "a", "weight": 1, "typedPerFilterConfig": extensions("of the cluster")}]);
    let routes = vec![
        json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 418}}),
        json!({"match": {"prefix": "/redirect"}, "redirect": {"pathRedirect": "/"}}),
        json!({"match": {"prefix": "/absent"}, "route": {"cluster": "absent"}}),
        json!({"match": {"prefix": "/weighted"}, "route": {"weightedClusters": {"clusters": chosen}}, "typedPerFilterConfig": extensions("x")}),
        route("/", json!({})),
    ];
    let mut scene = Scene::start(plane, of_grpc(json!({})), routes).await;
    let added = json!([{"header": {"key": "x-c", "value": "1"}}]);
    scene.service.set_answer(answer::<CheckResponse>(json!({"okResponse": {"responseHeadersToAdd": added}})));
    for (path, status, extension) in
        [("/direct", 418, ""), ("/redirect", 301, ""), ("/absent", 503, ""), ("/weighted", 200, "of the cluster"), ("/", 200, "")]
    {
        let told = scene.proxy.ask(get(path)).await.unwrap();
        assert_eq!((told.status, told.header("x-c").as_str()), (status, "1"), "{path}");
        let (_, question) = checked(&mut scene.service).await;
        let extensions = question.attributes.unwrap().context_extensions;
        assert_eq!(extensions.get("a").map_or("", String::as_str), extension, "{path}");
    }
}
