//! What is signed: short-lived certificates with a SPIFFE id, and nothing else.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::{Authority, pem};

/// How long a certificate lasts if nobody asks for anything else, and at most; Istio's.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);
/// Clocks of other machines may be late by so much.
const SKEW: Duration = Duration::from_secs(120);

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The request is none, or who sent it does not have the key.
    #[error("the certificate signing request is refused: {0}")]
    Request(rcgen::Error),
    /// It cannot be signed.
    #[error("nothing can be signed: {0}")]
    Sign(rcgen::Error),
    /// The identity is none that a certificate can hold.
    #[error("{0:?} cannot stand in a certificate")]
    Identity(String),
    /// The system gives nothing to tell certificates apart by.
    #[error("the system has no randomness")]
    Randomness,
    /// Nobody would trust it.
    #[error("the authority's own certificate has ended")]
    Ended,
}

impl Authority {
    /// Signs the key of a request, for a SPIFFE id, for as long as is asked or as is usual. The certificate, those between it and
    /// the root, and the roots, as PEM.
    pub(super) fn certify(&self, request: &str, id: &str, asked: Option<Duration>, now: SystemTime) -> Result<Vec<String>, Refusal> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(Refusal::Request)?;
        let leaf = self.sign(&request.public_key, id, asked, now)?;
        let leaf = std::iter::once(pem::text(&leaf));
        Ok(leaf.chain(self.between.iter().cloned()).chain([self.roots.clone()]).collect())
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        id: &str,
        asked: Option<Duration>,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, Refusal> {
        if self.ends <= now {
            return Err(Refusal::Ended);
        }
        let lifetime = asked.unwrap_or(LIFETIME).clamp(Duration::from_secs(1), LONGEST);
        let name = id.try_into().map_err(|_| Refusal::Identity(id.to_owned()))?;
        let mut params = CertificateParams::default();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + lifetime).min(self.ends).into();
        params.serial_number = Some(serial_number()?);
        params.subject_alt_names = vec![SanType::URI(name)];
        // Without a subject the names are critical.
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(key, &self.issuer).map_err(Refusal::Sign)?;
        Ok(signed.der().clone())
    }
}

/// 128 random bits, of which the highest is not set: the number is positive.
fn serial_number() -> Result<SerialNumber, Refusal> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Refusal::Randomness)?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Looks whether what an authority signs is trusted by its own roots, as proxies look: where there are lists of what was revoked,
/// there must be one of each authority, and none may have ended.
pub(super) fn prove(
    authority: &Authority,
    roots: &[CertificateDer<'_>],
    revoked: &[CertRevocationList<'_>],
    now: SystemTime,
) -> Result<(), String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let leaf = authority.sign(&key, "spiffe://proof", None, now).map_err(|error| error.to_string())?;
    let between = authority.between.iter().flat_map(|text| pem::certificates(text.as_bytes(), "".as_ref()).unwrap_or_default());
    let between: Vec<CertificateDer<'_>> = between.collect();
    let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the clock is before 1970".to_owned())?;
    let certificate = EndEntityCert::try_from(&leaf).map_err(|error| error.to_string())?;
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let (at, usage) = (UnixTime::since_unix_epoch(now), KeyUsage::client_auth());
    let lists: Vec<&CertRevocationList<'_>> = revoked.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Deny);
        options.with_expiration_policy(ExpirationPolicy::Enforce).build()
    });
    let proved = certificate.verify_for_usage(algorithms, &anchors, &between, at, usage, revocation, None);
    proved.map(drop).map_err(|error| match error {
        Error::UnknownRevocationStatus => "what it signs would be refused: ca-crl.pem has no list of one of its authorities".to_owned(),
        Error::CrlExpired { .. } => "what it signs would be refused: a list in ca-crl.pem has ended".to_owned(),
        error => format!("what it signs does not lead to root-cert.pem: {error}"),
    })
}
