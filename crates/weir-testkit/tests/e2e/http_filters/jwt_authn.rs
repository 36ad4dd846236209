//! Tokens: what passes, what is refused and what is told of it is as Envoy has it.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{request, route};
use crate::support::over_each_data_plane;
use crate::tokens::{base64, part};

over_each_data_plane!(tokens_are_checked, good_tokens_are_told_of, routes_and_rules_say_what_is_required);

/// Keys that are made for a test.
struct Keys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

const SECRET: &[u8] = b"a secret that nobody knows";

impl Keys {
    fn new() -> Self {
        Self { ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), ed: Ed25519KeyPair::generate().unwrap() }
    }

    fn jwks(&self) -> String {
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        let keys = json!([
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": base64(x), "y": base64(y)},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "secret", "k": base64(SECRET)},
        ]);
        json!({"keys": keys}).to_string()
    }

    fn sign(&self, kid: &str, text: &str) -> Vec<u8> {
        match kid {
            "ec" => self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            "ed" => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
            _ => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes()).as_ref().to_vec(),
        }
    }

    /// A token as it is written, header and claims.
    fn written(&self, kid: &str, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.sign(kid, &text));
        format!("{text}.{signature}")
    }

    fn token(&self, kid: &str, mut more: Value) -> String {
        more["iss"] = more.get("iss").cloned().unwrap_or_else(|| json!("issuer.test"));
        let algorithm = [("ec", "ES256"), ("ed", "EdDSA")].into_iter().find(|(own, _)| *own == kid).map_or("HS256", |(_, name)| name);
        self.written(kid, &json!({"alg": algorithm, "kid": kid}).to_string(), &more.to_string())
    }
}

fn provider(keys: &Keys, mut more: Value) -> Value {
    more["issuer"] = json!("issuer.test");
    more["localJwks"] = json!({"inlineString": keys.jwks()});
    more
}

async fn proxy(plane: DataPlane, config: Value, routes: Vec<Value>, peer: &Recorder) -> LoneProxy {
    let filters = vec![filter("jwt", packed("filters.http.jwt_authn.v3.JwtAuthentication", config))];
    LoneProxy::start(plane, &Xds { filters, routes, clusters: vec![cluster("a", peer.address())], ..Xds::default() }).await
}

/// A policy that requires a token of one provider.
fn required(provider: Value) -> Value {
    json!({"providers": {"p": provider}, "rules": [{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}]})
}

