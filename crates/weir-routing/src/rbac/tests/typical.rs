//! Rules as people write them, a hundred of a kind: what a request costs by them.

use std::net::IpAddr;

use serde_json::{Value as Json, json};
use weir_http1::{HeaderName, HeaderValue};
use weir_xds::values::structure;

use super::super::condition::Condition;
use super::{Asker, TRIED, policy, rules};

/// What is asked of the policy with a number, and who has just that of number 57.
type Typical = (&'static str, fn(usize) -> Json, fn(&mut Asker));

/// The rules that people write many of, each of another path, host, client and so on.
const TYPICAL: [Typical; 14] = [
    ("a path", |i| policy(Some(json!({"urlPath": {"path": {"exact": format!("/p{i}")}}})), None), |who| who.path = "/p57".into()),
    (
        "paths below one",
        |i| policy(Some(json!({"urlPath": {"path": {"prefix": format!("/p{i}/")}}})), None),
        |who| who.path = "/p57/x".into(),
    ),
    (
        "paths that end so",
        |i| policy(Some(json!({"urlPath": {"path": {"suffix": format!("/p{i}")}}})), None),
        |who| who.path = "/x/p57".into(),
    ),
    (
        "a method and a path",
        |i| {
            let method = json!({"header": {"name": ":method", "stringMatch": {"exact": "GET"}}});
            let path = json!({"urlPath": {"path": {"exact": format!("/p{i}")}}});
            policy(Some(json!({"andRules": {"rules": [{"orRules": {"rules": [method]}}, {"orRules": {"rules": [path]}}]}})), None)
        },
        |who| who.path = "/p57".into(),
    ),
    ("a host", |i| of_host(json!({"exact": format!("h{i}.test"), "ignoreCase": true})), |who| who.authority = "H57.test".into()),
    (
        "hosts of a domain",
        |i| of_host(json!({"suffix": format!(".h{i}.test"), "ignoreCase": true})),
        |who| who.authority = "a.H57.test".into(),
    ),
    (
        "a header",
        |i| policy(Some(json!({"header": {"name": "x-a", "stringMatch": {"exact": i.to_string()}}})), None),
        |who| {
            who.headers.append(HeaderName::from_static("x-a"), HeaderValue::from_static("57"));
        },
    ),
    (
        "a client",
        |i| of_client(json!({"exact": format!("spiffe://td/ns/n/sa/s{i}")})),
        |who| who.uris = vec!["spiffe://td/ns/n/sa/s57".into()],
    ),
    (
        "a namespace",
        |i| of_client(json!({"safeRegex": {"regex": format!(".*/ns/n{i}/.*")}})),
        |who| who.uris = vec!["spiffe://td/ns/n57/sa/s".into()],
    ),
    (
        "a service account",
        |i| of_client(json!({"safeRegex": {"regex": format!("spiffe://.+/ns/n{i}/(.+/|)sa/s(/.+)?")}})),
        |who| who.uris = vec!["spiffe://td/ns/n57/sa/s".into()],
    ),
    (
        "clients whose name begins so",
        |i| of_client(json!({"prefix": format!("spiffe://td/ns/n{i}/")})),
        |who| {
            who.uris = vec!["spiffe://td/ns/n57/sa/s".into()];
        },
    ),
    ("an address", |i| of_address(&format!("10.7.0.{i}"), 32), |who| who.remote = IpAddr::from([10, 7, 0, 57])),
    ("a network", |i| of_address(&format!("100.{i}.0.0"), 16), |who| who.remote = IpAddr::from([100, 57, 0, 9])),
    (
        "a claim",
        |i| {
            let value = json!({"stringMatch": {"exact": format!("c{i}")}});
            policy(None, Some(json!({"metadata": {"filter": "jwt", "path": [{"key": "sub"}], "value": value}})))
        },
        |who| {
            let claims = structure(json!({"sub": "c57"}).as_object().expect("an object"));
            who.metadata = [("jwt".to_owned(), claims)].into();
        },
    ),
];

fn of_host(host: Json) -> Json {
    policy(Some(json!({"header": {"name": ":authority", "stringMatch": host}})), None)
}

fn of_client(name: Json) -> Json {
    policy(None, Some(json!({"authenticated": {"principalName": name}})))
}

fn of_address(address: &str, length: u32) -> Json {
    policy(None, Some(json!({"remoteIp": {"addressPrefix": address, "prefixLen": length}})))
}

/// A hundred rules cost hardly more than one: those are tried that may match, and no others.
#[test]
fn of_a_hundred_typical_policies_two_are_tried_at_most() {
    for (what, make, asks) in TYPICAL {
        let policies = Json::Object((0..100).map(|i| (format!("rule[{i}]"), make(i))).collect());
        let rules = rules("ALLOW", policies).expect(what);
        let mut known = Asker::of("/elsewhere");
        for (expected, asker) in [
            (None, Asker::of("/elsewhere")),
            (Some("rule[57]"), {
                asks(&mut known);
                known
            }),
        ] {
            TRIED.set(0);
            let verdict = asker.ask(|facts| rules.judge(facts));
            assert_eq!(verdict.policy, expected, "{what}");
            assert!(TRIED.get() <= 2, "{what}: {} policies were tried", TRIED.get());
        }
    }
}

/// As many alternatives of one policy are one look.
#[test]
fn alternatives_of_a_policy_are_looked_up_together() {
    let ranges: Vec<Json> = (0..100).map(|i| json!({"remoteIp": {"addressPrefix": format!("10.{i}.0.0"), "prefixLen": 16}})).collect();
    let rules = rules("ALLOW", json!({"p": policy(None, Some(json!({"orIds": {"ids": ranges}})))})).expect("valid");
    assert!(matches!(&rules.policies[0].principals, Condition::OneOf(_, texts) if texts.len() == 100), "{rules:?}");
    let mut asker = Asker::of("/");
    for (remote, expected) in [([10, 99, 1, 1], true), ([10, 100, 1, 1], false)] {
        asker.remote = remote.into();
        assert_eq!(asker.ask(|facts| rules.judge(facts).allowed), expected);
    }
}
