//! Signatures that scripts look at, and other functions of bytes and time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mlua::{Error, UserData, UserDataMethods};

use super::stream::{Life, Stream};

/// What is written without its padding is understood, too.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// `importPublicKey()`.
pub(super) struct PublicKey {
    life: Life,
    /// None where what was given is no key.
    der: Option<Vec<u8>>,
}

impl UserData for PublicKey {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, this, ()| {
            this.life.stream()?;
            this.der.as_ref().map(|der| lua.create_string(der)).transpose()
        });
    }
}

/// So many bytes of a text; less if it is shorter.
fn first(text: &mlua::String, length: f64) -> Vec<u8> {
    let bytes = text.as_bytes();
    bytes[..bytes.len().min(length.max(0.0) as usize)].to_vec()
}

/// Makes a public key known.
pub(super) fn import(stream: &Stream, life: Life, (key, length): (mlua::String, f64)) -> mlua::Result<PublicKey> {
    let der = first(&key, length);
    stream.spend(der.len())?;
    let is_key = aws_lc_rs::rsa::PublicKey::from_der(&der).is_ok() || algorithms("sha256", &der).is_some_and(|found| found.of_curve);
    if is_key {
        stream.keys.borrow_mut().insert(der.clone());
    }
    Ok(PublicKey { life, der: is_key.then_some(der) })
}

/// How a signature is looked at.
struct Algorithms {
    algorithm: &'static dyn VerificationAlgorithm,
    /// Whether the key is one of an elliptic curve.
    of_curve: bool,
}

/// The object identifiers of curves, as they stand in a `SubjectPublicKeyInfo`.
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 34];
const P521: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 35];

fn algorithms(hash: &str, key: &[u8]) -> Option<Algorithms> {
    let head = key.get(..key.len().min(40)).unwrap_or_default();
    let is = |curve: &[u8]| head.windows(curve.len()).any(|part| part == curve);
    let curve = |algorithm: &'static dyn VerificationAlgorithm| Some(Algorithms { algorithm, of_curve: true });
    let rsa = |algorithm: &'static dyn VerificationAlgorithm| Some(Algorithms { algorithm, of_curve: false });
    match hash {
        "sha1" if is(P256) => curve(&signature::ECDSA_P256_SHA1_ASN1),
        "sha256" if is(P256) => curve(&signature::ECDSA_P256_SHA256_ASN1),
        "sha384" if is(P256) => curve(&signature::ECDSA_P256_SHA384_ASN1),
        "sha512" if is(P256) => curve(&signature::ECDSA_P256_SHA512_ASN1),
        "sha256" if is(P384) => curve(&signature::ECDSA_P384_SHA256_ASN1),
        "sha384" if is(P384) => curve(&signature::ECDSA_P384_SHA384_ASN1),
        "sha512" if is(P384) => curve(&signature::ECDSA_P384_SHA512_ASN1),
        "sha224" if is(P521) => curve(&signature::ECDSA_P521_SHA224_ASN1),
        "sha1" if is(P521) => curve(&signature::ECDSA_P521_SHA1_ASN1),
        "sha256" if is(P521) => curve(&signature::ECDSA_P521_SHA256_ASN1),
        "sha384" if is(P521) => curve(&signature::ECDSA_P521_SHA384_ASN1),
        "sha512" if is(P521) => curve(&signature::ECDSA_P521_SHA512_ASN1),
        "sha1" => rsa(&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        "sha256" => rsa(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        "sha384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "sha512" => rsa(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        _ => None,
    }
}

/// What `verifySignature()` is given: hash function, key, signature and text with their lengths.
pub(super) type Signed = (mlua::String, mlua::String, mlua::String, f64, mlua::String, f64);

/// Whether a signature is a key's; if not, why.
pub(super) fn verify(stream: &Stream, (hash, key, signature, signed, text, length): Signed) -> mlua::Result<(bool, Option<String>)> {
    let key = key.as_bytes().to_vec();
    if !stream.keys.borrow().contains(&key) {
        return Err(Error::runtime("invalid public key"));
    }
    let hash = hash.to_string_lossy().to_ascii_lowercase();
    let Some(Algorithms { algorithm, .. }) = algorithms(&hash, &key) else { return Ok((false, Some(format!("{hash} is not supported.")))) };
    match UnparsedPublicKey::new(algorithm, &key).verify(&first(&text, length), &first(&signature, signed)) {
        Ok(()) => Ok((true, None)),
        Err(_) => Ok((false, Some("Failed to verify digital signature.".to_owned()))),
    }
}

/// `base64Escape()`.
pub(super) fn encode(text: &mlua::String) -> String {
    STANDARD.encode(text.as_bytes())
}

/// `base64Decode()`; none if it is none.
pub(super) fn decode(text: &mlua::String) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.as_bytes().iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    LENIENT.decode(text).ok()
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
