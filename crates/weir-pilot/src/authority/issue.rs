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
pub(super) const LIFETIME: Duration = Duration::from_secs(24 * 3600);
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
        let leaf = self.sign_identity(&request.public_key, id, asked, now)?;
        let leaf = std::iter::once(pem::text(&leaf));
        Ok(leaf.chain(self.between.iter().cloned()).chain([self.roots.clone()]).collect())
    }

    fn sign_identity(
        &self,
        key: &impl PublicKeyData,
        id: &str,
        asked: Option<Duration>,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, Refusal> {
        let name = id.try_into().map_err(|_| Refusal::Identity(id.to_owned()))?;
        self.sign(key, vec![SanType::URI(name)], asked, now)
    }

    /// Signs a key for these names.
    pub(super) fn sign(
        &self,
        key: &impl PublicKeyData,
        names: Vec<SanType>,
        asked: Option<Duration>,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, Refusal> {
        if self.ends <= now {
            return Err(Refusal::Ended);
        }
        let lifetime = asked.unwrap_or(LIFETIME).clamp(Duration::from_secs(1), LONGEST);
        let mut params = CertificateParams::default();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + lifetime).min(self.ends).into();
        params.serial_number = Some(serial_number()?);
        params.subject_alt_names = names;
        // Without a subject the names are critical.
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(key, &self.issuer).map_err(Refusal::Sign)?;
        Ok(signed.der().clone())
    }
}

/// The names that a request asks for; who makes it need not ask for any.
pub(super) fn asked_names(request: &str) -> Result<Vec<SanType>, Refusal> {
    let request = CertificateSigningRequestParams::from_pem(request).map_err(Refusal::Request)?;
    Ok(request.params.subject_alt_names)
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
    let leaf = authority.sign_identity(&key, "spiffe://proof", None, now).map_err(|error| error.to_string())?;
    let between = authority.between.iter().flat_map(|text| pem::certificates(text.as_bytes(), "".as_ref()).unwrap_or_default());
    let between: Vec<CertificateDer<'_>> = between.collect();
    let proved = leads_to(&leaf, &between, &Trusted { roots, revoked }, now);
    proved.map_err(|error| match error {
        Error::UnknownRevocationStatus => "what it signs would be refused: ca-crl.pem has no list of one of its authorities".to_owned(),
        Error::CrlExpired { .. } => "what it signs would be refused: a list in ca-crl.pem has ended".to_owned(),
        error => format!("what it signs does not lead to root-cert.pem: {error}"),
    })
}

/// What certificates are to lead to.
pub(super) struct Trusted<'t> {
    pub roots: &'t [CertificateDer<'t>],
    /// What was revoked; may be empty.
    pub revoked: &'t [CertRevocationList<'t>],
}

/// Whether a certificate holds now for a client, and leads to what is trusted.
pub(super) fn leads_to(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    trusted: &Trusted<'_>,
    now: SystemTime,
) -> Result<(), Error> {
    let Trusted { roots, revoked } = trusted;
    let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>()?;
    // Before 1970 nothing holds.
    let at = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let certificate = EndEntityCert::try_from(leaf)?;
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let lists: Vec<&CertRevocationList<'_>> = revoked.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Deny);
        options.with_expiration_policy(ExpirationPolicy::Enforce).build()
    });
    certificate.verify_for_usage(algorithms, &anchors, between, at, KeyUsage::client_auth(), revocation, None).map(drop)
}
