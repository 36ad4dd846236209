//! Answers that take the place of others.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{get, mark, request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(answers_are_replaced_by_what_they_are);

const NAME: &str = "custom";

fn respond(fields: Value) -> Value {
    json!({"action": {"name": "a", "typedConfig": packed("http.custom_response.local_response_policy.v3.LocalResponsePolicy", fields)}})
}

fn is(kind: &str, text: &str) -> Value {
    let input = json!({"@type": format!("type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCode{kind}MatchInput")});
    json!({"singlePredicate": {"input": {"name": "i", "typedConfig": input}, "valueMatch": {"exact": text}}})
}

fn custom(matchers: Vec<(Value, Value)>) -> Value {
    let one = |(predicate, on_match)| json!({"predicate": predicate, "onMatch": on_match});
    let matchers: Vec<Value> = matchers.into_iter().map(one).collect();
    packed("filters.http.custom_response.v3.CustomResponse", json!({"customResponseMatcher": {"matcherList": {"matchers": matchers}}}))
}

async fn answers_are_replaced_by_what_they_are(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let header = json!([{"header": {"key": "x-was", "value": "%RESPONSE_CODE%"}}]);
    let format = json!({"textFormatSource": {"inlineString": "<%LOCAL_REPLY_BODY%> %REQ(:path)% %RESP(x-a)% %RESP(x-b)% %RESPONSE_CODE%"}});
    let policy = custom(vec![
        (is("", "418"), respond(json!({"body": {"inlineString": "tea"}, "preserveResponseCodeDetails": true}))),
        (is("", "410"), respond(json!({"statusCode": 204, "body": {"inlineString": "gone"}, "responseCodeDetails": "was_gone"}))),
        (
            is("Class", "4xx"),
            respond(json!({"statusCode": 499, "body": {"inlineString": "b"}, "bodyFormat": format, "responseHeadersToAdd": header})),
        ),
        (is("Class", "5xx"), respond(json!({"responseHeadersToAdd": header, "responseCodeDetails": "bare"}))),
    ]);
    let of_route = custom(vec![(is("", "500"), respond(json!({"statusCode": 501, "body": {"inlineString": "own"}})))]);
    let mut routed = route("/", json!({}));
    routed["responseHeadersToAdd"] = json!([{"header": {"key": "x-route", "value": "r"}}]);
    let xds = Xds {
        filters: vec![filter("one", mark("HeaderMutation", "1")), filter(NAME, policy), filter("two", mark("HeaderMutation", "2"))],
        routes: vec![
            json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 404, "body": {"inlineString": "direct"}}}),
            route("/own", json!({NAME: of_route})),
            routed,
        ],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    let proxy = LoneProxy::start(plane, &xds).await;
    // What the instance says, and what the client hears: status, body, what the answer was, marks of the route and of other filters.
    let cases = [
        ("/", 200, 200, "instance", "", "r", "2,1"),
        ("/", 418, 418, "tea", "", "r", ""),
        ("/", 410, 204, "", "", "r", ""),
        ("/", 404, 499, "<b> / A - 404", "404", "r", ""),
        ("/", 503, 503, "", "503", "r", ""),
        ("/own", 500, 501, "own", "", "", ""),
        ("/own", 502, 502, "", "502", "", ""),
        ("/direct", 200, 499, "<b> /direct - - 404", "404", "", ""),
    ];
    for (path, says, status, body, was, of_route, marks) in cases {
        let answer = Response::builder().status(says).header("x-a", "A").header("content-type", "text/html");
        peer.set_answer(answer.body(Content::of("instance")).unwrap());
        let told = proxy.ask(get(path)).await.unwrap();
        assert_eq!((told.status, told.text().as_str()), (status, body), "{path} {says}");
        let fields = ["x-was", "x-route", "x-mark"].map(|name| told.header(name));
        assert_eq!(fields, [was, of_route, marks], "{path} {says}");
        if says != 200 {
            // Of 204 there is only no body.
            let content_type = if body.is_empty() && status != 204 { "" } else { "text/plain" };
            assert_eq!((told.header("x-a").as_str(), told.header("content-type").as_str()), ("", content_type), "{path} {says}");
        }
    }
    let log = proxy.log(cases.len()).await;
    // Where the policy has no words for the log, there are none.
    let expected = ["418 - via_upstream a", "204 - was_gone a", "499 -  a", "503 - bare a"];
    assert_eq!(log[1..5], expected);
    peer.set_answer(Response::builder().status(404).header("x-a", "A").body(Content::of("instance")).unwrap());
    let told = proxy.ask(request("HEAD", "/", &[], Content::default())).await.unwrap();
    assert_eq!((told.status, told.header("content-length").as_str()), (499, "13"));
}
