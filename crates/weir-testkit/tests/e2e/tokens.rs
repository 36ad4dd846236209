//! RequestAuthentication: tokens of keys that are made for each test, at gateways and at sidecars.

use std::net::SocketAddr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::{Response, StatusCode, Version};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::{Content, DataPlane, ECHO, Layout, Mesh, Peer, Protocol, Recorder, free_port, until};

use crate::support::over_each_data_plane;

over_each_data_plane!(
    a_gateway_checks_tokens_and_routes_by_claims,
    a_sidecar_checks_what_its_workload_gets,
    keys_are_fetched_and_nobody_gets_in_before,
);

/// Base64 as tokens have it.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A part of a token.
pub(crate) fn part(value: &Value) -> String {
    base64(value.to_string())
}

/// Who issues tokens.
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwks(&self, kid: &str) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": kid, "x": base64(x), "y": base64(y)}]}).to_string()
    }

    /// A token, as the header that has it.
    fn bearer(&self, kid: &str, mut claims: Value) -> String {
        claims["iss"] = json!("issuer.test");
        let text = format!("{}.{}", part(&json!({"alg": "ES256", "kid": kid})), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("Bearer {text}.{}", base64(signature))
    }
}

/// A RequestAuthentication of the root namespace, so that gateways have it too.
fn policy(rule: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: istio-system}}
spec:
  jwtRules:
  - {{issuer: issuer.test, {rule}}}
"
    )
}

const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.test]
  gateways: [gw]
  http:
  - match: [{headers: {'@request.auth.claims.group': {exact: admin}}}]
    route: [{destination: {host: shop, subset: admin}}]
  - match: [{headers: {'@request.auth.claims[realm][roles]': {prefix: dev}}}]
    route: [{destination: {host: shop, subset: dev}}]
  - route: [{destination: {host: shop, subset: usual}}]
";

async fn a_gateway_checks_tokens_and_routes_by_claims(plane: DataPlane) {
    let (layout, issuer, other) = (Layout::new(), Issuer::new(), Issuer::new());
    let peers = [Peer::http("usual").await, Peer::http("admin").await, Peer::http("dev").await];
    let service = layout.service("shop", &[&peers[0], &peers[1], &peers[2]], Protocol::Http);
    let told = "outputClaimToHeaders: [{header: x-user, claim: sub}], outputPayloadToHeader: x-payload";
    let rules = policy(&format!("jwks: '{}', audiences: [shop], {told}", issuer.jwks("k")));
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), ("routes.yaml", ROUTES), ("tokens.yaml", &rules)]).await;
    let mut client = mesh.outside("shop.test");
    until("the routes are in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("usual"))).await;
    let good = |mut more: Value| {
        more["aud"] = json!("https://shop/");
        issuer.bearer("k", more)
    };
    for (claims, instance) in [
        (json!({}), "usual"),
        (json!({"group": "admin"}), "admin"),
        (json!({"group": ["a", "admin"]}), "admin"),
        (json!({"group": "Admin"}), "usual"),
        (json!({"realm": {"roles": ["x", "developer"]}}), "dev"),
        (json!({"realm.roles": "developer"}), "usual"),
    ] {
        let token = good(claims.clone());
        let answer = client.get("/", &[(ECHO, "1"), ("authorization", &token), ("x-user", "forged")]).await.unwrap();
        assert!(answer.is_from(instance), "{claims}: {}", answer.status);
        let seen = answer.seen().unwrap();
        assert!(seen.values("authorization").is_empty() && seen.values("x-user").is_empty(), "{seen:?}");
        assert_eq!(seen.values("x-payload").len(), 1);
    }
    let answer = client.get("/", &[(ECHO, "1"), ("authorization", &good(json!({"sub": "ann"}))), ("x-user", "forged")]).await.unwrap();
    assert_eq!(answer.seen().unwrap().values("x-user"), ["ann"]);
    let cases = [
        (issuer.bearer("k", json!({})), 403),
        (other.bearer("k", json!({"aud": "shop"})), 401),
        (issuer.bearer("other", json!({"aud": "shop"})), 401),
        (good(json!({"exp": 1_500_000_000})), 401),
        (format!("Bearer {}.{}.", part(&json!({"alg": "none"})), part(&json!({"iss": "issuer.test", "aud": "shop"}))), 401),
        ("Bearer what".to_owned(), 401),
        ("Basic what".to_owned(), 200),
    ];
    for (token, status) in cases {
        assert_eq!(client.get("/", &[("authorization", &token)]).await.unwrap().status, status, "{token}");
    }
}

