//! Keys that are made for a test, and tokens that they sign.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key that signs.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

/// One of each; of the first kind there are two.
pub(super) static KEYS: LazyLock<[(&str, Signer); 7]> = LazyLock::new(|| {
    let ec = |curve, algorithm: &'static EcdsaSigningAlgorithm| Signer::Ec(curve, EcdsaKeyPair::generate(algorithm).expect("a key"));
    let rsa = |size| Signer::Rsa(Box::new(RsaKeyPair::generate(size).expect("a key")));
    [
        ("r1", rsa(KeySize::Rsa2048)),
        ("r2", rsa(KeySize::Rsa2048)),
        ("e1", ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)),
        ("e3", ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("e5", ec("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING)),
        ("d1", Signer::Ed25519(Ed25519KeyPair::generate().expect("a key"))),
        ("h1", Signer::Secret(b"a secret that nobody knows".to_vec())),
    ]
});

pub(super) fn key(name: &str) -> &'static Signer {
    &KEYS.iter().find(|(own, _)| *own == name).expect("known").1
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The numbers of a public key of RSA, in the DER of PKCS #1: a sequence of two.
fn numbers(der: &[u8]) -> [Vec<u8>; 2] {
    fn take(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            long @ 0x81.. => {
                let bytes = usize::from(long & 0x7f);
                (der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), 2 + bytes)
            }
            short => (short.into(), 2),
        };
        (&der[start..start + length], &der[start + length..])
    }
    let (inner, _) = take(der);
    let (n, rest) = take(inner);
    [n.to_vec(), take(rest).0.to_vec()]
}

impl Signer {
    /// Its public half, as a JWK.
    pub fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let [n, e] = numbers(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Self::Ec(curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Self::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())}),
            Self::Secret(secret) => json!({"kty": "oct", "k": encode(secret)}),
        };
        if !id.is_empty() {
            jwk["kid"] = json!(id);
        }
        jwk
    }

    /// What it signs; `algorithm` chooses among those of its kind.
    pub fn sign(&self, algorithm: &str, text: &str) -> Vec<u8> {
        let (random, text) = (SystemRandom::new(), text.as_bytes());
        match self {
            Self::Rsa(pair) => {
                let encoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, text, &mut signature).expect("signed");
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, text).expect("signed").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Self::Secret(secret) => mac(algorithm, secret, text),
        }
    }
}

pub(super) fn mac(algorithm: &str, secret: &[u8], text: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), text).as_ref().to_vec()
}

/// A set of keys with these, by their ids; `r1-` has none.
pub(super) fn jwks(names: &[&str]) -> String {
    let keys: Vec<Value> =
        names.iter().map(|name| key(name.trim_end_matches('-')).jwk(if name.ends_with('-') { "" } else { name })).collect();
    json!({"keys": keys}).to_string()
}

/// A token with this header and these claims, as they are written.
pub(super) fn written(header: &str, claims: &str, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let text = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(sign(&text));
    format!("{text}.{signature}")
}

/// A token of a key that says which it is.
pub(super) fn token_by(name: &str, algorithm: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": name, "typ": "JWT"}).to_string();
    written(&header, &claims.to_string(), |text| key(name).sign(algorithm, text))
}

/// A good token of the first key, with these claims besides.
pub(super) fn token(more: Value) -> String {
    token_by("r1", "RS256", &claims(more))
}

/// The usual claims, and these.
pub(super) fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": "issuer.test", "sub": "alice", "exp": 4_102_444_800_u64});
    if let (Some(claims), Value::Object(more)) = (claims.as_object_mut(), more) {
        claims.extend(more);
        claims.retain(|_, value| !value.is_null());
    }
    claims
}
