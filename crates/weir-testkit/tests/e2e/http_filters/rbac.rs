//! Who may ask for what: rules of requests, what they leave behind, and a comparison of rules at random.

use hyper::{Request, Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{get, request, route};
use crate::support::{over_each_data_plane, random_policies};

over_each_data_plane!(
    rules_let_in_and_refuse,
    a_route_has_rules_of_its_own_or_none,
    rules_that_are_only_tried_leave_what_they_say,
    a_service_is_asked_about_those_that_are_marked,
);

const NAME: &str = "envoy.filters.http.rbac";

fn rbac(fields: Value) -> Value {
    packed("filters.http.rbac.v3.RBAC", fields)
}

fn of_route(fields: Option<Value>) -> Value {
    let fields = fields.map_or(json!({}), |fields| json!({"rbac": fields}));
    json!({NAME: packed("filters.http.rbac.v3.RBACPerRoute", fields)})
}

/// Rules with a policy for each name, which is about a permission.
fn rules(action: &str, policies: &[(&str, Value)]) -> Value {
    let policy =
        |(name, permission): &(&str, Value)| ((*name).to_owned(), json!({"permissions": [permission], "principals": [{"any": true}]}));
    json!({"action": action, "policies": policies.iter().map(policy).collect::<serde_json::Map<_, _>>()})
}

fn path(path: &str) -> Value {
    json!({"urlPath": {"path": {"prefix": path}}})
}

async fn start(plane: DataPlane, filters: Vec<Value>, routes: Vec<Value>, peer: &Recorder) -> LoneProxy {
    LoneProxy::start(plane, &Xds { filters, routes, clusters: vec![cluster("a", peer.address())], ..Xds::default() }).await
}

async fn rules_let_in_and_refuse(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let deny = rules("DENY", &[("b", path("/admin")), ("a c", path("/admin/x"))]);
    let allow = rules("ALLOW", &[("all", json!({"header": {"name": "x-may", "presentMatch": true}}))]);
    let filters = vec![filter("deny", rbac(json!({"rules": deny}))), filter("allow", rbac(json!({"rules": allow})))];
    let proxy = start(plane, filters, vec![route("/", json!({}))], &peer).await;
    for (path, may, status) in [("/", true, 200), ("/", false, 403), ("/admin", true, 403), ("/admin/x?y", true, 403)] {
        let headers: &[_] = if may { &[("x-may", "")] } else { &[] };
        let told = proxy.ask(request("GET", path, headers, Content::default())).await.unwrap();
        assert_eq!(told.status, status, "{path} {may}");
        if status == 200 {
            peer.asked().await;
        } else {
            assert_eq!((told.text().as_str(), told.header("content-type").as_str()), ("RBAC: access denied", "text/plain"));
        }
    }
    let grpc = proxy.ask_http2(request("POST", "/admin", &[("content-type", "application/grpc")], Content::default())).await.unwrap();
    assert_eq!(
        (grpc.status, grpc.header("grpc-status"), grpc.header("grpc-message")),
        (200, "7".to_owned(), "RBAC: access denied".to_owned())
    );
    assert!(!peer.has_been_asked());
    let log = proxy.log(5).await;
    assert_eq!(
        log,
        [
            "200 - via_upstream a",
            "403 - rbac_access_denied_matched_policy[none] a",
            "403 - rbac_access_denied_matched_policy[b] a",
            "403 - rbac_access_denied_matched_policy[a_c] a",
            "200 - rbac_access_denied_matched_policy[b] a",
        ]
    );
}

async fn a_route_has_rules_of_its_own_or_none(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let nobody = || rbac(json!({"rules": rules("ALLOW", &[])}));
    let some = json!({"rules": rules("DENY", &[("own", path("/own/no"))])});
    let routes = vec![
        route("/own", of_route(Some(some))),
        route("/none", of_route(None)),
        route("/off", json!({NAME: super::filter_config(json!({"disabled": true}))})),
        route("/", json!({})),
    ];
    let proxy = start(plane, vec![filter(NAME, nobody())], routes, &peer).await;
    for (path, status) in [("/own", 200), ("/own/no", 403), ("/none", 200), ("/off", 200), ("/", 403)] {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, status, "{path}");
    }
}