/// A port of the loopback, where sidecars look for their workload, that leads to this instance.
async fn beside(instance: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(instance).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut to).await
            });
        }
    });
    port
}

async fn a_sidecar_checks_what_its_workload_gets(plane: DataPlane) {
    let (layout, port, issuer, instance) = (Layout::new(), free_port(), Issuer::new(), Peer::http("a").await);
    // Of two Sidecars for one workload the first by name counts.
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: any, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  ingress:
  - {{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, captureMode: NONE, defaultEndpoint: '127.0.0.1:{}'}}
  egress: [{{hosts: ['~/*']}}]
",
        beside(instance.address()).await
    );
    let of = |app: &str| {
        let rule = format!("jwks: '{}', forwardOriginalToken: true, fromHeaders: [{{name: x-token}}]", issuer.jwks("k"));
        let rule = policy(&rule).replace("istio-system", "default");
        rule.replace("spec:\n", &format!("spec:\n  selector: {{matchLabels: {{app: {app}}}}}\n"))
    };
    let mesh = Mesh::start(plane, layout, &[("any.yaml", &sidecar), ("tokens.yaml", &of("client"))]).await;
    let mut client = Mesh::at(port, "a.test");
    let bearer = issuer.bearer("k", json!({}));
    let token = bearer.trim_start_matches("Bearer ");
    until("the workload is reached", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("a"))).await;
    let answer = client.get("/", &[(ECHO, "1"), ("x-token", token)]).await.unwrap();
    assert_eq!(answer.seen().unwrap().values("x-token"), [token]);
    assert_eq!(client.get("/", &[("x-token", "what")]).await.unwrap().status, 401);
    // It is not a place that anybody named.
    assert_eq!(client.get("/", &[("authorization", "Bearer what")]).await.unwrap().status, 200);
    mesh.write("tokens.yaml", &of("another"));
    until("it is for somebody else", async || client.get("/", &[("x-token", "what")]).await.is_ok_and(|answer| answer.status == 200)).await;
}

async fn keys_are_fetched_and_nobody_gets_in_before(plane: DataPlane) {
    let (layout, issuer, peer) = (Layout::new(), Issuer::new(), Peer::http("usual").await);
    let keys = Recorder::start(Version::HTTP_11).await;
    let away = || {
        let mut answer = Response::new(Content::of("not now"));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    };
    keys.set_answer(away());
    let service = layout.service("shop", &[&peer], Protocol::Http);
    let rules = policy(&format!("jwksUri: 'http://{}/keys'", keys.address()));
    let routes = crate::support::all_to("usual");
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), ("routes.yaml", &routes), ("tokens.yaml", &rules)]).await;
    let mut client = mesh.outside("shop.test");
    until("the routes are in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from("usual"))).await;
    let token = issuer.bearer("k", json!({}));
    assert_eq!(client.get("/", &[("authorization", &token)]).await.unwrap().status, 401);
    keys.set_answer(Response::new(Content::of(issuer.jwks("k"))));
    until("the keys are there", async || client.get("/", &[("authorization", &token)]).await.is_ok_and(|answer| answer.status == 200))
        .await;
    // An outage takes nothing away.
    keys.set_answer(away());
    assert_eq!(client.get("/", &[("authorization", &token)]).await.unwrap().status, 200);
    assert_eq!(client.get("/", &[("authorization", &Issuer::new().bearer("k", json!({})))]).await.unwrap().status, 401);
}
