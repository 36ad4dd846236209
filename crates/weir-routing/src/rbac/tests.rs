use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::json::from_value;
use weir_xds::rbac::Rbac;
use weir_xds::values::structure;

use super::*;
use crate::dynamic_metadata::DynamicMetadata;
use crate::request::RequestHead;

mod typical;

const ADDRESS: &str = "10.0.0.5";

thread_local! {
    /// How many policies were held against somebody.
    pub(super) static TRIED: Cell<usize> = const { Cell::new(0) };
}

fn rules(action: &str, policies: Json) -> Result<Rules, CompileError> {
    let rbac: Rbac = from_value(json!({"action": action, "policies": policies})).expect("well formed");
    Rules::compile(&rbac)
}

/// One policy that asks for a permission, or for a principal.
fn policy(permission: Option<Json>, principal: Option<Json>) -> Json {
    let any = || json!({"any": true});
    json!({"permissions": [permission.unwrap_or_else(any)], "principals": [principal.unwrap_or_else(any)]})
}

#[derive(Debug)]
struct Asker {
    method: &'static str,
    authority: String,
    path: String,
    headers: Headers,
    remote: IpAddr,
    uris: Vec<String>,
    tls: bool,
    metadata: DynamicMetadata,
}

impl Asker {
    fn of(path: &str) -> Self {
        let claims = json!({"payload": {"iss": "i", "sub": "s", "aud": ["x", "y"], "n": 1, "on": true, "none": null, "a": {"b": "c"}}});
        let claims = structure(claims.as_object().expect("an object"));
        Self {
            method: "GET",
            authority: "a.test".into(),
            path: path.into(),
            headers: Headers::new(),
            remote: ADDRESS.parse().expect("an address"),
            uris: vec!["spiffe://td/ns/shop/sa/web".into()],
            tls: true,
            metadata: [("jwt".to_owned(), claims)].into(),
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    fn ask<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let head = RequestHead {
            method: self.method,
            scheme: "http",
            authority: &self.authority,
            path: &self.path,
            headers: &self.headers,
            random: 0,
        };
        let peer = Peer { uris: &self.uris, dns: &[], subject: "CN=web" };
        ask(&Facts {
            connection: ConnectionFacts {
                local: SocketAddr::from(([10, 1, 0, 1], 8080)),
                direct_remote: [10, 0, 0, 9].into(),
                server_name: "sni.test",
                peer: self.tls.then_some(peer),
            },
            remote: self.remote,
            request: Some(head),
            metadata: &self.metadata,
            route: None,
        })
    }
}

fn lets_in(policies: Json, asker: &Asker) -> bool {
    let rules = rules("ALLOW", policies).unwrap_or_else(|error| panic!("{error}"));
    asker.ask(|facts| rules.judge(facts).allowed)
}

#[test]
fn each_permission_looks_at_what_envoy_looks_at() {
    let text = |value: &str| json!({"exact": value});
    let cases = [
        (json!({"any": true}), true),
        (json!({"header": {"name": ":method", "stringMatch": text("GET")}}), true),
        (json!({"header": {"name": ":authority", "stringMatch": {"exact": "A.TEST", "ignoreCase": true}}}), true),
        (json!({"header": {"name": "x-a", "presentMatch": true}}), true),
        (json!({"header": {"name": "x-b", "stringMatch": text("2")}}), true),
        (json!({"header": {"name": "x-b", "stringMatch": text("1,2")}}), false),
        (json!({"header": {"name": "x-none", "stringMatch": text(""), "invertMatch": true}}), false),
        (json!({"urlPath": {"path": text("/a/b")}}), true),
        (json!({"urlPath": {"path": text("/a/b?q")}}), false),
        (json!({"destinationIp": {"addressPrefix": "10.1.0.0", "prefixLen": 16}}), true),
        (json!({"destinationIp": {"addressPrefix": "10.2.0.0", "prefixLen": 16}}), false),
        (json!({"destinationIp": {"addressPrefix": "::", "prefixLen": 0}}), false),
        (json!({"destinationPort": 8080}), true),
        (json!({"destinationPort": 80}), false),
        (json!({"destinationPortRange": {"start": 8080, "end": 8081}}), true),
        (json!({"destinationPortRange": {"start": 8000, "end": 8080}}), false),
        (json!({"requestedServerName": text("sni.test")}), true),
        (json!({"notRule": {"any": true}}), false),
        (json!({"andRules": {"rules": [{"any": true}, {"destinationPort": 80}]}}), false),
        (json!({"orRules": {"rules": [{"destinationPort": 80}, {"any": true}]}}), true),
    ];
    let asker = Asker::of("/a/b?q=/c").with("x-a", "").with("x-b", "1").with("x-b", "2");
    for (permission, expected) in cases {
        assert_eq!(lets_in(json!({"p": policy(Some(permission.clone()), None)}), &asker), expected, "{permission}");
    }
}

#[test]
fn each_principal_looks_at_what_envoy_looks_at() {
    let claim = |path: &[&str], value: Json| {
        let path: Vec<Json> = std::iter::once(&"payload").chain(path).map(|key| json!({"key": key})).collect();
        json!({"metadata": {"filter": "jwt", "path": path, "value": value}})
    };
    let text = |value: &str| json!({"stringMatch": {"exact": value}});
    let named = |name: Json| json!({"authenticated": {"principalName": name}});
    let regex = |regex: &str| json!({"safeRegex": {"regex": regex}});
    let cases = [
        (json!({"authenticated": {}}), true),
        (named(json!({"exact": "spiffe://td/ns/shop/sa/web"})), true),
        (named(json!({"exact": "CN=web"})), true),
        (named(regex(".*/ns/shop/.*")), true),
        (named(regex(".*/ns/sho/.*")), false),
        (named(regex("spiffe://.+/ns/shop/(.+/|)sa/web(/.+)?")), true),
        (named(regex("spiffe://.+/ns/shop/(.+/|)sa/we(/.+)?")), false),
        (json!({"filterState": {"key": "io.istio.peer_principal", "stringMatch": {"prefix": "spiffe://td/"}}}), true),
        (json!({"directRemoteIp": {"addressPrefix": "10.0.0.9", "prefixLen": 32}}), true),
        (json!({"remoteIp": {"addressPrefix": "10.0.0.5", "prefixLen": 32}}), true),
        (json!({"sourceIp": {"addressPrefix": "10.0.0.5", "prefixLen": 32}}), false),
        (json!({"notId": {"remoteIp": {"addressPrefix": "10.0.0.5", "prefixLen": 32}}}), false),
        (claim(&["iss"], text("i")), true),
        (claim(&["a", "b"], text("c")), true),
        (claim(&["aud"], json!({"listMatch": {"oneOf": text("y")}})), true),
        (claim(&["aud"], text("y")), false),
        (claim(&["aud"], json!({"orMatch": {"valueMatchers": [text("q"), {"listMatch": {"oneOf": text("x")}}]}})), true),
        (claim(&["n"], text("1")), false),
        (claim(&["n"], json!({"doubleMatch": {"exact": 1.0}})), true),
        (claim(&["n"], json!({"doubleMatch": {"range": {"start": 1.0, "end": 2.0}}})), true),
        (claim(&["on"], json!({"boolMatch": true})), true),
        (claim(&["none"], json!({"nullMatch": {}})), true),
        (claim(&["none"], json!({"presentMatch": true})), true),
        (claim(&["absent"], json!({"presentMatch": false})), false),
        (claim(&["absent"], text("")), false),
        (json!({"metadata": {"filter": "jwt", "path": [{"key": "x"}], "value": text("a"), "invert": true}}), true),
        (
            json!({"sourcedMetadata": {"metadataMatcher": {"filter": "a", "path": [{"key": "x"}], "value": text("a"), "invert": true}, "metadataSource": "ROUTE"}}),
            false,
        ),
    ];
    let mut asker = Asker::of("/");
    for (principal, expected) in &cases {
        assert_eq!(lets_in(json!({"p": policy(None, Some(principal.clone()))}), &asker), *expected, "{principal}");
    }
    asker.tls = false;
    for (principal, _) in cases.iter().take(7) {
        assert!(!lets_in(json!({"p": policy(None, Some(principal.clone()))}), &asker), "without TLS nobody is known: {principal}");
    }
}

#[test]
fn the_action_says_what_becomes_of_those_that_match() {
    let one = |path: &str| policy(Some(json!({"urlPath": {"path": {"exact": path}}})), None);
    // In the order of their names, not of their numbers.
    let policies = json!({"rule[2]": one("/a"), "rule[11]": one("/a"), "rule[1]": one("/b")});
    for (action, path, expected) in [
        ("ALLOW", "/a", (true, Some("rule[11]"))),
        ("ALLOW", "/c", (false, None)),
        ("DENY", "/a", (false, Some("rule[11]"))),
        ("DENY", "/c", (true, None)),
        ("LOG", "/b", (true, Some("rule[1]"))),
        ("LOG", "/c", (true, None)),
    ] {
        let rules = rules(action, policies.clone()).expect("valid");
        Asker::of(path).ask(|facts| {
            let Verdict { allowed, policy } = rules.judge(facts);
            assert_eq!((allowed, policy), expected, "{action} {path}");
        });
    }
    let nobody = rules("ALLOW", json!({})).expect("valid");
    assert!(!Asker::of("/").ask(|facts| nobody.judge(facts).allowed), "no policy lets anybody in");
    assert_eq!(details(None), "rbac_access_denied_matched_policy[none]");
    assert_eq!(details(Some("a b")), "rbac_access_denied_matched_policy[a_b]");
}

#[test]
fn a_connection_without_requests_has_no_path_and_no_headers() {
    let path = json!({"urlPath": {"path": {"prefix": "/"}}});
    let header = json!({"header": {"name": ":method", "presentMatch": true}});
    for (permission, expected) in [(path.clone(), false), (json!({"notRule": path}), true), (header, false)] {
        let rules = rules("ALLOW", json!({"p": policy(Some(permission.clone()), None)})).expect("valid");
        let found = Asker::of("/").ask(|facts| rules.judge(&Facts { request: None, ..*facts }).allowed);
        assert_eq!(found, expected, "{permission}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_its_place() {
    let config = |name: &str| json!({"name": "x", "typedConfig": {"@type": format!("type.googleapis.com/{name}")}});
    let cases = [
        (json!({"permissions": [], "principals": [{"any": true}]}), "policies[p].permissions"),
        (json!({"permissions": [{"any": true}], "principals": []}), "policies[p].principals"),
        (policy(Some(json!({})), None), "policies[p].permissions[0].rule"),
        (policy(Some(json!({"any": false})), None), "policies[p].permissions[0].any"),
        (policy(Some(json!({"destinationPort": 70000})), None), "policies[p].permissions[0].destination_port"),
        (policy(Some(json!({"destinationPortRange": {"start": 2, "end": 1}})), None), "policies[p].permissions[0].destination_port_range"),
        (policy(Some(json!({"andRules": {"rules": []}})), None), "policies[p].permissions[0].and_rules.rules"),
        (
            policy(Some(json!({"matcher": config("envoy.extensions.filters.http.router.v3.Router")})), None),
            "policies[p].permissions[0].matcher",
        ),
        (
            policy(None, Some(json!({"custom": config("envoy.extensions.filters.http.router.v3.Router")}))),
            "policies[p].principals[0].custom",
        ),
        (policy(None, Some(json!({"remoteIp": {"addressPrefix": "a"}}))), "policies[p].principals[0].remote_ip.address_prefix"),
        (
            policy(None, Some(json!({"filterState": {"key": "k", "stringMatch": {"exact": "a"}}}))),
            "policies[p].principals[0].filter_state.key",
        ),
        (
            json!({"permissions": [{"any": true}], "principals": [{"any": true}], "condition": {"constExpr": {"boolValue": true}}}),
            "policies[p].condition",
        ),
    ];
    for (policy, place) in cases {
        let error = rules("DENY", json!({"p": policy})).expect_err(place);
        assert_eq!(error.path, place);
    }
    let mut deep = json!({"any": true});
    for _ in 0..64 {
        deep = json!({"notRule": deep});
    }
    assert!(rules("DENY", json!({"p": policy(Some(deep), None)})).is_err());
}

#[test]
fn a_namespace_that_is_called_as_a_part_of_the_name_is_found() {
    // The parts overlap: `/ns/ns/`, and in it `/ns/sa/`.
    let named =
        |name: &str| policy(None, Some(json!({"authenticated": {"principalName": {"safeRegex": {"regex": format!(".*/ns/{name}/.*")}}}})));
    let mut policies: serde_json::Map<String, Json> = (0..8).map(|i| (format!("other{i}"), named(&format!("n{i}")))).collect();
    policies.insert("sa".into(), named("sa"));
    let rules = rules("DENY", Json::Object(policies)).expect("valid");
    let mut asker = Asker::of("/");
    for (uri, expected) in [("spiffe://td/ns/ns/x/sa/x", true), ("spiffe://td/ns/ns/sa/x", false), ("spiffe://td/ns/ns/ns/sa/x", false)] {
        asker.uris = vec![uri.into()];
        assert_eq!(asker.ask(|facts| rules.judge(facts).allowed), expected, "{uri}");
    }
}

#[test]
fn an_expression_that_names_several_namespaces_is_tried_for_each() {
    let named = |regex: &str| policy(None, Some(json!({"authenticated": {"principalName": {"safeRegex": {"regex": regex}}}})));
    for regex in [
        "spiffe://.+/ns/a/sa/x|spiffe://.+/ns/b/sa/y",
        "spiffe://.+/ns/a/(.+/|)sa/x|.*/sa/y(/.+)?",
        "spiffe://.+/ns/a/(.+/|)sa/x|spiffe://.+/ns/b/(.+/|)sa/y(/.+)?",
        "spiffe://.+/ns/a/sa/x|.*",
        "spiffe://.+/ns/a/?.*|.*",
    ] {
        let mut policies: serde_json::Map<String, Json> = (0..8).map(|i| (format!("other{i}"), named(&format!(".*/ns/n{i}/.*")))).collect();
        policies.insert("these".into(), named(regex));
        let rules = rules("DENY", Json::Object(policies)).expect("valid");
        let mut asker = Asker::of("/");
        for uri in ["spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/y"] {
            asker.uris = vec![uri.into()];
            let plain = asker.ask(|facts| rules.policies.iter().any(|policy| policy.matches(facts)));
            assert_eq!(asker.ask(|facts| rules.judge(facts).allowed), !plain, "{regex} {uri}");
        }
        assert!(!asker.ask(|facts| rules.judge(facts).allowed), "{regex}");
    }
}

#[test]
fn what_every_path_begins_with_is_no_guard() {
    let policies: serde_json::Map<String, Json> =
        (0..8).map(|i| (format!("p{i}"), policy(Some(json!({"urlPath": {"path": {"prefix": "/"}}})), None))).collect();
    let rules = rules("DENY", Json::Object(policies)).expect("valid");
    assert!(!Asker::of("/").ask(|facts| rules.judge(facts).allowed));
    assert!(format!("{:?}", rules.index).contains("by_subject: []"));
}

/// What policies and requests are made of, so that they meet.
const PATHS: &[&str] = &["/a", "/a/b", "/a/b/c", "/b", "/b?a", "/A", "/", "/ns"];
const NAMES: &[&str] = &["spiffe://td/ns/a/sa/x", "spiffe://td/ns/ns/sa/y", "spiffe://old/ns/b/sa/x"];

fn text() -> impl Strategy<Value = Json> {
    let of = |key: &'static str| prop::sample::select(PATHS).prop_map(move |path| json!({key: path}));
    prop_oneof![of("exact"), of("prefix"), of("suffix"), Just(json!({"safeRegex": {"regex": ".+"}}))]
}

fn name() -> impl Strategy<Value = Json> {
    prop_oneof![
        prop::sample::select(NAMES).prop_map(|name| json!({"exact": name})),
        prop::sample::select(&["a", "ns", "b", "sa"][..]).prop_map(|ns| json!({"safeRegex": {"regex": format!(".*/ns/{ns}/.*")}})),
        prop::sample::select(&["a", "b"][..])
            .prop_map(|ns| json!({"safeRegex": {"regex": format!("spiffe://.+/ns/{ns}/(.+/|)sa/x(/.+)?")}})),
        prop::sample::select(&["a", "b"][..])
            .prop_map(|ns| json!({"safeRegex": {"regex": format!("spiffe://.+/ns/{ns}/sa/z|spiffe://.+/ns/ns/(.+/|)sa/y(/.+)?")}})),
        prop::sample::select(&["sa/x", "sa/y"][..]).prop_map(|end| json!({"suffix": end})),
        prop::sample::select(&["spiffe://td/", "spiffe://"][..]).prop_map(|begin| json!({"prefix": begin})),
    ]
}

fn template() -> impl Strategy<Value = Json> {
    prop::sample::select(&["/a/*", "/**", "/a/**", "/*", "/a/*/c"][..]).prop_map(|template| {
        let kind = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
        json!({"uriTemplate": {"name": "t", "typedConfig": {"@type": kind, "pathTemplate": template}}})
    })
}

fn range(field: &'static str) -> impl Strategy<Value = Json> {
    let of_remote = prop::sample::select(&["10.0.0.5", "10.0.0.9", "10.1.0.1", "2001:db8::1", "::ffff:10.0.0.5"][..]);
    (of_remote, prop::sample::select(&[0, 8, 15, 24, 32, 64, 128][..]))
        .prop_map(move |(address, length)| json!({field: {"addressPrefix": address, "prefixLen": length}}))
}

fn leaf(own: &'static str) -> impl Strategy<Value = Json> {
    let header = |name: &'static str| {
        prop::sample::select(&["1", "2", "a.test", "GET"][..])
            .prop_map(move |value| json!({"header": {"name": name, "stringMatch": {"exact": value}}}))
    };
    let odd_header = prop_oneof![
        any::<bool>().prop_map(|present| json!({"header": {"name": "x-a", "presentMatch": present}})),
        prop::sample::select(&["1", "2"][..])
            .prop_map(|value| json!({"header": {"name": "x-a", "stringMatch": {"exact": value}, "invertMatch": true}})),
    ];
    let of_own = match own {
        "rules" => {
            let name = prop::sample::select(&["sni.test", "other"][..]).prop_map(|name| json!({"requestedServerName": {"exact": name}}));
            let port = prop::sample::select(&[8080, 80][..]).prop_map(|port| json!({"destinationPort": port}));
            prop_oneof![name, template(), port, range("destinationIp")].boxed()
        }
        _ => {
            let name = name().prop_map(|name| json!({"authenticated": {"principalName": name}}));
            prop_oneof![name, range("remoteIp"), range("directRemoteIp")].boxed()
        }
    };
    let claim = prop::sample::select(&["x", "i", "z"][..]).prop_map(|value| {
        let item = json!({"stringMatch": {"exact": value}});
        json!({"metadata": {"filter": "jwt", "path": [{"key": "payload"}, {"key": "aud"}],
               "value": {"orMatch": {"valueMatchers": [{"listMatch": {"oneOf": item.clone()}}, item]}}}})
    });
    let host = (prop::sample::select(&["exact", "prefix", "suffix"][..]), prop::sample::select(&["A.test", "b.test", ".Test", "B"][..]))
        .prop_map(|(how, host)| json!({"header": {"name": ":authority", "stringMatch": {how: host, "ignoreCase": true}}}));
    prop_oneof![
        text().prop_map(|text| json!({"urlPath": {"path": text}})),
        header("x-a"),
        header(":method"),
        header(":authority"),
        odd_header,
        host,
        claim,
        of_own,
        Just(json!({"any": true})),
    ]
}

fn tree(own: &'static str) -> impl Strategy<Value = Json> {
    let (and, or, not) = if own == "rules" { ("andRules", "orRules", "notRule") } else { ("andIds", "orIds", "notId") };
    leaf(own).prop_recursive(3, 16, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..6).prop_map(move |all| json!({and: {own: all}})),
            prop::collection::vec(inner.clone(), 1..7).prop_map(move |all| json!({or: {own: all}})),
            inner.prop_map(move |one| json!({not: one})),
        ]
    })
}