async fn tokens_are_checked(plane: DataPlane) {
    let (mut peer, keys) = (Recorder::start(Version::HTTP_11).await, Keys::new());
    let config = required(provider(&keys, json!({"audiences": ["https://us.test/"]})));
    let proxy = proxy(plane, config, vec![route("/", json!({}))], &peer).await;
    let us = json!({"aud": "us.test", "sub": "ann"});
    let issued = json!({"iss": "issuer.test", "aud": "us.test", "sub": "ann"});
    let good = keys.token("ec", us.clone());
    let parts: Vec<&str> = good.split('.').collect();
    let of = |claims: Value| {
        let mut all = us.clone();
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        keys.token("secret", all)
    };
    let header = |header: Value| keys.written("ec", &header.to_string(), &issued.to_string());
    let claims = |claims: &str| keys.written("secret", r#"{"alg":"HS256","kid":"secret"}"#, claims);
    let (fails, no_json, no_key) =
        ("Jwt verification fails", "Jwt payload is an invalid JSON", "Jwks doesn't have key to match kid or alg from Jwt");
    let form = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    let issuer = "Jwt issuer is not configured";
    let cases = [
        (good.clone(), ""),
        (keys.token("ed", us.clone()), ""),
        (keys.token("secret", us.clone()), ""),
        (of(json!({"exp": 4_102_444_800_u64})), ""),
        (of(json!({"exp": 0})), ""),
        (of(json!({"exp": 1_500_000_000})), "Jwt is expired"),
        (of(json!({"nbf": 4_000_000_000_u64})), "Jwt not yet valid"),
        (of(json!({"iss": "other"})), issuer),
        (of(json!({"aud": "them.test"})), "Audiences in Jwt are not allowed"),
        (of(json!({"aud": ["them.test", "http://us.test"]})), ""),
        (of(json!({"aud": 1})), "Jwt payload [aud] field is not a string or string list"),
        (of(json!({"sub": 1})), "Jwt payload [sub] field is not a string"),
        (of(json!({"exp": "soon"})), "Jwt payload [exp] field is not an integer"),
        (of(json!({"exp": -1})), "Jwt payload [exp] field is not a positive 64 bit integer"),
        (String::new(), "Jwt is missing"),
        ("not.a.token".to_owned(), "Jwt header is an invalid JSON"),
        (format!("{}.{}", parts[0], parts[1]), form),
        (format!("{}.{}.", parts[0], parts[1]), form),
        (format!("{good}.x"), form),
        (format!("{}.{}.{}", parts[0], part(&json!({"iss": "issuer.test", "aud": "us.test", "sub": "eve"})), parts[2]), fails),
        (format!("{good},x"), "Jwt signature is an invalid Base64url encoded"),
        (format!("{good} xx"), fails),
        (format!("{}.{}.{}", part(&json!({"alg": "none"})), parts[1], parts[2]), "Jwt header [alg] is not supported"),
        (header(json!({"alg": "ES256", "kid": "ed"})), fails),
        (keys.written("secret", r#"{"alg":"EdDSA","kid":"ed"}"#, &issued.to_string()), "Jwt ED25519 signature is wrong length"),
        (header(json!({"alg": "ES256", "kid": "none"})), no_key),
        (header(json!({"alg": "HS256", "kid": "secret"})), fails),
        (header(json!({"kid": "ec"})), "Jwt header [alg] field is required and must be a string"),
        (header(json!({"alg": "ES256", "kid": 1})), "Jwt header [kid] field is not a string"),
        (claims(r#"{"iss":"issuer.test","aud":"us.test","sub":"a","sub":"b"}"#), no_json),
        (claims(r#"{"iss":"issuer.test"} {}"#), no_json),
        (claims("[]"), no_json),
        (claims(&format!(r#"{{"iss":"issuer.test","aud":"us.test","a":{}{}}}"#, "[".repeat(120), "]".repeat(120))), no_json),
    ];
    let expected_lines = cases.len();
    for (token, refusal) in &cases {
        let bearer = format!("Bearer {token}");
        let headers: Vec<(&'static str, &str)> = if token.is_empty() { vec![] } else { vec![("authorization", bearer.as_str())] };
        let told = proxy.ask(request("GET", "/x?y", &headers, Content::default())).await.unwrap();
        let status = match *refusal {
            "" => 200,
            "Audiences in Jwt are not allowed" => 403,
            _ => 401,
        };
        assert_eq!(told.status, status, "{token} {refusal}");
        if refusal.is_empty() {
            assert_eq!(peer.asked().await.header("authorization"), "", "{token}");
            continue;
        }
        assert_eq!(told.text(), *refusal, "{token}");
        let error = if token.is_empty() { "" } else { ", error=\"invalid_token\"" };
        assert_eq!(told.header("www-authenticate"), format!("Bearer realm=\"http://shop.test/x?y\"{error}"), "{token}");
    }
    let log = proxy.log(expected_lines).await;
    let refused = cases.iter().zip(&log).filter(|((_, refusal), _)| !refusal.is_empty());
    for ((_, refusal), line) in refused {
        let details = format!("jwt_authn_access_denied{{{}}}", refusal.replace(' ', "_"));
        assert!(line.contains(&details), "{line}");
    }
}

async fn good_tokens_are_told_of(plane: DataPlane) {
    let (mut peer, keys) = (Recorder::start(Version::HTTP_11).await, Keys::new());
    let told =
        ["sub", "n", "l", "o.a", "none"].map(|claim| json!({"headerName": format!("x-{}", claim.replace('.', "-")), "claimName": claim}));
    let more = json!({
        "forwardPayloadHeader": "x-payload", "claimToHeaders": told, "fromHeaders": [{"name": "x-token", "valuePrefix": "T "}],
        "fromParams": ["t"], "fromCookies": ["c"],
    });
    let proxy = proxy(plane, required(provider(&keys, more)), vec![route("/", json!({}))], &peer).await;
    let token = keys.token("secret", json!({"sub": "ann", "n": -1, "l": [1, "x"], "o": {"a": true}}));
    let payload = token.split('.').nth(1).unwrap().to_owned();
    let (in_header, in_cookie, in_query) = (format!("T {token}"), format!("a=b; c={token}"), format!("/p?b=%7E&t={token}&a=1"));
    let requests: [(&str, Vec<(&'static str, &str)>, &str); 3] =
        [("/p", vec![("x-token", &in_header)], "/p"), ("/p", vec![("cookie", &in_cookie)], "/p"), (&in_query, vec![], "/p?a=1&b=~")];
    for (path, mut headers, seen) in requests {
        headers.extend([("x-sub", "forged"), ("x-none", "forged"), ("x-payload", "forged")]);
        assert_eq!(proxy.ask(request("GET", path, &headers, Content::default())).await.unwrap().status, 200);
        let asked = peer.asked().await;
        assert_eq!(asked.path, seen);
        let all = ["x-sub", "x-n", "x-l", "x-o-a", "x-none", "x-payload", "x-token"].map(|name| asked.header(name));
        assert_eq!(all, ["ann", "-1.000000", "WzEsIngiXQ==", "true", "", payload.as_str(), ""], "{path}");
        // A cookie stays.
        assert_eq!(asked.header("cookie").is_empty(), !headers.iter().any(|(name, _)| *name == "cookie"));
    }
}

/// A path and the headers of a request; the status, and what client or instance are told.
type Case<'c> = (&'c str, Vec<(&'static str, &'c str)>, u16, &'c str);

async fn routes_and_rules_say_what_is_required(plane: DataPlane) {
    let (mut peer, keys) = (Recorder::start(Version::HTTP_11).await, Keys::new());
    let own = |issuer: &str, header: &str| {
        let mut provider =
            provider(&keys, json!({"fromHeaders": [{"name": header}], "claimToHeaders": [{"headerName": "x-sub", "claimName": "sub"}]}));
        provider["issuer"] = json!(issuer);
        provider
    };
    let name = |name: &str| json!({"providerName": name});
    let any = |list: &[Value]| json!({"requiresAny": {"requirements": list}});
    let rule = |prefix: &str, requires: Value| json!({"match": {"prefix": prefix}, "requires": requires});
    let (missing, failed) = (json!({"allowMissing": {}}), json!({"allowMissingOrFailed": {}}));
    let config = json!({
        "providers": {"a": own("a", "x-a"), "b": own("b", "x-b")},
        "requirementMap": {"named": name("a")},
        "bypassCorsPreflight": true,
        "rules": [
            {"match": {"prefix": "/open"}},
            rule("/maybe", any(&[name("a"), missing.clone()])),
            rule("/any", any(&[name("a"), name("b")])),
            rule("/all", json!({"requiresAll": {"requirements": [name("a"), name("b")]}})),
            rule("/failed", failed),
            rule("/missing", missing),
            {"match": {"prefix": "/named"}, "requirementName": "named"},
        ],
    });
    let said = |config: Value| json!({"jwt": packed("filters.http.jwt_authn.v3.PerRouteConfig", config)});
    let routes = vec![
        route("/any/off", said(json!({"disabled": true}))),
        route("/open/named", said(json!({"requirementName": "named"}))),
        route("/open/wrong", said(json!({"requirementName": "none"}))),
        route("/", json!({})),
    ];
    let proxy = proxy(plane, config, routes, &peer).await;
    let of = |issuer: &str| keys.token("secret", json!({"iss": issuer, "sub": issuer}));
    let (a, b, bad) = (of("a"), of("b"), keys.token("secret", json!({"iss": "a", "exp": 1})));
    let cases: Vec<Case<'_>> = vec![
        ("/open", vec![("x-sub", "forged")], 200, ""),
        ("/other", vec![("x-sub", "forged")], 200, ""),
        ("/maybe", vec![], 200, ""),
        ("/maybe", vec![("x-a", &a)], 200, "a"),
        ("/maybe", vec![("x-a", &bad)], 401, "Jwt is expired"),
        ("/maybe", vec![("x-b", &bad)], 200, ""),
        ("/any", vec![], 401, "Jwt is missing"),
        ("/any", vec![("x-a", &bad), ("x-b", &b)], 200, "b"),
        ("/any", vec![("x-b", &a)], 401, "Jwt issuer is not configured"),
        ("/any", vec![("x-a", &bad), ("x-b", &a)], 401, "Jwt is expired"),
        ("/all", vec![("x-a", &a)], 401, "Jwt is missing"),
        ("/failed", vec![("x-a", &bad)], 200, ""),
        ("/failed", vec![("x-a", &a), ("x-b", &bad)], 200, "a"),
        ("/missing", vec![], 200, ""),
        ("/missing", vec![("x-a", &a)], 200, "a"),
        ("/missing", vec![("x-a", &b)], 401, "Jwt issuer is not configured"),
        ("/named", vec![], 401, "Jwt is missing"),
        ("/any/off", vec![("x-a", &bad)], 200, ""),
        ("/open/named", vec![], 401, "Jwt is missing"),
        ("/open/wrong", vec![], 403, "Failed JWT authentication: Wrong requirement_name: none. It should be one of [named]"),
    ];
    for (path, headers, status, expected) in cases {
        let told = proxy.ask(request("GET", path, &headers, Content::default())).await.unwrap();
        assert_eq!(told.status, status, "{path} {headers:?}");
        if status == 200 {
            assert_eq!(peer.asked().await.header("x-sub"), expected, "{path} {headers:?}");
        } else {
            assert_eq!(told.text(), expected, "{path} {headers:?}");
        }
    }
    let preflight = [("origin", "http://o.test"), ("access-control-request-method", "PUT"), ("x-sub", "forged")];
    assert_eq!(proxy.ask(request("OPTIONS", "/any", &preflight, Content::default())).await.unwrap().status, 200);
    assert_eq!(peer.asked().await.header("x-sub"), "");
}
