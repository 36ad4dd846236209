//! Requests with a token that is none, and to a path or a host that is written so as to look like another one.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::support::{Proxy, Upstream, cluster, routes, to};

const SECRET: &[u8] = b"the secret of the issuer's only key";

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({"name": name, "typedConfig": config})
}

/// A proxy with a filter before the router, that refuses what is tried.
struct Guarded {
    proxy: Proxy,
    instance: Upstream,
}

impl Guarded {
    async fn start(guard: Value, mut more: Value) -> Self {
        more["httpFilters"] = json!([guard, filter("router", "router.v3.Router", json!({}))]);
        let instance = Upstream::start().await;
        let proxy = Proxy::with_manager(more, routes(json!([to("a")])), &[cluster("a", &[&instance], json!({}))]).await;
        Self { proxy, instance }
    }

    /// The answer to a request that is refused, once that is counted and no instance has heard of it; and the line of the access log.
    async fn refuses(self, attempt: &str, request: &str, statistic: &str) -> String {
        let mut client = self.proxy.connect().await;
        client.say(request).await;
        let answer = client.end().await;
        self.proxy.counts(statistic, 1).await;
        assert!(self.instance.was_left_alone(), "{attempt}");
        let log = self.proxy.stop().await;
        let [line] = log.as_slice() else { panic!("{attempt}: {log:?}") };
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(!status.is_empty() && line.starts_with(status), "{attempt}: {answer:?} {line}");
        line.clone()
    }
}

fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// A token with a signature by the issuer's key, whatever its header says.
fn token(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("{text}.{}", BASE64.encode(signature))
}

fn claims() -> Value {
    json!({"iss": "issuer.test", "aud": "shop", "exp": 4_000_000_000_u64})
}

fn known() -> Value {
    json!({"alg": "HS256", "kid": "k1"})
}

/// A token, and what the client and the log are told of it.
type Attempt = (&'static str, fn() -> String, &'static str);

/// What is said of one that lacks its third part.
const UNSIGNED: &str = "401 - jwt_authn_access_denied{Jwt_is_not_in_the_form_of_Header.Payload.Signature_with_two_dots_and_3_sections}";

const TOKENS: [Attempt; 10] = [
    ("an unsigned JWT", || format!("{}.{}.", part(&known()), part(&claims())), UNSIGNED),
    (
        "an unsigned JWT with a signature of nothing",
        || format!("{}.{}.AA", part(&known()), part(&claims())),
        "401 - jwt_authn_access_denied{Jwt_verification_fails}",
    ),
    ("a JWT without a third part", || format!("{}.{}", part(&known()), part(&claims())), UNSIGNED),
    ("a `none` JWT", || format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims())), UNSIGNED),
    (
        "a `none` JWT with a signature",
        || token(&json!({"alg": "none", "kid": "k1"}), &claims()),
        "401 - jwt_authn_access_denied{Jwt_header_[alg]_is_not_supported}",
    ),
    (
        "a `None` JWT with a signature",
        || token(&json!({"alg": "None", "kid": "k1"}), &claims()),
        "401 - jwt_authn_access_denied{Jwt_header_[alg]_is_not_supported}",
    ),
    (
        "a JWT of an unknown key",
        || token(&json!({"alg": "HS256", "kid": "k2"}), &claims()),
        "401 - jwt_authn_access_denied{Jwks_doesn't_have_key_to_match_kid_or_alg_from_Jwt}",
    ),
    (
        "a JWT with a wrong audience",
        || {
            let mut claims = claims();
            claims["aud"] = json!("other");
            token(&known(), &claims)
        },
        "403 - jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}",
    ),
    (
        "an expired JWT",
        || {
            let mut claims = claims();
            claims["exp"] = json!(1_000_000_000);
            token(&known(), &claims)
        },
        "401 - jwt_authn_access_denied{Jwt_is_expired}",
    ),
    (
        "a JWT of which a claim was changed",
        || {
            let signed = token(&known(), &claims());
            let mut changed = claims();
            changed["admin"] = json!(true);
            let signature = signed.rsplit('.').next().unwrap_or_default();
            format!("{}.{}.{signature}", part(&known()), part(&changed))
        },
        "401 - jwt_authn_access_denied{Jwt_verification_fails}",
    ),
];

#[tokio::test]
async fn a_token_that_is_none_is_refused_counted_and_named() {
    let keys = json!({"keys": [{"kty": "oct", "kid": "k1", "k": BASE64.encode(SECRET)}]}).to_string();
    let provider = json!({"issuer": "issuer.test", "audiences": ["shop"], "localJwks": {"inlineString": keys}});
    let rules = json!([{"match": {"prefix": "/"}, "requires": {"providerName": "p"}}]);
    for (attempt, make, line) in TOKENS {
        let guard = filter("jwt", "jwt_authn.v3.JwtAuthentication", json!({"providers": {"p": provider}, "rules": rules}));
        let guarded = Guarded::start(guard, json!({})).await;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n", make());
        assert_eq!(guarded.refuses(attempt, &request, "envoy_http_jwt_authn_denied").await, line, "{attempt}");
    }
}

/// How `GET /admin` at `closed.test` may be written, where the one or the other is refused.
const WRITTEN: [(&str, &str, &str); 16] = [
    ("as it is", "/admin", "a"),
    ("`//`", "//admin", "a"),
    ("`%2f`", "/%2fadmin", "a"),
    ("`%2F` behind it", "/admin%2Fx", "a"),
    ("`%5c`", "/%5cadmin", "a"),
    ("an escaped letter", "/%61dmin", "a"),
    ("`;`", "/admin;x=y", "a"),
    ("case", "/AdMiN", "a"),
    ("a trailing dot", "/admin.", "a"),
    ("`.`", "/./admin", "a"),
    ("`..`", "/x/../admin", "a"),
    ("a query", "/admin?/public", "a"),
    ("the absolute form", "http://a/admin", "a"),
    ("the absolute form of another host", "http://closed.test/", "a"),
    ("a host's case", "/", "CLOSED.test"),
    ("a host's trailing dot", "/", "closed.test."),
];

#[tokio::test]
async fn a_path_that_is_written_otherwise_is_refused_by_a_deny_rule_counted_and_named() {
    let path = json!({"urlPath": {"path": {"prefix": "/admin", "ignoreCase": true}}});
    let host = json!({"header": {"name": ":authority", "stringMatch": {"exact": "closed.test", "ignoreCase": true}}});
    let policy = json!({"permissions": [path, host], "principals": [{"any": true}]});
    let normal = json!({
        "normalizePath": true, "mergeSlashes": true, "pathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD", "stripTrailingHostDot": true,
    });
    for (attempt, path, host) in WRITTEN {
        let guard = filter("rbac", "rbac.v3.RBAC", json!({"rules": {"action": "DENY", "policies": {"closed": policy}}}));
        let guarded = Guarded::start(guard, normal.clone()).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let line = guarded.refuses(attempt, &request, "envoy_http_rbac_denied").await;
        assert_eq!(line, "403 - rbac_access_denied_matched_policy[closed]", "{attempt}");
    }
}
