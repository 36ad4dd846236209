//! Sets of keys: a JWKS (RFC 7517), or certificates by the ids of their keys as Google serves them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use weir_xds::prost_types::Struct;
use weir_xds::prost_types::value::Kind;

use super::json::object;
use super::signature::{Algorithm, Curve, VerifyingKey};
use super::status::Status;
use super::token::{Token, decode, text_of};

/// Keys by which tokens of an issuer are verified.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    /// Empty if it has none: it may be any token's then.
    id: String,
    /// The name of the only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    key: VerifyingKey,
}

/// So many keys of a set are used. A token that names none may be any key's, and is looked at with each of them.
pub const MOST_KEYS: usize = 100;

const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const CERTIFICATE_END: &str = "\n-----END CERTIFICATE-----\n";

impl KeySet {
    /// Reads a set. Keys of it that are not valid are passed over, as long as one is, and so are those after [`MOST_KEYS`].
    ///
    /// # Errors
    /// If it is none, or has no key.
    pub fn parse(text: &[u8]) -> Result<Self, Status> {
        let set = object(text).ok_or(Status::KeysBadJson)?;
        let keys = match set.fields.get("keys").map(|keys| keys.kind.as_ref()) {
            None if are_certificates(&set) => return certificates(&set).map(Self),
            None => return Err(Status::NoKeys),
            Some(Some(Kind::ListValue(keys))) => &keys.values,
            Some(_) => return Err(Status::BadKeys),
        };
        let (mut read, mut first_wrong) = (vec![], None);
        for key in keys {
            if read.len() == MOST_KEYS {
                break;
            }
            let Some(Kind::StructValue(key)) = &key.kind else { continue };
            match Key::read(key) {
                Ok(key) => read.push(key),
                Err(wrong) => first_wrong = first_wrong.or(Some(wrong)),
            }
        }
        if read.is_empty() { Err(first_wrong.unwrap_or(Status::NoValidKeys)) } else { Ok(Self(read)) }
    }

    /// What a token says that one of the keys has signed. Until when it holds, and for whom it is, whoever reads it has to look himself.
    ///
    /// # Errors
    /// If it is no token, or none of the keys has signed it.
    pub fn claims(&self, token: &str) -> Result<Struct, Status> {
        let token = Token::parse(token)?;
        self.verify(&token)?;
        Ok(token.payload)
    }

    /// Whether one of the keys has signed a token. A token that names its key is looked at with that one, or with those that
    /// have no name.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Status> {
        let is_meant = |key: &&Key| {
            (token.key_id.is_empty() || key.id.is_empty() || key.id == token.key_id)
                && key.algorithm.as_ref().is_none_or(|own| own == token.algorithm.name())
        };
        let mut found = Err(Status::NoMatchingKey);
        for key in self.0.iter().filter(is_meant) {
            found = key.key.verify(token);
            if matches!(found, Ok(()) | Err(Status::Ed25519WrongLength)) {
                break;
            }
        }
        found
    }
}

impl Key {
    fn read(fields: &Struct) -> Result<Self, Status> {
        if !verifies(fields) {
            return Err(Status::NoValidKeys);
        }
        let kind = text_of(fields, "kty").map_err(|()| Status::BadKty)?.ok_or(Status::MissingKty)?;
        let optional = |name| text_of(fields, name).ok().flatten();
        let algorithm = optional("alg").filter(|name| !name.is_empty());
        let key = match kind {
            "RSA" => rsa(fields, algorithm),
            "EC" => ec(fields, algorithm),
            "oct" => secret(fields, algorithm),
            "OKP" => ed25519(fields, algorithm),
            _ => Err(Status::UnknownKty),
        }?;
        Ok(Self { id: optional("kid").unwrap_or_default().to_owned(), algorithm: algorithm.map(str::to_owned), key })
    }
}

/// Whether a key is for signatures, as far as it says what it is for (RFC 7517, 4.2 and 4.3).
fn verifies(fields: &Struct) -> bool {
    let is_for_signatures = match text_of(fields, "use") {
        Ok(purpose) => purpose.is_none_or(|purpose| purpose == "sig"),
        Err(()) => false,
    };
    let can_verify = match fields.fields.get("key_ops").map(|operations| operations.kind.as_ref()) {
        None => true,
        Some(Some(Kind::ListValue(list))) => {
            list.values.iter().any(|one| matches!(&one.kind, Some(Kind::StringValue(name)) if name == "verify"))
        }
        Some(_) => false,
    };
    is_for_signatures && can_verify
}

