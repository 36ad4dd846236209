//! What passes, what is refused, and what is told: by tokens that are made for it.

use serde_json::{Value, json};
use weir_http1::Headers;
use weir_xds::json::from_value;
use weir_xds::values::json as json_of;

use super::*;
use support::{claims, jwks, key, token, token_by, written};

mod attacks;
mod places;
mod requirements;
mod support;

/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

const MISSING: &str = "Jwt is missing";
const NO_FORM: &str = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const UNKNOWN_ISSUER: &str = "Jwt issuer is not configured";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
const FAILS: &str = "Jwt verification fails";

fn compile(config: Value) -> Result<JwtPolicy, CompileError> {
    JwtPolicy::compile(&from_value(config).expect("well formed"))
}

fn policy(config: Value) -> JwtPolicy {
    compile(config).expect("valid")
}

/// A provider with these keys, and more said of it.
fn provider(names: &[&str], more: Value) -> Value {
    let mut provider = json!({"issuer": "issuer.test", "localJwks": {"inlineString": jwks(names)}});
    if let (Some(provider), Value::Object(more)) = (provider.as_object_mut(), more) {
        provider.extend(more);
    }
    provider
}

/// A policy that requires one provider, `p`, everywhere.
fn of_provider(names: &[&str], more: Value) -> JwtPolicy {
    policy(json!({"providers": {"p": provider(names, more)}, "rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}]}))
}

/// A request with these headers.
struct Request {
    method: &'static str,
    path: String,
    headers: Headers,
}

impl Request {
    fn new(headers: &[(&str, &str)]) -> Self {
        let field = |(name, value): &(&str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
        Self { method: "GET", path: "/x".into(), headers: headers.iter().map(field).collect() }
    }

    fn bearer(token: &str) -> Self {
        Self::new(&[("authorization", &format!("Bearer {token}"))])
    }

    fn at(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead { method: self.method, scheme: "http", authority: "a.test", path: &self.path, headers: &self.headers, random: 0 }
    }

    fn judged(&self, policy: &JwtPolicy) -> Outcome {
        policy.judge(&self.head(), &DynamicMetadata::new(), None, NOW, &|_| Held::Nowhere)
    }

    fn passed(&self, policy: &JwtPolicy) -> Passed {
        match self.judged(policy) {
            Outcome::Pass(passed) => *passed,
            other => panic!("{other:?}"),
        }
    }

    /// What a client is told: nothing if it passes.
    fn told(&self, policy: &JwtPolicy) -> String {
        match self.judged(policy) {
            Outcome::Pass(_) => String::new(),
            Outcome::Refuse(refusal) => refusal.body,
            Outcome::Fetch(provider) => format!("fetch {provider}"),
        }
    }
}

/// What is left under a key, as JSON.
fn left(data: &BTreeMap<String, Value_>, key: &str) -> Option<Value> {
    data.get(key).map(|value| json_of(value.kind.as_ref().expect("a value")))
}

use weir_xds::prost_types::Value as Value_;

#[test]
fn tokens_of_all_algorithms_pass() {
    let all = of_provider(&["r1", "r2", "e1", "e3", "e5", "d1", "h1"], json!({}));
    let algorithms = [
        ("r1", "RS256"),
        ("r1", "RS384"),
        ("r2", "RS512"),
        ("r1", "PS256"),
        ("r2", "PS384"),
        ("r1", "PS512"),
        ("e1", "ES256"),
        ("e3", "ES384"),
        ("e5", "ES512"),
        ("d1", "EdDSA"),
        ("h1", "HS256"),
        ("h1", "HS384"),
        ("h1", "HS512"),
    ];
    for (name, algorithm) in algorithms {
        let token = token_by(name, algorithm, &claims(json!({})));
        assert_eq!(Request::bearer(&token).told(&all), "", "{algorithm}");
        let (text, signature) = token.rsplit_once('.').expect("a signature");
        let mut signature = super::token::decode(signature).expect("base64");
        *signature.last_mut().expect("not empty") ^= 1;
        assert_eq!(Request::bearer(&format!("{text}.{}", support::encode(signature))).told(&all), FAILS, "{algorithm}");
        // Each is for its own key alone.
        let alone = of_provider(&[name], json!({}));
        assert_eq!(Request::bearer(&token).told(&alone), "", "{algorithm}");
    }
}

#[test]
fn a_token_is_valid_for_a_time_and_for_somebody() {
    let usual = of_provider(&["r1"], json!({}));
    let of_us = of_provider(&["r1"], json!({"audiences": ["https://us.test/", "b"]}));
    let strict = of_provider(&["r1"], json!({"requireExpiration": true, "clockSkewSeconds": 1}));
    let short = of_provider(&["r1"], json!({"maxLifetime": "3600s"}));
    let alice = of_provider(&["r1"], json!({"subjects": {"prefix": "al"}}));
    let (expired, early, others) = ("Jwt is expired", "Jwt not yet valid", "Audiences in Jwt are not allowed");
    let cases = [
        (&usual, json!({}), ""),
        (&usual, json!({"exp": null}), ""),
        (&usual, json!({"exp": 0}), ""),
        (&usual, json!({"exp": NOW - 60}), ""),
        (&usual, json!({"exp": NOW - 61}), expired),
        (&usual, json!({"nbf": NOW + 60}), ""),
        (&usual, json!({"nbf": NOW + 61}), early),
        (&usual, json!({"nbf": 4.5e18}), early),
        (&usual, json!({"aud": "anybody"}), ""),
        (&usual, json!({"iss": "other"}), UNKNOWN_ISSUER),
        (&usual, json!({"iss": null}), UNKNOWN_ISSUER),
        (&usual, json!({"sub": null}), ""),
        (&of_us, json!({}), others),
        (&of_us, json!({"aud": "us.test"}), ""),
        (&of_us, json!({"aud": "http://us.test"}), ""),
        (&of_us, json!({"aud": ["a", "b/"]}), ""),
        (&of_us, json!({"aud": ["a", "https://b.us.test"]}), others),
        (&of_us, json!({"aud": []}), others),
        (&strict, json!({"exp": null}), FAILS),
        (&strict, json!({"exp": NOW - 1}), ""),
        (&strict, json!({"exp": NOW - 2}), expired),
        (&short, json!({"exp": NOW + 3599}), ""),
        (&short, json!({"exp": NOW + 3600}), FAILS),
        (&short, json!({"exp": null}), FAILS),
        (&alice, json!({}), ""),
        (&alice, json!({"sub": "bob"}), FAILS),
        (&alice, json!({"sub": null}), FAILS),
    ];
    for (policy, more, expected) in cases {
        assert_eq!(Request::bearer(&token(more.clone())).told(policy), expected, "{more}");
    }
}

#[test]
fn a_refusal_tells_why_and_what_is_needed() {
    let policy = of_provider(&["r1"], json!({"audiences": ["us"], "failedStatusInMetadata": "why"}));
    let refused = |request: Request| match request.judged(&policy) {
        Outcome::Refuse(refusal) => *refusal,
        other => panic!("{other:?}"),
    };
    let challenge = |refusal: &Refusal| refusal.challenge.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let missing = refused(Request::new(&[]).at("/p?q"));
    assert_eq!((missing.status, &*missing.body, &*missing.details), (401, MISSING, "jwt_authn_access_denied{Jwt_is_missing}"));
    assert_eq!(challenge(&missing).as_deref(), Some("Bearer realm=\"http://a.test/p?q\""));
    assert_eq!(left(&missing.data, "why"), Some(json!({"code": 1, "message": MISSING})));
    let audience = refused(Request::bearer(&token(json!({}))));
    assert_eq!((audience.status, audience.provider), (403, Some(0)));
    assert_eq!(audience.details, "jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}");
    assert_eq!(challenge(&audience).as_deref(), Some("Bearer realm=\"http://a.test/x\", error=\"invalid_token\""));
    let counted = super::NAMES.map(|(_, what)| policy.counted().get(what));
    assert_eq!(counted, [0, 2, 0, 0, 0]);
    let silent = super::tests::policy(json!({
        "providers": {"p": provider(&["r1"], json!({}))}, "stripFailureResponse": true,
        "rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}],
    }));
    let Outcome::Refuse(refusal) = Request::new(&[]).judged(&silent) else { panic!("it passes") };
    assert_eq!((refusal.status, &*refusal.body, refusal.challenge.is_none()), (401, "", true));
}

#[test]
fn a_good_token_is_told_of() {
    let more = json!({
        "forwardPayloadHeader": "x-payload", "padForwardPayloadHeader": true, "payloadInMetadata": "payload", "headerInMetadata": "header",
        "normalizePayloadInMetadata": {"spaceDelimitedClaims": ["scope"]}, "clearRouteCache": true,
        "claimToHeaders": [{"headerName": "x-sub", "claimName": "sub"}, {"headerName": "x-none", "claimName": "none"}],
    });
    let policy = of_provider(&["r1"], more);
    let token = token(json!({"scope": "a b"}));
    let mut request = Request::bearer(&token);
    for name in ["x-sub", "x-none", "x-payload"] {
        request.headers.append(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_static("forged"));
    }
    let Passed { changes, data, clears_route, accepted } = request.passed(&policy);
    assert_eq!(left(&data, "payload"), Some(json!({"exp": 4_102_444_800_u64, "iss": "issuer.test", "scope": ["a", "b"], "sub": "alice"})));
    assert_eq!(left(&data, "header"), Some(json!({"alg": "RS256", "kid": "r1", "typ": "JWT"})));
    assert!(clears_route && accepted == [0]);
    let mut removed: Vec<&str> = changes.removed.iter().map(HeaderName::as_str).collect();
    removed.sort_unstable();
    assert_eq!(removed, ["authorization", "x-none", "x-payload", "x-sub"]);
    let added: Vec<(&str, &[u8])> = changes.added.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let payload = token.split('.').nth(1).expect("a payload");
    let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
    assert_eq!(added, [("x-payload", padded.as_bytes()), ("x-sub", b"alice")]);
}

#[test]
fn a_claim_that_no_header_can_hold_is_in_none() {
    let policy = of_provider(&["r1"], json!({"claimToHeaders": [{"headerName": "x-sub", "claimName": "sub"}]}));
    for sub in ["a\r\nx-admin: yes", "a\nb", "a\u{0}"] {
        assert!(Request::bearer(&token(json!({"sub": sub}))).passed(&policy).changes.added.is_empty(), "{sub:?}");
    }
}

#[test]
fn who_only_asks_whether_it_may_ask_needs_no_token() {
    let config = |bypass| {
        policy(json!({
            "providers": {"p": provider(&["r1"], json!({"forwardPayloadHeader": "x-p"}))}, "bypassCorsPreflight": bypass,
            "rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}],
        }))
    };
    let headers: &[(&str, &str)] = &[("origin", "http://o.test"), ("access-control-request-method", "PUT"), ("x-p", "forged")];
    let preflight = |method, headers: &[(&str, &str)]| Request { method, ..Request::new(headers) };
    let passed = preflight("OPTIONS", headers).passed(&config(true));
    assert_eq!(passed.changes.removed.iter().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-p"]);
    for (request, bypass) in
        [(preflight("GET", headers), true), (preflight("OPTIONS", &headers[..1]), true), (preflight("OPTIONS", headers), false)]
    {
        assert_eq!(request.told(&config(bypass)), MISSING);
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let rules = json!([{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}]);
    let of = |provider: Value| json!({"providers": {"p": provider}, "rules": rules});
    let of_rule = |rule: Value| json!({"providers": {"p": provider(&["r1"], json!({}))}, "rules": [rule]});
    let any = json!({"prefix": "/"});
    let cases = [
        (of(json!({"issuer": "a"})), "providers[p].remote_jwks"),
        (of(json!({"remoteJwks": {"httpUri": {"uri": "ftp://a", "cluster": "a"}}})), "providers[p].remote_jwks.http_uri.uri"),
        (of(json!({"remoteJwks": {"httpUri": {"uri": "http://a"}}})), "providers[p].remote_jwks.http_uri.cluster"),
        (of(provider(&["r1"], json!({"fromHeaders": [{"name": "a b"}]}))), "providers[p].from_headers[0].name"),
        (of(provider(&["r1"], json!({"forwardPayloadHeader": "Transfer-Encoding"}))), "providers[p].forward_payload_header"),
        (
            of(provider(&["r1"], json!({"claimToHeaders": [{"headerName": "host", "claimName": "sub"}]}))),
            "providers[p].claim_to_headers[0].header_name",
        ),
        (of(provider(&["r1"], json!({"claimToHeaders": [{"headerName": "x"}]}))), "providers[p].claim_to_headers[0].claim_name"),
        (of_rule(json!({"match": any, "requires": {"providerName": "q"}})), "rules[0].requires.provider_name"),
        (
            of_rule(json!({"match": any, "requires": {"requiresAny": {"requirements": [{}]}}})),
            "rules[0].requires.requires_any.requirements",
        ),
        (
            of_rule(json!({"match": any, "requires": {"extractOnlyWithoutValidation": {}}})),
            "rules[0].requires.extract_only_without_validation",
        ),
        (of_rule(json!({"match": any, "requirementName": "r"})), "rules[0].requirement_name"),
        (of_rule(json!({"requires": {"providerName": "p"}})), "rules[0].match"),
        (json!({"requirementMap": {"r": {"providerName": "p"}}}), "requirement_map[r].provider_name"),
        (
            json!({"filterStateRules": {"name": "n", "requires": {"s": {"providerName": "p"}}}}),
            "filter_state_rules.requires[s].provider_name",
        ),
    ];
    for (config, path) in cases {
        assert_eq!(compile(config.clone()).expect_err("refused").path, path, "{config}");
    }
}
