use bytes::Bytes;
use serde_json::{Value, json};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::json::from_value;
use weir_xds::ratelimit_service::RateLimitResponse;
use weir_xds::route::RateLimit as XdsRateLimit;

use super::*;
use crate::request::RequestHead;

fn policy(more: Value) -> Result<GlobalLimitPolicy, CompileError> {
    let service = json!({"grpcService": {"envoyGrpc": {"clusterName": "limits"}}, "transportApiVersion": "V3"});
    let mut all = json!({"domain": "d", "rateLimitService": service});
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    GlobalLimitPolicy::compile(&from_value(all).expect("a message"))
}

/// Rate limits by the keys of their descriptors, and their stages.
type Keys<'k> = &'k [(&'k str, u32)];

fn limits(keys: Keys) -> Vec<XdsRateLimit> {
    let limit = |(key, stage): &(&str, u32)| json!({"stage": stage, "actions": [{"genericKey": {"descriptorKey": key, "descriptorValue": "v"}}], "disableKey": "any"});
    keys.iter().map(|key| from_value(limit(key)).expect("a message")).collect()
}

#[test]
fn what_is_not_valid_or_not_carried_out_is_refused() {
    let google = json!({"grpcService": {"googleGrpc": {"targetUri": "a", "statPrefix": "a"}}, "transportApiVersion": "V3"});
    let cases = [
        (json!({}), ""),
        (json!({"domain": ""}), "domain"),
        (json!({"stage": 11}), "stage"),
        (json!({"requestType": "some"}), "request_type"),
        (json!({"rateLimitService": null}), "rate_limit_service."),
        (json!({"rateLimitService": google}), "rate_limit_service.grpc_service.google_grpc"),
        (json!({"rateLimitService": {"transportApiVersion": "V3"}}), "rate_limit_service.grpc_service"),
        (json!({"rateLimits": [{"actions": []}]}), "rate_limits[0].actions"),
        (json!({"responseHeadersToAdd": [{"header": {"key": "host", "value": "a"}}]}), "response_headers_to_add."),
    ];
    for (more, refused) in cases {
        let found = policy(more.clone()).map_or_else(|error| error.path, |_| String::new());
        assert_eq!(found.trim_end_matches('.'), refused.trim_end_matches('.'), "{more}");
    }
}

#[test]
fn defaults_are_envoys() {
    let usual = policy(json!({})).expect("valid");
    assert_eq!((usual.timeout, usual.status, usual.status_on_error), (Some(Duration::from_millis(20)), 429, 500));
    assert_eq!((usual.enabled, usual.enforced, usual.denies_failure), (Share::ALL, Share::ALL, Share::NONE));
    let other = json!({"timeout": "0s", "rateLimitedStatus": {"code": 200}, "statusOnError": {"code": 503}, "failureModeDeny": true});
    let other = policy(other).expect("valid");
    assert_eq!((other.timeout, other.status, other.status_on_error, other.denies_failure), (None, 429, 503, Share::ALL));
}

/// What is asked about a request, as text.
fn asked(more: Value, route: Keys, host: Keys, said: Option<Value>, internal: bool) -> Option<String> {
    let policy = policy(more).expect("valid");
    let said = said.map(|said| GlobalLimitOverride::compile(&from_value(said).expect("a message")).expect("valid"));
    let [route, host] = [route, host].map(|keys| rate_limits::compile(&limits(keys), Owner::Route).expect("valid"));
    let mut headers = Headers::new();
    if internal {
        headers.append(HeaderName::from_static("x-envoy-internal"), HeaderValue::from_static("true"));
    }
    let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random: 0 };
    let counted = Counted {
        head: &head,
        client: [192, 0, 2, 1].into(),
        cluster: Some("to"),
        own_cluster: "own",
        known: &Default::default(),
        route: None,
    };
    let limits = RouteLimits { route: &route, virtual_host: &host, include_virtual_host: false };
    let question = policy.question(&counted, &limits, said.as_ref())?;
    let entries = question
        .descriptors
        .iter()
        .map(|descriptor| descriptor.entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>().join("+"));
    Some(format!("{}: {}", question.domain, entries.collect::<Vec<_>>().join(",")))
}

#[test]
fn a_request_is_counted_by_its_route_its_virtual_host_or_the_filter() {
    let own = || json!([{"actions": [{"genericKey": {"descriptorKey": "own", "descriptorValue": "v"}}]}]);
    let (route, host): (Keys, Keys) = (&[("r", 0), ("r1", 1)], &[("h", 0)]);
    let option = |option: &str| Some(json!({ "vhRateLimits": option }));
    let cases = [
        (json!({}), route, host, None, false, Some("d: r")),
        (json!({"stage": 1}), route, host, None, false, Some("d: r1")),
        (json!({"stage": 2}), route, host, None, false, None),
        (json!({}), &[], host, None, false, Some("d: h")),
        (json!({}), route, host, option("INCLUDE"), false, Some("d: r,h")),
        (json!({}), &[], host, option("IGNORE"), false, None),
        (json!({"rateLimits": own()}), route, host, option("INCLUDE"), false, Some("d: own")),
        (json!({"rateLimits": own()}), route, host, Some(json!({"domain": "e"})), false, Some("e: own")),
        (json!({}), route, host, Some(json!({"rateLimits": own(), "domain": "e"})), false, Some("e: own")),
        (json!({"requestType": "internal"}), route, host, None, false, None),
        (json!({"requestType": "internal"}), route, host, None, true, Some("d: r")),
        (json!({"requestType": "external"}), route, host, None, true, None),
        (json!({"requestType": "both"}), route, host, None, true, Some("d: r")),
    ];
    for (more, route, host, said, internal, expected) in cases {
        assert_eq!(asked(more.clone(), route, host, said.clone(), internal).as_deref(), expected, "{more} {said:?}");
    }
}

#[test]
fn what_is_said_for_this_filter_may_count_more_than_once() {
    let limit = json!({"actions": [{"genericKey": {"descriptorValue": "v"}}], "hitsAddend": {"number": 3}});
    let route = rate_limits::compile(&[from_value(limit.clone()).expect("a message")], Owner::Route).expect("valid");
    let said = GlobalLimitOverride::compile(&from_value(json!({"rateLimits": [limit]})).expect("a message")).expect("valid");
    let headers = Headers::new();
    let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random: 0 };
    let counted =
        Counted { head: &head, client: [192, 0, 2, 1].into(), cluster: None, own_cluster: "", known: &Default::default(), route: None };
    let limits = RouteLimits { route: &route, ..RouteLimits::default() };
    for (said, hits) in [(None, None), (Some(&said), Some(3))] {
        let question = policy(json!({})).expect("valid").question(&counted, &limits, said).expect("it counts");
        assert_eq!(question.descriptors.iter().map(|descriptor| descriptor.hits_addend).collect::<Vec<_>>(), [hits]);
    }
}

