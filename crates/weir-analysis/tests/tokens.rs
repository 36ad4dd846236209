//! Which rule refused a request for its token, and where it stands.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use weir_analysis::explain::Explainer;
use weir_api::resources::MeshConfig;
use weir_api::{Severity, Source, parse};
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind};
use weir_translate::{token_rules, translate};

const SECRET: &[u8] = b"a secret";
/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec: {hosts: [shop.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  gateways: [gw]
  http:
  - {name: admin, match: [{headers: {'@request.auth.claims.group': {exact: admin}}}], route: [{destination: {host: shop.test}}]}
  - {name: rest, route: [{destination: {host: shop.test}}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: istio-system}
spec:
  jwtRules:
  - issuer: own.test
    jwks: 'KEYS'
  - issuer: 'https://far.test'
    jwksUri: 'https://far.test/keys'
";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(claims: &Value) -> String {
    let text = format!("{}.{}", base64(json!({"alg": "HS256"}).to_string()), base64(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("{text}.{}", base64(signature))
}

/// The steps of a call with this token, and the route that it takes.
fn told(token: &str) -> (Vec<String>, Option<String>) {
    let keys = json!({"keys": [{"kty": "oct", "k": base64(SECRET)}]}).to_string();
    let parsed = parse(&Source::new("mesh.yaml", MESH.replace("KEYS", &keys)));
    assert!(parsed.diagnostics.iter().all(|said| said.severity != Severity::Error), "{:?}", parsed.diagnostics);
    let mesh = MeshSnapshot::new(&parsed.objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN);
    let gateway = Proxy {
        id: "router~0.0.0.0~gateway.istio-system~istio-system.svc.cluster.local".into(),
        kind: ProxyKind::Router,
        name: "gateway".into(),
        namespace: "istio-system".into(),
        labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
        addresses: vec![],
        locality: String::new(),
        interception: Interception::None,
    };
    let (translation, rules) = (translate(&mesh, &gateway), token_rules(&mesh, &gateway));
    let explainer = Explainer::new(&translation).with_tokens(&rules, NOW);
    let call = json!({"direction": "gateway", "port": 80, "host": "shop.test", "headers": {"authorization": format!("Bearer {token}")}});
    let answer = explainer.explain(&serde_json::from_value(call).unwrap());
    let step = |step: &weir_analysis::explain::Step| {
        let place = step.source.as_ref().map(|place| format!(" [{}:{}]", place.file, place.line)).unwrap_or_default();
        format!("{}: {}{place}", step.what, step.why)
    };
    (answer.steps.iter().map(step).collect(), answer.route)
}

#[test]
fn who_refused_a_token_is_told_with_its_place() {
    let own = "RequestAuthentication istio-system/tokens for the issuer own.test";
    let far = "RequestAuthentication istio-system/tokens for the issuer https://far.test";
    let cases = [
        (token(&json!({"iss": "own.test", "exp": NOW - 100})), format!("answers 401: Jwt is expired, says {own} [mesh.yaml:28]")),
        (token(&json!({"iss": "own.test", "sub": "a"})) + "A", format!("answers 401: Jwt verification fails, says {own} [mesh.yaml:28]")),
        (token(&json!({"iss": "https://far.test"})), format!("answers 401: Jwt verification fails, says {far} [mesh.yaml:30]")),
        (token(&json!({"iss": "other.test"})), format!("answers 401: Jwt issuer is not configured; tokens are checked by {far}, {own}")),
        ("what".to_owned(), "answers 401: Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections".to_owned()),
    ];
    for (token, expected) in cases {
        let (steps, route) = told(&token);
        assert!(steps.iter().any(|step| step.starts_with(&expected)), "no {expected:?} in {steps:#?}");
        assert_eq!(route, None);
    }
    let (steps, _) = told(&token(&json!({"iss": "https://far.test"})));
    let why = "the control plane fetches them from https://far.test/keys: until then every token is refused";
    assert_eq!(steps.last().unwrap(), &format!("the keys are not known here: {why}"));
}

#[test]
fn a_good_token_decides_about_the_route() {
    let (steps, route) = told(&token(&json!({"iss": "own.test", "group": "admin"})));
    let accepted = "the token is accepted: by RequestAuthentication istio-system/tokens for the issuer own.test [mesh.yaml:28]";
    assert!(steps.contains(&accepted.to_owned()), "{steps:#?}");
    assert!(steps.iter().any(|step| step.contains("claim group is `admin`, or, of a list, one does")), "{steps:#?}");
    assert_eq!(route.as_deref(), Some("admin"));
    assert_eq!(told(&token(&json!({"iss": "own.test", "group": "other"}))).1.as_deref(), Some("rest"));
}