/// A number or a key in base64. Envoy has words of its own for each that is missing; they all end in the same.
fn bytes(fields: &Struct, name: &str, wrong: Status) -> Result<Vec<u8>, Status> {
    text_of(fields, name).ok().flatten().and_then(decode).filter(|bytes| !bytes.is_empty()).ok_or(wrong)
}

fn rsa(fields: &Struct, algorithm: Option<&str>) -> Result<VerifyingKey, Status> {
    let is_of_rsa = |name: &str| Algorithm::named(name).is_some() && (name.starts_with("RS") || name.starts_with("PS"));
    if algorithm.is_some_and(|name| !is_of_rsa(name)) {
        return Err(Status::RsaBadAlg);
    }
    let (n, e) = (bytes(fields, "n", Status::RsaBad)?, bytes(fields, "e", Status::RsaBad)?);
    VerifyingKey::rsa(&n, &e).ok_or(Status::RsaBad)
}

fn ec(fields: &Struct, algorithm: Option<&str>) -> Result<VerifyingKey, Status> {
    let by_algorithm = match algorithm {
        None => None,
        Some("ES256") => Some(Curve::P256),
        Some("ES384") => Some(Curve::P384),
        Some("ES512") => Some(Curve::P521),
        Some(name) if name.starts_with("ES") => return Err(Status::EcUnknownCurve),
        Some(_) => return Err(Status::EcBadAlg),
    };
    let by_name = match text_of(fields, "crv").map_err(|()| Status::EcUnknownCurve)?.unwrap_or_default() {
        "" => None,
        "P-256" => Some(Curve::P256),
        "P-384" => Some(Curve::P384),
        "P-521" => Some(Curve::P521),
        _ => return Err(Status::EcUnknownCurve),
    };
    let curve = match (by_algorithm, by_name) {
        (Some(curve), Some(other)) if curve != other => return Err(Status::EcOtherCurve),
        (by_algorithm, by_name) => by_algorithm.or(by_name).unwrap_or(Curve::P256),
    };
    let (x, y) = (bytes(fields, "x", Status::EcBadBase64)?, bytes(fields, "y", Status::EcBadBase64)?);
    VerifyingKey::ec(curve, &x, &y).ok_or(Status::EcBad)
}

fn secret(fields: &Struct, algorithm: Option<&str>) -> Result<VerifyingKey, Status> {
    if algorithm.is_some_and(|name| !matches!(name, "HS256" | "HS384" | "HS512")) {
        return Err(Status::OctBadAlg);
    }
    bytes(fields, "k", Status::OctBadBase64).map(|secret| VerifyingKey::secret(&secret))
}

fn ed25519(fields: &Struct, algorithm: Option<&str>) -> Result<VerifyingKey, Status> {
    if algorithm.is_some_and(|name| Algorithm::named(name) != Some(Algorithm::EdDsa)) {
        return Err(Status::OkpBadAlg);
    }
    if text_of(fields, "crv").ok().flatten() != Some("Ed25519") {
        return Err(Status::OkpUnknownCurve);
    }
    VerifyingKey::ed25519(&bytes(fields, "x", Status::OkpBadBase64)?).ok_or(Status::OkpWrongLength)
}

fn are_certificates(set: &Struct) -> bool {
    let is_one = |kind: Option<&Kind>| match kind {
        Some(Kind::StringValue(text)) => text.starts_with(CERTIFICATE_BEGIN) && text.ends_with(CERTIFICATE_END),
        _ => false,
    };
    !set.fields.is_empty() && set.fields.iter().all(|(id, value)| !id.is_empty() && is_one(value.kind.as_ref()))
}

/// The keys of certificates. Who has signed these, and until when they are valid, does not matter: they are only how the keys are
/// written down.
fn certificates(set: &Struct) -> Result<Vec<Key>, Status> {
    let key = |(id, kind): (&String, Option<&Kind>)| {
        let Some(Kind::StringValue(text)) = kind else { return Err(Status::CertificateBad) };
        let inner = text.strip_prefix(CERTIFICATE_BEGIN).and_then(|text| text.strip_suffix(CERTIFICATE_END));
        let inner: String = inner.ok_or(Status::CertificateBad)?.split_ascii_whitespace().collect();
        let der = CertificateDer::from(STANDARD.decode(inner).map_err(|_| Status::CertificateBad)?);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| Status::CertificateBad)?;
        let key = VerifyingKey::rsa_der(&certificate.subject_public_key_info()).ok_or(Status::CertificateNoKey)?;
        Ok(Key { id: id.clone(), algorithm: None, key })
    };
    set.fields.iter().take(MOST_KEYS).map(|(id, value)| key((id, value.kind.as_ref()))).collect()
}
