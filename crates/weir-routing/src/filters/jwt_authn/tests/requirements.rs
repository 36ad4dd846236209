//! What of several providers is required, by rules and by routes.

use super::*;

/// Two providers with places of their own, and one at the usual place.
fn with_rules(rules: Value) -> JwtPolicy {
    let own = |issuer: &str, key: &str, header: &str| provider(&[key], json!({"issuer": issuer, "fromHeaders": [{"name": header}]}));
    policy(json!({
        "providers": {"a": own("a", "r1", "x-a"), "b": own("b", "r2", "x-b"), "u": provider(&["r1"], json!({"issuer": "u"}))},
        "requirementMap": {"named": {"providerName": "a"}, "empty": {}},
        "rules": rules,
    }))
}

fn requiring(requirement: Value) -> JwtPolicy {
    with_rules(json!([{"match": {"prefix": "/"}, "requires": requirement}]))
}

fn of(issuer: &str, key: &str) -> String {
    token_by(key, "RS256", &claims(json!({"iss": issuer})))
}

/// A requirement, the headers of a request, and what its client is told.
type Case<'c> = (Value, Vec<(&'c str, &'c str)>, &'c str);

#[test]
fn requirements_are_met_as_in_envoy() {
    let (a, b, u) = (of("a", "r1"), of("b", "r2"), of("u", "r1"));
    let bad = token_by("r1", "RS256", &claims(json!({"iss": "a", "exp": 1})));
    let name = |name: &str| json!({"providerName": name});
    let any = |list: &[Value]| json!({"requiresAny": {"requirements": list}});
    let all = |list: &[Value]| json!({"requiresAll": {"requirements": list}});
    let (missing, failed) = (json!({"allowMissing": {}}), json!({"allowMissingOrFailed": {}}));
    let expired = "Jwt is expired";
    let cases: Vec<Case<'_>> = vec![
        (json!({}), vec![], ""),
        (json!({}), vec![("x-a", &bad)], ""),
        (name("a"), vec![], MISSING),
        (name("a"), vec![("x-a", &a)], ""),
        (name("a"), vec![("x-b", &b)], MISSING),
        (name("a"), vec![("x-a", &b)], UNKNOWN_ISSUER),
        (any(&[name("a"), name("b")]), vec![("x-b", &b)], ""),
        (any(&[name("a"), name("b")]), vec![("x-a", &bad), ("x-b", &b)], ""),
        (any(&[name("a"), name("b")]), vec![], MISSING),
        (any(&[name("a"), name("b")]), vec![("x-a", &bad)], expired),
        (any(&[name("b"), name("a")]), vec![("x-a", &bad), ("x-b", &a)], expired),
        (any(&[name("a"), name("b")]), vec![("x-b", &a)], UNKNOWN_ISSUER),
        (all(&[name("a"), name("b")]), vec![("x-a", &a)], MISSING),
        (all(&[name("a"), name("b")]), vec![("x-a", &a), ("x-b", &b)], ""),
        (all(&[name("a"), name("b")]), vec![("x-a", &bad), ("x-b", &b)], expired),
        (any(&[name("a"), missing.clone()]), vec![], ""),
        (any(&[name("a"), missing.clone()]), vec![("x-a", &bad)], expired),
        // It is another provider's, of which nothing is required.
        (any(&[name("a"), missing.clone()]), vec![("x-b", &bad)], ""),
        (any(&[missing.clone(), name("a")]), vec![("x-a", "what")], NO_FORM),
        (any(&[name("a"), failed.clone()]), vec![("x-a", &bad)], ""),
        (any(&[missing.clone(), failed.clone()]), vec![("x-a", &bad)], ""),
        (any(&[missing.clone(), missing.clone()]), vec![("x-a", &bad)], expired),
        (missing.clone(), vec![], ""),
        (missing.clone(), vec![("x-a", &a)], ""),
        (missing.clone(), vec![("x-a", &bad)], expired),
        (missing.clone(), vec![("x-a", &b)], UNKNOWN_ISSUER),
        (failed.clone(), vec![("x-a", &bad)], ""),
        (
            json!({"providerAndAudiences": {"providerName": "a", "audiences": ["us"]}}),
            vec![("x-a", &a)],
            "Audiences in Jwt are not allowed",
        ),
        (json!({"providerAndAudiences": {"providerName": "a"}}), vec![("x-a", &a)], ""),
        (all(&[any(&[name("a"), missing.clone()]), name("u")]), vec![], MISSING),
        (any(&[name("b"), all(&[name("a"), name("b")])]), vec![("x-a", &a)], MISSING),
    ];
    for (requirement, headers, expected) in cases {
        assert_eq!(Request::new(&headers).told(&requiring(requirement.clone())), expected, "{requirement} {:?}", headers.len());
    }
    assert_eq!(Request::bearer(&u).told(&requiring(name("u"))), "");
}