async fn rules_that_are_only_tried_leave_what_they_say(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    let keys = ["p_shadow_effective_policy_id", "p_shadow_engine_result", "enforced_effective_policy_id", "enforced_engine_result"];
    let append = |key: &&str| {
        let value = format!("%DYNAMIC_METADATA({NAME}:{key})%");
        json!({"append": {"header": {"key": format!("x-{}", key.replace('_', "-")), "value": value}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    };
    let shown = packed(
        "filters.http.header_mutation.v3.HeaderMutation",
        json!({"mutations": {"requestMutations": keys.iter().map(append).collect::<Vec<_>>()}}),
    );
    let tried = rbac(json!({"shadowRules": rules("DENY", &[("one", path("/a"))]), "shadowRulesStatPrefix": "p_"}));
    let audited = rbac(json!({"rules": rules("LOG", &[("audit", path("/b"))])}));
    let filters = vec![filter("tried", tried), filter("audited", audited), filter("shown", shown)];
    let proxy = start(plane, filters, vec![route("/", json!({}))], &peer).await;
    let cases =
        [("/a", ["one", "denied", "", "allowed"]), ("/b", ["", "allowed", "audit", "allowed"]), ("/c", ["", "allowed", "", "allowed"])];
    for (path, expected) in cases {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, 200, "{path}");
        let asked = peer.asked().await;
        let heard = keys.map(|key| asked.header(&format!("x-{}", key.replace('_', "-"))));
        assert_eq!(heard, expected.map(str::to_owned), "{path}");
    }
}

async fn a_service_is_asked_about_those_that_are_marked(plane: DataPlane) {
    let (peer, mut service) = (Recorder::start(Version::HTTP_11).await, Recorder::start(Version::HTTP_11).await);
    let marks =
        rbac(json!({"shadowRules": rules("DENY", &[("ask-one", path("/a")), ("other", path("/b"))]), "shadowRulesStatPrefix": "m_"}));
    let mark = json!({"filter": NAME, "path": [{"key": "m_shadow_effective_policy_id"}], "value": {"stringMatch": {"prefix": "ask-"}}});
    let uri = json!({"uri": "http://auth.test", "cluster": "auth", "timeout": "5s"});
    let ask = packed("filters.http.ext_authz.v3.ExtAuthz", json!({"httpService": {"serverUri": uri}, "filterEnabledMetadata": mark}));
    let clusters = vec![cluster("a", peer.address()), cluster("auth", service.address())];
    let filters = vec![filter("marks", marks), filter("ask", ask)];
    let xds = Xds { filters, routes: vec![route("/", json!({}))], clusters, ..Xds::default() };
    let proxy = LoneProxy::start(plane, &xds).await;
    service.set_answer(Response::builder().status(401).body(Content::of("who?")).unwrap());
    for (path, status) in [("/a", 401), ("/b", 200), ("/c", 200)] {
        assert_eq!(proxy.ask(get(path)).await.unwrap().status, status, "{path}");
        assert_eq!(service.has_been_asked(), status == 401, "{path}");
    }
}

/// Rules at random mean the same to both data planes.
#[tokio::test]
async fn rules_at_random_mean_the_same_to_envoy() {
    if !DataPlane::Envoy.is_available() {
        return;
    }
    let (policies, requests) = random_policies();
    let mut random = fastrand::Rng::with_seed(7);
    let all: Vec<Value> = (0..policies).map(|_| random_rules(&mut random)).collect();
    let routes = all.iter().enumerate().map(|(i, rules)| {
        let mut route = route("/", of_route(Some(json!({"rules": rules}))));
        route["match"]["headers"] = json!([{"name": "x-case", "stringMatch": {"exact": i.to_string()}}]);
        route
    });
    let routes: Vec<Value> = routes.collect();
    let peer = Recorder::start(Version::HTTP_11).await;
    let rule = |key: &str| json!({"header": format!("x-{key}"), "onHeaderPresent": {"metadataNamespace": "m", "key": key}});
    let taken = packed("filters.http.header_to_metadata.v3.Config", json!({"requestRules": [rule("a"), rule("b")]}));
    let filters = || vec![filter("taken", taken.clone()), filter(NAME, rbac(json!({})))];
    let weir = start(DataPlane::Weir, filters(), routes.clone(), &peer).await;
    let envoy = start(DataPlane::Envoy, filters(), routes, &peer).await;
    let mut differences = vec![];
    for (i, rules) in all.iter().enumerate() {
        for _ in 0..requests {
            let seed = random.u64(..);
            let ask = || random_request(i, &mut fastrand::Rng::with_seed(seed));
            let (ours, theirs) = tokio::join!(weir.ask(ask()), envoy.ask(ask()));
            let (ours, theirs) = (ours.unwrap().status, theirs.unwrap().status);
            if ours != theirs {
                differences.push(format!("{ours}, Envoy {theirs}: {:?}\n{rules}", ask()));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {}\n{}",
        differences.len(),
        policies * requests,
        differences[..differences.len().min(5)].join("\n")
    );
    // Also who refused.
    let (ours, theirs) = (weir.log(policies * requests).await, envoy.log(policies * requests).await);
    for (request, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "request {request} of {}", all[request / requests]);
    }
}

const PATHS: &[&str] =
    &["/", "/a", "/a/", "/a/b", "/A", "/a%2fb", "/a//b", "/a;b", "/a/b/c", "/a=b", "/a*b", "/a/b.txt", "/x+y", "/a|b", "/%zz"];
const VALUES: &[&str] = &["1", "2", "1,2", "", "ab", "abc"];

fn random_request(case: usize, random: &mut fastrand::Rng) -> Request<Content> {
    let mut pick = |all: &'static [&'static str]| all[random.usize(..all.len())];
    let method = pick(&["GET", "POST", "DELETE"]);
    let mut path = pick(PATHS).to_owned();
    path.push_str(pick(&["", "", "?", "?/a", "?a=b"]));
    let host = pick(&["a.test", "A.TEST", "a.test:80", "b.test"]);
    let case = case.to_string();
    let mut headers = vec![("x-case", case.as_str()), ("host", host)];
    for name in ["x-a", "x-b", "x-a"] {
        if random.bool() {
            headers.push((name, VALUES[random.usize(..VALUES.len())]));
        }
    }
    request(method, &path, &headers, Content::default())
}

fn pick<T: Copy>(random: &mut fastrand::Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

fn random_rules(random: &mut fastrand::Rng) -> Value {
    let action = pick(random, &["ALLOW", "DENY"]);
    let policy = |random: &mut fastrand::Rng| {
        let permissions: Vec<Value> = (0..random.usize(1..3)).map(|_| random_tree(random, "rules", 3)).collect();
        let principals: Vec<Value> = (0..random.usize(1..3)).map(|_| random_tree(random, "ids", 3)).collect();
        json!({"permissions": permissions, "principals": principals})
    };
    let policies: serde_json::Map<String, Value> = (0..random.usize(1..12)).map(|i| (format!("rule[{i}]"), policy(random))).collect();
    json!({"action": action, "policies": policies})
}

fn random_tree(random: &mut fastrand::Rng, own: &str, deep: usize) -> Value {
    let (and, or, not) = if own == "rules" { ("andRules", "orRules", "notRule") } else { ("andIds", "orIds", "notId") };
    let several = |random: &mut fastrand::Rng| (0..random.usize(1..5)).map(|_| random_tree(random, own, deep - 1)).collect::<Vec<_>>();
    match random.usize(..if deep == 0 { 7 } else { 11 }) {
        7 | 8 => json!({and: {own: several(random)}}),
        9 => json!({or: {own: several(random)}}),
        10 => json!({not: random_tree(random, own, deep - 1)}),
        0 | 1 => json!({"urlPath": {"path": random_text(random, PATHS)}}),
        2 => {
            json!({"header": {"name": pick(random, &["x-a", "x-b"]), "stringMatch": random_text(random, VALUES), "invertMatch": random.u8(..5) == 0}})
        }
        3 => {
            let mut text = random_text(random, &["a.test", "a.test:80", "B.test"]);
            if text.get("safeRegex").is_none() {
                text["ignoreCase"] = json!(random.bool());
            }
            json!({"header": {"name": pick(random, &[":authority", "host"]), "stringMatch": text}})
        }
        4 => json!({"header": {"name": pick(random, &[":method", ":path", ":scheme", "x-a"]), "presentMatch": random.u8(..4) > 0}}),
        5 => {
            json!({"metadata": {"filter": "m", "path": [{"key": pick(random, &["a", "b"])}], "value": random_value(random), "invert": random.u8(..4) == 0}})
        }
        _ if own == "rules" => match random.usize(..4) {
            0 => json!({"uriTemplate": {"name": "t", "typedConfig": packed("path.match.uri_template.v3.UriTemplateMatchConfig",
                json!({"pathTemplate": pick(random, &["/a/*", "/*", "/a/**", "/**", "/*/b", "/a/*.txt", "/**.txt", "/a/*/c"])}))}}),
            1 => json!({"destinationPortRange": {"start": 1, "end": pick(random, &[2, 65536])}}),
            2 => json!({"destinationIp": {"addressPrefix": pick(random, &["127.0.0.0", "10.0.0.0"]), "prefixLen": 8}}),
            _ => json!({"requestedServerName": {"exact": ""}}),
        },
        _ => match random.usize(..3) {
            0 => json!({"directRemoteIp": {"addressPrefix": "127.0.0.1", "prefixLen": pick(random, &[32, 0])}}),
            1 => json!({"remoteIp": {"addressPrefix": pick(random, &["::1", "10.0.0.1"]), "prefixLen": 0}}),
            _ => json!({"authenticated": {}}),
        },
    }
}

fn random_text(random: &mut fastrand::Rng, from: &[&str]) -> Value {
    let text = pick(random, from);
    let part = if text.is_empty() { "a" } else { text };
    match random.usize(..6) {
        0 => json!({"prefix": part}),
        1 => json!({"suffix": &part[part.len() - 1..]}),
        2 => json!({"contains": &part[..1]}),
        3 => json!({"safeRegex": {"regex": pick(random, &[".+", ".*", "/a.*", "[0-9]"])}}),
        _ => json!({"exact": text}),
    }
}

fn random_value(random: &mut fastrand::Rng) -> Value {
    match random.usize(..5) {
        0 => json!({"presentMatch": random.bool()}),
        1 => json!({"listMatch": {"oneOf": {"stringMatch": random_text(random, VALUES)}}}),
        2 => json!({"orMatch": {"valueMatchers": [{"stringMatch": random_text(random, VALUES)}, {"nullMatch": {}}]}}),
        _ => json!({"stringMatch": random_text(random, VALUES)}),
    }
}
