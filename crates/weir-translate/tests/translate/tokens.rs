//! RequestAuthentications: the filter that istiod builds of them, and for whom.

use serde_json::{Value, json};
use weir_api::{ObjectChange, Source, parse};
use weir_model::{FetchedKeys, KeyAddress, MeshSnapshot, Proxy};
use weir_translate::{token_rules, translate};

use crate::support::{gateway, json_of, mesh, sidecar};

const FILTER: &str = "envoy.filters.http.jwt_authn";
const KEYS: &str = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: web, namespace: default}
spec:
  workloadSelector: {labels: {app: web}}
  ingress: [{port: {number: 9080, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:8080'}]
  egress: [{port: {number: 9081, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ['*/*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec: {hosts: [shop.test], resolution: STATIC, ports: [{number: 9081, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}
";

fn web() -> Proxy {
    sidecar("10.0.9.9", &[("app", "web")])
}

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

fn with(policies: &[String]) -> MeshSnapshot {
    mesh(&[("mesh.yaml", &format!("{MESH}{}", policies.concat()))])
}

/// The filters of this name, by the listeners that have them, and where they stand.
fn filters(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<(String, usize, Value)> {
    let mut found = vec![];
    for listener in &translate(mesh, proxy).listeners {
        let listener = json_of(listener);
        for chain in listener["filter_chains"].as_array().into_iter().flatten() {
            let manager = &chain["filters"][0]["typed_config"]["http_filters"];
            for (place, filter) in manager.as_array().into_iter().flatten().enumerate().filter(|(_, filter)| filter["name"] == FILTER) {
                found.push((listener["name"].as_str().unwrap_or_default().to_owned(), place, filter["typed_config"].clone()));
            }
        }
    }
    // A port has a chain for each way in which it is spoken to, and what is asked for is the same in all of them.
    found.dedup();
    found
}

/// The only one.
fn filter(mesh: &MeshSnapshot, proxy: &Proxy) -> Value {
    let [(_, 0, filter)] = &filters(mesh, proxy)[..] else { panic!("{:?}", filters(mesh, proxy)) };
    filter.clone()
}

#[test]
fn a_rule_is_a_provider_whose_tokens_may_be_missing() {
    let rule = "issuer: a, jwks: 'KEYS', audiences: [b], fromHeaders: [{name: x-t, prefix: 'T '}], fromParams: [p], fromCookies: [c], \
                outputPayloadToHeader: x-p, forwardOriginalToken: true, outputClaimToHeaders: [{header: x-s, claim: sub}], \
                spaceDelimitedClaims: [roles, scope], timeout: 3s"
        .replace("KEYS", KEYS);
    let mesh = with(&[policy("istio-system", "p", &format!("jwtRules: [{{{rule}}}]"))]);
    let provider = json!({
        "issuer": "a", "audiences": ["b"], "local_jwks": {"inline_string": KEYS}, "forward": true,
        "from_headers": [{"name": "x-t", "value_prefix": "T "}], "from_params": ["p"], "from_cookies": ["c"],
        "forward_payload_header": "x-p", "payload_in_metadata": "payload",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "roles", "scope"]},
        "claim_to_headers": [{"header_name": "x-s", "claim_name": "sub"}], "clear_route_cache": true,
    });
    let requirement = json!({"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}});
    let expected = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"origins-0": provider}, "rules": [{"match": {"prefix": "/"}, "requires": requirement}], "bypass_cors_preflight": true,
    });
    assert_eq!(filter(&mesh, &gateway()), expected);
    // Into a workload no route depends on claims.
    let inbound = filter(&mesh, &web());
    assert_eq!(inbound["providers"]["origins-0"]["clear_route_cache"], Value::Null);
}

#[test]
fn of_several_rules_one_is_met_or_all_that_have_tokens() {
    let rules = |issuers: &[&str]| {
        let rules: Vec<String> = issuers.iter().map(|issuer| format!("{{issuer: {issuer}, jwks: '{KEYS}'}}")).collect();
        format!("jwtRules: [{}]", rules.join(", "))
    };
    let mesh = with(&[policy("istio-system", "z", &rules(&["c", "a"])), policy("istio-system", "y", &rules(&["b"]))]);
    let filter = filter(&mesh, &gateway());
    let issuers: Vec<&Value> = ["origins-0", "origins-1", "origins-2"].iter().map(|name| &filter["providers"][name]["issuer"]).collect();
    assert_eq!(issuers, ["a", "b", "c"]);
    let name = |index: usize| json!({"provider_name": format!("origins-{index}")});
    let optional = |index: usize| json!({"requires_any": {"requirements": [name(index), {"allow_missing": {}}]}});
    let every = json!({"requires_all": {"requirements": [optional(0), optional(1), optional(2)]}});
    assert_eq!(filter["rules"][0]["requires"], json!({"requires_any": {"requirements": [name(0), name(1), name(2), every]}}));
    let rules = token_rules(&mesh, &gateway());
    let lines: Vec<u32> = rules.iter().filter_map(|rule| Some(rule.origin.place()?.span.line)).collect();
    assert_eq!((rules[1].provider.as_str(), rules[1].issuer.as_str(), lines.len()), ("origins-1", "b", 3));
}

#[test]
fn a_policy_is_for_whom_it_selects() {
    let rules = format!("jwtRules: [{{issuer: a, jwks: '{KEYS}'}}]");
    let selecting = |app: &str| format!("selector: {{matchLabels: {{app: {app}}}}}, {rules}");
    let cases = [
        (policy("istio-system", "p", &rules), 1, 1),
        (policy("default", "p", &rules), 0, 1),
        (policy("other", "p", &rules), 0, 0),
        (policy("default", "p", &selecting("web")), 0, 1),
        (policy("default", "p", &selecting("other")), 0, 0),
        (policy("istio-system", "p", &selecting("istio-ingressgateway")), 1, 0),
        (policy("istio-system", "p", "selector: {matchLabels: {app: web}}"), 0, 0),
        (
            policy("istio-system", "p", &format!("targetRefs: [{{kind: Gateway, group: gateway.networking.k8s.io, name: gw}}], {rules}")),
            0,
            0,
        ),
    ];
    for (policy, at_gateway, inbound) in cases {
        let mesh = with(std::slice::from_ref(&policy));
        assert_eq!(filters(&mesh, &gateway()).len(), at_gateway, "{policy}");
        let own: Vec<String> = filters(&mesh, &web()).into_iter().map(|(listener, ..)| listener).collect();
        assert_eq!(own.len(), inbound, "{policy}");
        assert!(own.iter().all(|listener| listener.contains("9080")), "{own:?}");
    }
}

#[test]
fn until_keys_are_fetched_there_is_one_that_nobody_has() {
    let address = "https://a.test/keys";
    let rules = format!("jwtRules: [{{issuer: a, jwksUri: '{address}'}}, {{issuer: 'https://b.test'}}]");
    let mesh = with(&[policy("istio-system", "p", &rules)]);
    let keys = |mesh: &MeshSnapshot, provider: &str| filter(mesh, &gateway())["providers"][provider]["local_jwks"]["inline_string"].clone();
    let nobodys = keys(&mesh, "origins-0");
    assert!(nobodys.as_str().unwrap().contains("no-key-is-known") && keys(&mesh, "origins-1") == nobodys);
    let unfetched: Vec<_> = token_rules(&mesh, &gateway()).into_iter().map(|rule| rule.unfetched).collect();
    assert_eq!(unfetched, [Some(address.to_owned()), Some("https://b.test/.well-known/openid-configuration".to_owned())]);
    let fetched: FetchedKeys =
        [(KeyAddress::Keys(address.to_owned()), KEYS.into()), (KeyAddress::Issuer("https://b.test".to_owned()), r#"{"keys":[]}"#.into())]
            .into();
    let next = mesh.update(&[], None, &[]).with_keys(&fetched.into());
    assert_eq!((keys(&next, "origins-0"), keys(&next, "origins-1")), (json!(KEYS), json!(r#"{"keys":[]}"#)));
    assert!(token_rules(&next, &gateway()).iter().all(|rule| rule.unfetched.is_none()));
}

#[test]
fn a_policy_that_is_refused_lets_nobody_in_whom_it_selects() {
    let good = policy("default", "good", &format!("jwtRules: [{{issuer: a, jwks: '{KEYS}'}}]"));
    let text = policy("default", "bad", "selector: {matchLabels: {app: web}}, jwtRules: [{issuer: a, audiences: ['']}]");
    let refused = parse(&Source::new("bad.yaml", text)).stand_ins;
    let mesh = with(std::slice::from_ref(&good));
    let objects: Vec<ObjectChange> = refused.into_iter().map(|object| ObjectChange { old: None, new: Some(object) }).collect();
    let next = mesh.update(&objects, None, &[]);
    let closed = filter(&next, &web());
    assert_eq!(closed["rules"], json!([{"match": {"prefix": "/"}, "requires": {"provider_name": "a-refused-policy"}}]));
    let provider = &closed["providers"]["a-refused-policy"];
    assert!(provider["issuer"].as_str().unwrap_or_default().is_empty(), "{provider}");
    assert!(provider["local_jwks"]["inline_string"].as_str().unwrap().contains("no-key-is-known"), "{provider}");
    assert!(closed["bypass_cors_preflight"].is_null() && token_rules(&next, &web()).len() == 1);
    // Those of others are as before.
    assert_eq!(
        filters(&next, &sidecar("10.0.9.8", &[("app", "other")])).len(),
        filters(&mesh, &sidecar("10.0.9.8", &[("app", "other")])).len()
    );
    assert!(filter(&mesh, &web())["providers"]["origins-0"].is_object());
}

#[test]
fn claims_are_conditions_of_routes() {
    let rules = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [c.test]
  gateways: [gw]
  http:
  - match: [{headers: {'@request.auth.claims.a.b': {exact: x}}, withoutHeaders: {'@request.auth.claims[c.d][e]': {regex: y+}}}]
    route: [{destination: {host: shop.test}}]
";
    let mesh = mesh(&[("mesh.yaml", &format!("{MESH}{rules}"))]);
    let routes = json_of(&translate(&mesh, &gateway()).routes[0]);
    let conditions = &routes["virtual_hosts"][0]["routes"][0]["match"]["dynamic_metadata"];
    let of = |keys: &[&str], text: Value| {
        let path: Vec<Value> = std::iter::once("payload").chain(keys.iter().copied()).map(|key| json!({"key": key})).collect();
        let value = json!({"string_match": text});
        json!({"filter": FILTER, "path": path, "value": {"or_match": {"value_matchers": [{"list_match": {"one_of": value}}, value]}}})
    };
    let mut unwanted = of(&["c.d", "e"], json!({"safe_regex": {"regex": "y+"}}));
    unwanted["invert"] = json!(true);
    assert_eq!(*conditions, json!([of(&["a", "b"], json!({"exact": "x"})), unwanted]));
}