fn policies() -> impl Strategy<Value = Json> {
    let one = (prop::collection::vec(tree("rules"), 1..3), prop::collection::vec(tree("ids"), 1..3));
    let one = one.prop_map(|(permissions, principals)| json!({"permissions": permissions, "principals": principals}));
    prop::collection::vec(one, 1..16)
        .prop_map(|all| Json::Object(all.into_iter().enumerate().map(|(i, policy)| (format!("rule[{i}]"), policy)).collect()))
}

fn asker() -> impl Strategy<Value = Asker> {
    let headers = prop::collection::vec(prop::sample::select(&["1", "2", ""][..]), 0..3);
    let names = prop::collection::vec(prop::sample::select(NAMES).prop_map(str::to_owned), 0..3);
    let host = prop::sample::select(&["a.test", "A.TEST", "b.test"][..]);
    let remote = prop::sample::select(&["10.0.0.5", "10.0.0.77", "2001:db8::1", "::ffff:10.0.0.5"][..]);
    (prop::sample::select(PATHS), headers, names, host, any::<bool>(), remote).prop_map(|(path, headers, uris, host, tls, remote)| {
        let remote = remote.parse().expect("an address");
        let asker = Asker { uris, tls, remote, authority: host.into(), ..Asker::of(path) };
        headers.into_iter().fold(asker, |asker, value| asker.with("x-a", value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The index passes over no policy that matches.
    #[test]
    fn policies_are_found_as_if_all_were_tried(policies in policies(), askers in prop::collection::vec(asker(), 8)) {
        let rules = rules("DENY", policies).expect("valid");
        for asker in askers {
            asker.ask(|facts| {
                let plain = rules.policies.iter().find(|policy| policy.matches(facts)).map(|policy| &*policy.name);
                assert_eq!(rules.judge(facts).policy, plain);
            });
        }
    }
}
