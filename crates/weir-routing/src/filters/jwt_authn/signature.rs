//! Signatures: which algorithms there are, and keys that are ready for them.
//!
//! A key is made ready for the algorithms of its own kind when it is read, and for no other: no token can have the text of a
//! public key taken for a password, or choose a curve that the key is not on.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};

use super::status::Status;
use super::token::Token;

/// An algorithm by which tokens are signed (RFC 7518, RFC 8037). That a token need not be signed is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the RFC's of that name.
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Hs256,
    Hs384,
    Hs512,
    EdDsa,
}

const NAMES: [(&str, Algorithm); 13] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
    ("EdDSA", Algorithm::EdDsa),
];

/// What an RSA key may be used with. Keys of less than 2048 bits verify nothing.
static RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

/// The length of a signature by Ed25519.
const ED25519_SIGNATURE: usize = 64;

impl Algorithm {
    /// The one of this name, which is written in one way only.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(own, _)| *own == name).map(|(_, algorithm)| *algorithm)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }
}

/// A curve that keys are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The bytes of a coordinate.
    pub fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A key, ready for the algorithms that it may be used with.
pub(super) struct VerifyingKey(Vec<(Algorithm, Ready)>);

enum Ready {
    Public(ParsedPublicKey),
    /// A key of RSA for one of its algorithms, read when the first token of that comes: most sets are used with one alone.
    Rsa(Arc<RsaKey>, &'static RsaParameters, OnceLock<Option<ParsedPublicKey>>),
    Secret(Box<hmac::Key>),
}

/// A key of RSA as it is written.
enum RsaKey {
    Numbers(RsaPublicKeyComponents<Vec<u8>>),
    Der(Vec<u8>),
}

impl RsaKey {
    fn read(&self, parameters: &'static RsaParameters) -> Option<ParsedPublicKey> {
        match self {
            Self::Numbers(numbers) => numbers.to_parsed_public_key(parameters).ok(),
            Self::Der(der) => ParsedPublicKey::new(parameters, der).ok(),
        }
    }
}

impl std::fmt::Debug for VerifyingKey {
    /// A secret key is nobody's to read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(algorithm, _)| algorithm.name())).finish()
    }
}

impl VerifyingKey {
    /// A key of RSA by its numbers; none if it is none.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let bare = |number: &[u8]| number.iter().position(|byte| *byte != 0).and_then(|start| number.get(start..)).map(<[u8]>::to_vec);
        let (n, e) = (bare(modulus)?, bare(exponent)?);
        // Others are not in use, and cost more to verify with.
        if !matches!(*e, [3] | [1, 0, 1]) {
            return None;
        }
        Self::rsa_key(RsaKey::Numbers(RsaPublicKeyComponents { n, e }))
    }

    /// The key for each of its algorithms; read for the first, so that one that is none is none at once.
    fn rsa_key(key: RsaKey) -> Option<Self> {
        let key = Arc::new(key);
        let mut first = Some(key.read(RSA.first()?.1)?);
        let ready = |(algorithm, parameters): &(Algorithm, &'static RsaParameters)| {
            let parsed = first.take().map_or_else(OnceLock::new, |first| OnceLock::from(Some(first)));
            (*algorithm, Ready::Rsa(key.clone(), parameters, parsed))
        };
        Some(Self(RSA.iter().map(ready).collect()))
    }

    /// A key of RSA as certificates have it.
    pub fn rsa_der(key: &[u8]) -> Option<Self> {
        Self::rsa_key(RsaKey::Der(key.to_vec()))
    }

    /// A point on a curve by its coordinates; none if it is none.
    pub fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Option<Self> {
        let (algorithm, verification): (_, &'static dyn VerificationAlgorithm) = match curve {
            Curve::P256 => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
            Curve::P384 => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
            Curve::P521 => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
        };
        // Uncompressed, each coordinate at its full length.
        let mut point = vec![4];
        for coordinate in [x, y] {
            let start = coordinate.len().saturating_sub(curve.length());
            let (leading, rest) = coordinate.split_at_checked(start)?;
            if leading.iter().any(|byte| *byte != 0) {
                return None;
            }
            point.resize(point.len() + curve.length() - rest.len(), 0);
            point.extend_from_slice(rest);
        }
        Some(Self(vec![(algorithm, Ready::Public(ParsedPublicKey::new(verification, &point).ok()?))]))
    }

    /// A key of Ed25519; none if it has not the length of one. What is no point of the curve verifies nothing.
    pub fn ed25519(key: &[u8]) -> Option<Self> {
        let ready = ParsedPublicKey::new(&ED25519, key).ok()?;
        Some(Self(vec![(Algorithm::EdDsa, Ready::Public(ready))]))
    }

    /// A password that whoever signs knows too.
    pub fn secret(secret: &[u8]) -> Self {
        let all = [(Algorithm::Hs256, hmac::HMAC_SHA256), (Algorithm::Hs384, hmac::HMAC_SHA384), (Algorithm::Hs512, hmac::HMAC_SHA512)];
        Self(all.map(|(algorithm, mac)| (algorithm, Ready::Secret(Box::new(hmac::Key::new(mac, secret))))).into())
    }

    /// Whether it has signed a token.
    ///
    /// # Errors
    /// If it has not.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Status> {
        let is_ed25519 = matches!(*self.0, [(Algorithm::EdDsa, _)]);
        // Envoy tells of this, whatever algorithm the token names.
        if is_ed25519 && token.signature.len() != ED25519_SIGNATURE {
            return Err(Status::Ed25519WrongLength);
        }
        let ready = self.0.iter().find(|(algorithm, _)| *algorithm == token.algorithm).map(|(_, ready)| ready);
        let verified = match ready.ok_or(Status::VerificationFails)? {
            Ready::Public(key) => key.verify_sig(token.signed.as_bytes(), &token.signature),
            Ready::Rsa(key, parameters, parsed) => {
                let parsed = parsed.get_or_init(|| key.read(parameters)).as_ref().ok_or(Status::VerificationFails)?;
                parsed.verify_sig(token.signed.as_bytes(), &token.signature)
            }
            Ready::Secret(key) => hmac::verify(key, token.signed.as_bytes(), &token.signature),
        };
        verified.map_err(|_| Status::VerificationFails)
    }
}
