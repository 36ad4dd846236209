use serde_json::{Value, json};
use weir_http1::{HeaderName, HeaderValue, Headers};

use super::*;

type Pairs<'p> = &'p [(&'static str, &'static str)];

fn message(matcher: Value) -> CustomResponse {
    weir_xds::json::from_value(json!({"customResponseMatcher": matcher})).expect("a message")
}

fn policy(matcher: Value) -> CustomResponsePolicy {
    CustomResponsePolicy::compile(&message(matcher)).expect("valid")
}

fn respond(mut fields: Value) -> Value {
    fields["@type"] = json!("type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy");
    json!({"action": {"name": "a", "typedConfig": fields}})
}

fn input(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/envoy.type.matcher.v3.{kind}"));
    json!({"name": "i", "typedConfig": fields})
}

fn status() -> Value {
    input("HttpResponseStatusCodeMatchInput", json!({}))
}

fn class() -> Value {
    input("HttpResponseStatusCodeClassMatchInput", json!({}))
}

fn is(input: Value, text: Value) -> Value {
    json!({"singlePredicate": {"input": input, "valueMatch": text}})
}

fn body(body: &str) -> Value {
    respond(json!({"body": {"inlineString": body}}))
}

/// The body that takes the place of an answer's.
fn found(policy: &CustomResponsePolicy, status: u16, fields: Pairs<'_>) -> String {
    let headers: Headers = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let answer = Answer { status, headers: &headers, request: &headers };
    let found = policy.find(&Levels::default(), "f", &answer);
    found.map_or("none".to_owned(), |found| String::from_utf8_lossy(&found.body).into_owned())
}

#[test]
fn the_first_that_matches_counts() {
    let header = |kind: &str| input(kind, json!({"headerName": "x-a"}));
    let all = json!({"andMatcher": {"predicate": [is(class(), json!({"exact": "2xx"})), is(header("HttpResponseHeaderMatchInput"), json!({"prefix": "a"}))]}});
    let any = json!({"orMatcher": {"predicate": [is(status(), json!({"exact": "301"})), is(status(), json!({"safeRegex": {"regex": "30[23]"}}))]}});
    let not = json!({"notMatcher": is(header("HttpRequestHeaderMatchInput"), json!({"contains": "b"}))});
    let matchers = [
        (is(status(), json!({"exact": "404"})), "404"),
        (is(class(), json!({"exact": "4xx"})), "4xx"),
        (all, "all"),
        (any, "any"),
        (json!({"andMatcher": {"predicate": [is(class(), json!({"exact": "5xx"})), not]}}), "not"),
    ];
    let list: Vec<Value> = matchers.into_iter().map(|(predicate, text)| json!({"predicate": predicate, "onMatch": body(text)})).collect();
    let policy = policy(json!({"matcherList": {"matchers": list}}));
    let cases: [(u16, Pairs<'_>, &str); 9] = [
        (404, &[], "404"),
        (403, &[], "4xx"),
        (200, &[], "none"),
        (200, &[("x-a", "a"), ("x-a", "c")], "all"),
        (301, &[], "any"),
        (303, &[], "any"),
        (304, &[], "none"),
        (500, &[], "not"),
        (500, &[("x-a", "ab")], "none"),
    ];
    for (status, fields, expected) in cases {
        assert_eq!(found(&policy, status, fields), expected, "{status} {fields:?}");
    }
}

#[test]
fn a_tree_finds_by_value_and_what_finds_nothing_leaves_it_to_the_rest() {
    let inner = json!({"matcher": {"matcherTree": {"input": status(), "prefixMatchMap": {"map": {"5": body("5"), "50": body("50")}}}}});
    let tree =
        json!({"matcherTree": {"input": class(), "exactMatchMap": {"map": {"4xx": body("4"), "5xx": inner}}}, "onNoMatch": body("rest")});
    let policy = policy(tree);
    for (status, expected) in [(404, "4"), (503, "50"), (511, "5"), (200, "rest")] {
        assert_eq!(found(&policy, status, &[]), expected, "{status}");
    }
    let nothing = CustomResponsePolicy::compile(&CustomResponse::default()).expect("valid");
    assert_eq!(found(&nothing, 500, &[]), "none");
}

#[test]
fn what_envoy_refuses_or_is_not_carried_out_is_refused() {
    let on_match = |on_match: Value| json!({"onNoMatch": on_match});
    let list = |predicate: Value| json!({"matcherList": {"matchers": [{"predicate": predicate, "onMatch": body("b")}]}});
    let file = json!({"filename": "/etc/passwd"});
    let unknown = || input("HttpRequestTrailerMatchInput", json!({"headerName": "x"}));
    let cases = [
        (on_match(respond(json!({"statusCode": 600}))), "on_no_match.action.typed_config.status_code"),
        (on_match(respond(json!({"body": file}))), "on_no_match.action.typed_config.body.filename"),
        (on_match(respond(json!({"bodyFormat": {"jsonFormat": {}}}))), "on_no_match.action.typed_config.body_format.json_format"),
        (
            on_match(respond(json!({"bodyFormat": {"textFormatSource": {"inlineString": "%NOPE%"}}}))),
            "on_no_match.action.typed_config.body_format.text_format_source",
        ),
        (on_match(json!({"action": {"name": "a", "typedConfig": unknown()["typedConfig"]}})), "on_no_match.action.typed_config"),
        (on_match(json!({"keepMatching": true, "matcher": {}})), "on_no_match.keep_matching"),
        (list(is(unknown(), json!({"exact": "x"}))), "matcher_list.matchers[0].predicate.single_predicate.input.typed_config"),
        (list(is(status(), json!({"prefix": ""}))), "matcher_list.matchers[0].predicate.single_predicate.value_match.prefix"),
        (json!({"matcherTree": {"input": status()}}), "matcher_tree.tree_type"),
    ];
    for (matcher, field) in cases {
        let path = CustomResponsePolicy::compile(&message(matcher.clone())).expect_err(field).path;
        assert_eq!(path.trim_end_matches('.'), format!("custom_response_matcher.{field}"), "{matcher}");
    }
    let deep = (0..40).fold(json!({}), |inner, _| json!({"onNoMatch": {"matcher": inner}}));
    assert!(CustomResponsePolicy::compile(&message(deep)).is_err());
}