/// As istiod builds it: one of those who look at the same place accepts what is there, and is asked first.
#[test]
fn several_issuers_share_a_place() {
    let shared = |issuer: &str, key: &str| provider(&[key], json!({"issuer": issuer, "payloadInMetadata": "payload"}));
    let name = |name: &str| json!({"providerName": name});
    let optional = |name: &str| json!({"requiresAny": {"requirements": [{"providerName": name}, {"allowMissing": {}}]}});
    let every = json!({"requiresAll": {"requirements": [optional("origins-0"), optional("origins-1")]}});
    let policy = policy(json!({
        "providers": {"origins-0": shared("a", "r1"), "origins-1": shared("b", "r2")},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requiresAny": {"requirements": [name("origins-0"), name("origins-1"), every]}}}],
    }));
    let cases =
        [(of("a", "r1"), ""), (of("b", "r2"), ""), (of("b", "r1"), NO_KEY), (of("c", "r1"), UNKNOWN_ISSUER), ("what".into(), NO_FORM)];
    for (token, expected) in cases {
        assert_eq!(Request::bearer(&token).told(&policy), expected);
    }
    assert_eq!(Request::new(&[]).told(&policy), "");
    let passed = Request::bearer(&of("b", "r2")).passed(&policy);
    assert_eq!(left(&passed.data, "payload").expect("a payload")["iss"], "b");
}

#[test]
fn the_first_rule_that_is_for_a_request_counts() {
    let rules = json!([
        {"match": {"prefix": "/open"}},
        {"match": {"path": "/exact", "headers": [{"name": "x-need", "presentMatch": true}]}, "requirementName": "named"},
        {"match": {"safeRegex": {"regex": "/u/[0-9]+"}}, "requires": {"providerName": "u"}},
    ]);
    let policy = with_rules(rules);
    let cases = [("/open", ""), ("/open/x?y", ""), ("/exact", ""), ("/u/7?a", MISSING), ("/u/x", ""), ("/other", "")];
    for (path, expected) in cases {
        assert_eq!(Request::new(&[]).at(path).told(&policy), expected, "{path}");
    }
    assert_eq!(Request::new(&[("x-need", "")]).at("/exact").told(&policy), MISSING);
}

#[test]
fn a_route_may_require_something_else() {
    let policy = requiring(json!({"providerName": "b"}));
    let route = |config: Value| JwtOverride::compile(&from_value(config).expect("well formed"));
    let request = Request::new(&[("x-a", &of("a", "r1"))]);
    let told =
        |of_route: &JwtOverride| match policy.judge(&request.head(), &DynamicMetadata::new(), Some(of_route), NOW, &|_| Held::Nowhere) {
            Outcome::Pass(_) => (200, String::new(), String::new()),
            Outcome::Refuse(refusal) => (refusal.status, refusal.body, refusal.details),
            Outcome::Fetch(_) => panic!("no keys are fetched"),
        };
    assert_eq!(request.told(&policy), MISSING);
    for config in [json!({"disabled": true}), json!({"requirementName": "named"}), json!({"requirementName": "empty"})] {
        assert_eq!(told(&route(config).expect("valid")).0, 200);
    }
    let what = "Wrong requirement_name: none. It should be one of [empty,named]";
    let details = format!("jwt_authn_access_denied{{{}}}", what.replace(' ', "_"));
    let (status, body, told_details) = told(&route(json!({"requirementName": "none"})).expect("valid"));
    assert_eq!((status, body, told_details), (403, format!("Failed JWT authentication: {what}"), details));
    for wrong in [json!({}), json!({"disabled": false}), json!({"requirementName": ""})] {
        assert!(route(wrong).is_err());
    }
}

#[test]
fn keys_that_are_fetched_are_asked_for_when_they_are_needed() {
    let remote = json!({"issuer": "a", "remoteJwks": {"httpUri": {"uri": "https://keys.test:8443/set?a=b", "cluster": "keys"}}});
    let policy = policy(json!({
        "providers": {"a": remote, "b": provider(&["r2"], json!({"issuer": "b", "fromHeaders": [{"name": "x-b"}]}))},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requiresAny": {"requirements": [{"providerName": "b"}, {"providerName": "a"}]}}}],
    }));
    let KeySource::Remote(keys) = &policy.providers()[0].keys else { panic!("they are fetched") };
    assert_eq!((&*keys.cluster, &*keys.authority, &*keys.path), ("keys", "keys.test:8443", "/set?a=b"));
    let request = Request::bearer(&of("a", "r1"));
    assert!(matches!(request.judged(&policy), Outcome::Fetch(0)));
    // A token that is not good anyway costs nobody a fetch.
    assert_eq!(Request::bearer(&token_by("r1", "RS256", &claims(json!({"iss": "a", "exp": 1})))).told(&policy), "Jwt is expired");
    assert_eq!(Request::new(&[("x-b", &of("b", "r2"))]).told(&policy), "");
    let set = Arc::new(KeySet::parse(jwks(&["r1"]).as_bytes()).expect("a set"));
    let judged = |held: Held| policy.judge(&request.head(), &DynamicMetadata::new(), None, NOW, &|_| held.clone());
    assert!(matches!(judged(Held::Keys(set)), Outcome::Pass(_)));
    let Outcome::Refuse(refusal) = judged(Held::Failed) else { panic!("it passes") };
    assert_eq!(refusal.body, "Jwks remote fetch is failed");
    let retries = json!({"numRetries": 2, "retryBackOff": {"baseInterval": "0.1s", "maxInterval": "0.05s"}});
    let wrong = json!({"httpUri": {"uri": "http://a", "cluster": "c"}, "retryPolicy": retries});
    assert!(compile(json!({"providers": {"a": {"remoteJwks": wrong}}})).is_err());
}
