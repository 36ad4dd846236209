//! Tokens that somebody made who may not: each is refused, and said why.

use super::*;

/// A token of the first key with something else in its header.
fn with_header(header: &Value) -> String {
    written(&header.to_string(), &claims(json!({})).to_string(), |text| key("r1").sign("RS256", text))
}

#[test]
fn nobody_gets_in_with_a_token_that_is_none() {
    let good = token(json!({}));
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().expect("three parts");
    let none = |alg: &str| format!("{}.{payload}.", support::encode(json!({"alg": alg}).to_string()));
    let none_signed = |alg: &str| format!("{}.{payload}.{signature}", support::encode(json!({"alg": alg, "kid": "r1"}).to_string()));
    let claims_of = |claims: &str| written(r#"{"alg":"RS256","kid":"r1"}"#, claims, |text| key("r1").sign("RS256", text));
    let deep = format!(r#"{{"iss":"issuer.test","a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let huge = format!("{head}.{}.{signature}", "A".repeat(1 << 20));
    let cases: Vec<(&str, String, &str)> = vec![
        ("nothing", String::new(), NO_FORM),
        ("dots", "..".into(), NO_FORM),
        ("one part", head.into(), NO_FORM),
        ("two parts", format!("{head}.{payload}"), NO_FORM),
        ("no signature", format!("{head}.{payload}."), NO_FORM),
        ("four parts", format!("{good}.{signature}"), NO_FORM),
        ("an empty part", format!("{head}..{payload}.{signature}"), NO_FORM),
        ("not signed, and says so", none("none"), NO_FORM),
        ("not signed, in other letters", none_signed("nOnE"), "Jwt header [alg] is not supported"),
        ("not signed, with a signature", none_signed("none"), "Jwt header [alg] is not supported"),
        ("an algorithm in other letters", none_signed("rs256"), "Jwt header [alg] is not supported"),
        ("no algorithm", with_header(&json!({"kid": "r1"})), "Jwt header [alg] field is required and must be a string"),
        ("an algorithm that is a list", with_header(&json!({"alg": ["RS256"]})), "Jwt header [alg] field is required and must be a string"),
        ("a key's name that is a number", with_header(&json!({"alg": "RS256", "kid": 1})), "Jwt header [kid] field is not a string"),
        ("another key's name", with_header(&json!({"alg": "RS256", "kid": "r2"})), NO_KEY),
        ("a key's name with a path", with_header(&json!({"alg": "RS256", "kid": "../../dev/null"})), NO_KEY),
        ("another algorithm of the key", with_header(&json!({"alg": "RS512", "kid": "r1"})), FAILS),
        ("the other padding", with_header(&json!({"alg": "PS256", "kid": "r1"})), FAILS),
        ("a curve", with_header(&json!({"alg": "ES256", "kid": "r1"})), FAILS),
        ("Ed25519", with_header(&json!({"alg": "EdDSA", "kid": "r1"})), FAILS),
        (
            "its own key",
            {
                let header = json!({"alg": "RS256", "jwk": key("r2").jwk("r1"), "jku": "http://evil.test/keys"});
                written(&header.to_string(), &claims(json!({})).to_string(), |text| key("r2").sign("RS256", text))
            },
            FAILS,
        ),
        (
            "another key under the name of this one",
            written(r#"{"alg":"RS256","kid":"r1"}"#, &claims(json!({})).to_string(), |text| key("r2").sign("RS256", text)),
            FAILS,
        ),
        ("another payload", format!("{head}.{}.{signature}", support::encode(claims(json!({"sub": "mallory"})).to_string())), FAILS),
        ("no JSON", "not.a.token".into(), "Jwt header is an invalid JSON"),
        ("no base64", format!("{head}.{payload}.+/+/"), "Jwt signature is an invalid Base64url encoded"),
        ("a header that is no base64", format!("{head}!.{payload}.{signature}"), "Jwt header is an invalid Base64url encoded"),
        ("base64 of one sign", format!("{head}.{payload}.A"), "Jwt signature is an invalid Base64url encoded"),
        ("a payload of zeros", huge, "Jwt payload is an invalid JSON"),
        ("a payload that is a list", claims_of("[]"), "Jwt payload is an invalid JSON"),
        ("a payload that goes on", claims_of(r#"{"iss":"issuer.test"} {"sub":"admin"}"#), "Jwt payload is an invalid JSON"),
        ("a claim twice", claims_of(r#"{"iss":"issuer.test","sub":"alice","sub":"admin"}"#), "Jwt payload is an invalid JSON"),
        (
            "a claim twice, once escaped",
            claims_of(r#"{"iss":"issuer.test","sub":"alice","s\u0075b":"admin"}"#),
            "Jwt payload is an invalid JSON",
        ),
        ("depth", claims_of(&deep), "Jwt payload is an invalid JSON"),
        ("an issuer that is a list", claims_of(r#"{"iss":["issuer.test"]}"#), "Jwt payload [iss] field is not a string"),
        ("a subject that is a number", token(json!({"sub": 7})), "Jwt payload [sub] field is not a string"),
        ("an end that is a text", token(json!({"exp": "4102444800"})), "Jwt payload [exp] field is not an integer"),
        ("a negative end", token(json!({"exp": -1})), "Jwt payload [exp] field is not a positive 64 bit integer"),
        ("an end out of range", token(json!({"exp": 1e30})), "Jwt payload [exp] field is not a positive 64 bit integer"),
        ("a beginning that is a list", token(json!({"nbf": []})), "Jwt payload [nbf] field is not an integer"),
        ("a negative beginning", token(json!({"nbf": -1})), "Jwt payload [nbf] field is not a positive 64 bit integer"),
        ("a time of issue that is a text", token(json!({"iat": "now"})), "Jwt payload [iat] field is not an integer"),
        ("an id that is a number", token(json!({"jti": 1})), "Jwt payload [jti] field is not a string"),
        ("audiences that are numbers", token(json!({"aud": ["a", 1]})), "Jwt payload [aud] field is not a string or string list"),
        ("an audience that is an object", token(json!({"aud": {}})), "Jwt payload [aud] field is not a string or string list"),
        ("expired", token(json!({"exp": 1_500_000_000})), "Jwt is expired"),
        ("not yet valid", token(json!({"nbf": 4_000_000_000_u64})), "Jwt not yet valid"),
        ("another issuer", token(json!({"iss": "Issuer.test"})), UNKNOWN_ISSUER),
        ("two tokens", format!("{good},Bearer {good}"), NO_FORM),
        ("an end of its own", format!("{good},x"), "Jwt signature is an invalid Base64url encoded"),
        // Which is read as base64 with a space in it.
        ("something behind it", format!("{good} x"), FAILS),
    ];
    let policy = of_provider(&["r1"], json!({}));
    for (what, token, expected) in cases {
        let told = Request::bearer(&token).told(&policy);
        // Without anything that a token could have, nobody brings one along.
        let expected = if token.is_empty() { NO_FORM } else { expected };
        assert_eq!(told, expected, "{what}");
    }
    assert_eq!(Request::bearer(&good).told(&policy), "");
}

/// Envoy goes by the key alone, whatever its token says.
#[test]
fn a_header_names_the_algorithm_that_signed() {
    let policy = of_provider(&["e1"], json!({}));
    for (algorithm, expected) in [("ES256", ""), ("ES384", FAILS), ("ES512", FAILS), ("RS256", FAILS), ("PS256", FAILS), ("HS256", FAILS)] {
        let header = json!({"alg": algorithm, "kid": "e1"}).to_string();
        let signed = written(&header, &claims(json!({})).to_string(), |text| key("e1").sign("ES256", text));
        assert_eq!(Request::bearer(&signed).told(&policy), expected, "{algorithm}");
    }
}

/// The public key of RSA is no secret, in whatever form it is taken for one.
#[test]
fn nobody_signs_with_a_public_key() {
    let policy = of_provider(&["r1-"], json!({}));
    let jwk = key("r1").jwk("");
    let modulus = super::super::token::decode(jwk["n"].as_str().expect("a text")).expect("base64");
    let text = jwk.to_string();
    let forms = [modulus, text.into_bytes(), jwk["n"].as_str().expect("a text").as_bytes().to_vec(), jwks(&["r1-"]).into_bytes(), vec![]];
    for secret in forms {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let header = json!({"alg": algorithm}).to_string();
            let forged = written(&header, &claims(json!({})).to_string(), |text| support::mac(algorithm, &secret, text.as_bytes()));
            assert_eq!(Request::bearer(&forged).told(&policy), FAILS, "{algorithm}");
        }
    }
    // Nor does a secret verify what it did not sign.
    let secret = of_provider(&["h1"], json!({}));
    let header = json!({"alg": "RS256", "kid": "h1"}).to_string();
    let forged = written(&header, &claims(json!({})).to_string(), |text| key("r1").sign("RS256", text));
    assert_eq!(Request::bearer(&forged).told(&secret), FAILS);
}

#[test]
fn keys_are_found_by_their_names_and_algorithms() {
    let named = of_provider(&["r2", "r1"], json!({}));
    let unnamed = of_provider(&["r2-", "e1-", "r1-"], json!({}));
    let without_name = written(r#"{"alg":"RS256"}"#, &claims(json!({})).to_string(), |text| key("r1").sign("RS256", text));
    for policy in [&named, &unnamed] {
        assert_eq!(Request::bearer(&without_name).told(policy), "");
        assert_eq!(Request::bearer(&token(json!({}))).told(policy), "");
    }
    let mut bound = key("r1").jwk("r1");
    bound["alg"] = json!("RS256");
    let set = json!({"keys": [bound]}).to_string();
    let bound = of_provider(&[], json!({"localJwks": {"inlineString": set}}));
    assert_eq!(Request::bearer(&token(json!({}))).told(&bound), "");
    assert_eq!(Request::bearer(&token_by("r1", "RS512", &claims(json!({})))).told(&bound), NO_KEY);
    // As Envoy tells it, whatever algorithm the token names.
    let short = of_provider(&["d1-"], json!({}));
    assert_eq!(Request::bearer(&without_name).told(&short), "Jwt ED25519 signature is wrong length");
}

#[test]
fn sets_of_keys_are_read_or_refused() {
    let said = |text: &str| KeySet::parse(text.as_bytes()).map(|_| "").unwrap_or_else(Status::text);
    let with = |name: &str, more: Value| {
        let mut jwk = key(name).jwk("k");
        jwk.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"keys": [jwk]}).to_string()
    };
    let cases = [
        ("{".to_owned(), "Jwks is an invalid JSON"),
        ("{}".to_owned(), "Jwks does not have [keys] field"),
        (r#"{"keys": {}}"#.to_owned(), "[keys] in Jwks is not an array"),
        (r#"{"keys": []}"#.to_owned(), "Jwks doesn't have any valid public key"),
        (r#"{"keys": [1]}"#.to_owned(), "Jwks doesn't have any valid public key"),
        (r#"{"keys": [{}]}"#.to_owned(), "[kty] is missing in [keys]"),
        (r#"{"keys": [{"kty": 1}]}"#.to_owned(), "[kty] is bad in [keys]"),
        (r#"{"keys": [{"kty": "x"}]}"#.to_owned(), "[kty] is not supported in [keys]"),
        (with("r1", json!({"use": "sig", "x5c": []})), ""),
        (with("r1", json!({"use": "enc"})), "Jwks doesn't have any valid public key"),
        (with("r1", json!({"use": 1})), "Jwks doesn't have any valid public key"),
        (with("r1", json!({"key_ops": ["verify"]})), ""),
        (with("r1", json!({"key_ops": ["encrypt", "wrapKey"]})), "Jwks doesn't have any valid public key"),
        (with("r1", json!({"key_ops": "verify"})), "Jwks doesn't have any valid public key"),
        (with("r1", json!({"alg": "RSA-OAEP"})), "[alg] is not started with [RS] or [PS] for an RSA key"),
        (with("r1", json!({"alg": "ES256"})), "[alg] is not started with [RS] or [PS] for an RSA key"),
        (with("r1", json!({"e": "AQ"})), "Jwks RSA [n] or [e] field is missing or has a parse error"),
        (with("r1", json!({"n": "!"})), "Jwks RSA [n] or [e] field is missing or has a parse error"),
        (with("r1", json!({"n": ""})), "Jwks RSA [n] or [e] field is missing or has a parse error"),
        (with("e1", json!({"crv": "P-384"})), "Jwks EC [x] and [y] fields have a parse error."),
        (with("e1", json!({"alg": "ES384"})), "[crv] field specified is not compatible with [alg] for an EC key"),
        (with("e1", json!({"alg": "RS256"})), "[alg] is not started with [ES] for an EC key"),
        (with("e1", json!({"crv": "secp256k1"})), "[crv] or [alg] field is not supported for an EC key"),
        (with("e1", json!({"x": "AAAA"})), "Jwks EC [x] and [y] fields have a parse error."),
        (with("e1", json!({"x": "!"})), "Jwks EC [x] or [y] field is an invalid Base64."),
        (with("d1", json!({"crv": "X25519"})), "[crv] field is not supported for an OKP key"),
        (with("d1", json!({"x": "AAAA"})), "Jwks OKP [x] field is wrong length."),
        (with("d1", json!({"alg": "ES256"})), "[alg] is not [EdDSA] for an OKP key"),
        (with("h1", json!({"alg": "HS1"})), "[alg] does not start with [HS] for an HMAC key"),
        (with("h1", json!({"k": ""})), "Jwks Oct key is an invalid Base64"),
    ];
    for (text, expected) in cases {
        assert_eq!(said(&text), expected, "{text}");
    }
    // One good key is enough.
    let mixed = json!({"keys": [{"kty": "x"}, key("r1").jwk("r1")]}).to_string();
    assert_eq!(Request::bearer(&token(json!({}))).told(&of_provider(&[], json!({"localJwks": {"inlineString": mixed}}))), "");
}

#[test]
fn keys_that_are_none_refuse_tokens_and_not_the_listener() {
    let certificate = json!({"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}).to_string();
    let off_curve = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}).to_string();
    let cases = [
        ("<html>", "Jwks is an invalid JSON"),
        (r#"{"keys": [], "keys": []}"#, "Jwks is an invalid JSON"),
        (r#"{"keys": []}"#, "Jwks doesn't have any valid public key"),
        (r#"{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AQAB"}]}"#, "[crv] field is not supported for an OKP key"),
        (&off_curve, "Jwks EC [x] and [y] fields have a parse error."),
        (&certificate, "X509 parse pubkey fails"),
    ];
    for (set, expected) in cases {
        let broken = provider(&[], json!({"issuer": "other.test", "localJwks": {"inlineString": set}}));
        let any = json!({"requiresAny": {"requirements": [{"providerName": "p"}, {"providerName": "q"}]}});
        let both = policy(json!({
            "providers": {"p": provider(&["r1"], json!({})), "q": broken}, "rules": [{"match": {"prefix": "/"}, "requires": any}],
        }));
        assert_eq!(Request::bearer(&token(json!({}))).told(&both), "", "{set}");
        let Outcome::Refuse(refusal) = Request::bearer(&token(json!({"iss": "other.test"}))).judged(&both) else { panic!("{set}") };
        assert_eq!((refusal.status, &*refusal.body), (401, expected), "{set}");
    }
}

#[test]
fn a_route_that_a_forged_header_chose_is_found_anew() {
    let told = json!({"claimToHeaders": [{"headerName": "x-role", "claimName": "role"}]});
    let lenient = policy(json!({
        "providers": {"p": provider(&["r1"], told)}, "bypassCorsPreflight": true,
        "rules": [{"match": {"prefix": "/"}, "requires": {"requiresAny": {"requirements": [{"providerName": "p"}, {"allowMissing": {}}]}}}],
    }));
    let bearer = format!("Bearer {}", token(json!({})));
    let preflight = [("origin", "http://o.test"), ("access-control-request-method", "PUT"), ("x-role", "admin")];
    let of = |method, headers: &[(&str, &str)]| Request { method, ..Request::new(headers) }.passed(&lenient).clears_route;
    // Without a token, with one that does not say it, and where a browser asks first.
    assert!(of("GET", &[("x-role", "admin")]));
    assert!(of("GET", &[("x-role", "admin"), ("authorization", &bearer)]));
    assert!(of("OPTIONS", &preflight));
    // A route that nobody forged stays: what is taken away of it is a good token.
    assert!(!of("GET", &[]) && !of("GET", &[("authorization", &bearer)]));
}

#[test]
fn a_token_that_asks_for_more_than_is_understood_is_refused() {
    for crit in [r#"["exp"]"#, r#"["b64"], "b64": false"#, "[]", "1"] {
        let header = format!(r#"{{"alg": "RS256", "kid": "r1", "crit": {crit}}}"#);
        let token = written(&header, &claims(json!({})).to_string(), |text| key("r1").sign("RS256", text));
        assert_eq!(Request::bearer(&token).told(&of_provider(&["r1"], json!({}))), FAILS, "{crit}");
    }
}

#[test]
fn what_one_request_may_cost_is_bounded() {
    // Keys: those after the last one that is used match nothing.
    let mut keys: Vec<Value> = (0..MOST_KEYS).map(|i| json!({"kty": "oct", "kid": i.to_string(), "k": "AQAB"})).collect();
    let set = |keys: &[Value]| of_provider(&[], json!({"localJwks": {"inlineString": json!({"keys": keys}).to_string()}}));
    keys[MOST_KEYS - 1] = key("r1").jwk("r1");
    assert_eq!(Request::bearer(&token(json!({}))).told(&set(&keys)), "");
    keys.insert(0, json!({"kty": "oct", "kid": "one more", "k": "AQAB"}));
    assert_eq!(Request::bearer(&token(json!({}))).told(&set(&keys)), NO_KEY);
    // Tokens.
    let bearer = format!("Bearer {}", token(json!({})));
    let usual = of_provider(&["r1"], json!({"forward": true}));
    let many = |count: usize| Request::new(&vec![("authorization", &*bearer); count]).told(&usual);
    assert_eq!((many(20).as_str(), many(21).as_str()), ("", FAILS));
}