fn status(limit: Option<(&str, u32, &str)>, remaining: u32, reset: &str, code: &str) -> Value {
    let limit = limit.map(|(name, most, unit)| json!({"name": name, "requestsPerUnit": most, "unit": unit}));
    let mut status = json!({"code": code, "limitRemaining": remaining, "durationUntilReset": reset});
    if let Some(limit) = limit {
        status["currentLimit"] = limit;
    }
    status
}

fn heard(policy: &GlobalLimitPolicy, answer: Value) -> answer::Heard {
    policy.heard(from_value::<RateLimitResponse>(answer).expect("a message"))
}

fn text(headers: &Headers) -> String {
    headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or("?"))).collect::<Vec<_>>().join("|")
}

#[test]
fn the_client_is_told_of_the_limit_that_is_reached_first() {
    let policy = policy(json!({"enableXRatelimitHeaders": "DRAFT_VERSION_03"})).expect("valid");
    let (first, second) = (Some(("first", 1, "MINUTE")), Some(("", 4, "HOUR")));
    let cases = [
        (vec![], ""),
        (vec![status(None, 2, "3s", "OK")], ""),
        (
            vec![status(first, 2, "3s", "OK"), status(second, 5, "6s", "OK")],
            "x-ratelimit-limit=1, 1;w=60;name=\"first\", 4;w=3600|x-ratelimit-remaining=2|x-ratelimit-reset=3",
        ),
        (
            vec![status(first, 5, "3s", "OK"), status(second, 5, "6s", "OK"), status(None, 0, "0s", "OK")],
            "x-ratelimit-limit=1, 1;w=60;name=\"first\", 4;w=3600|x-ratelimit-remaining=5|x-ratelimit-reset=3",
        ),
        (vec![status(Some(("u", 7, "UNKNOWN")), 5, "3s", "OK")], "x-ratelimit-limit=7|x-ratelimit-remaining=5|x-ratelimit-reset=3"),
    ];
    for (statuses, expected) in cases {
        let heard = heard(&policy, json!({"overallCode": "OK", "statuses": statuses}));
        assert_eq!((heard.is_over, text(&heard.answer).as_str()), (false, expected));
    }
}

#[test]
fn a_refusal_says_when_to_come_again() {
    let statuses =
        json!([status(Some(("", 1, "MINUTE")), 0, "7s", "OVER_LIMIT"), status(None, 0, "9s", "OVER_LIMIT"), status(None, 0, "99s", "OK")]);
    let answer = |more: Value| {
        let mut answer = json!({"overallCode": "OVER_LIMIT", "statuses": statuses, "rawBody": "d2h5"});
        answer["responseHeadersToAdd"] = more;
        answer
    };
    let header = |key: &str| json!([{"key": key, "value": "v"}, {"key": "no name", "value": "v"}]);
    let cases = [
        (json!({}), header("x-a"), "x-a=v|x-envoy-ratelimited=true"),
        (json!({"disableXEnvoyRatelimitedHeader": true}), header("x-a"), "x-a=v"),
        (json!({"enableRetryAfterHeader": true}), header("x-a"), "x-a=v|x-envoy-ratelimited=true|retry-after=9"),
        (json!({"enableRetryAfterHeader": true}), header("retry-after"), "retry-after=v|x-envoy-ratelimited=true"),
        (json!({"enableRetryAfterHeader": true, "rateLimitedStatus": {"code": 503}}), header("x-a"), "x-a=v|x-envoy-ratelimited=true"),
    ];
    for (more, headers, expected) in cases {
        let policy = policy(more.clone()).expect("valid");
        let heard = heard(&policy, answer(headers));
        assert_eq!((heard.is_over, &heard.body, text(&policy.refusal(&heard)).as_str()), (true, &Bytes::from("why"), expected), "{more}");
    }
    let none = heard(&policy(json!({"enableRetryAfterHeader": true})).expect("valid"), json!({"overallCode": "OVER_LIMIT"}));
    assert_eq!(none.wait, None);
}
