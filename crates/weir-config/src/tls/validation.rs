//! What is asked of the other side's certificate: `CertificateValidationContext`.
//!
//! As with Envoy, nothing is verified where nothing is asked: without a trusted CA every certificate will do, without matchers
//! every name.

use std::sync::Arc;

use base64::Engine as _;
use weir_routing::CompileError;
use weir_xds::tls::certificate_validation_context::TrustChainVerification;
use weir_xds::tls::common_tls_context::CombinedCertificateValidationContext;
use weir_xds::tls::{CertificateValidationContext, SdsSecretConfig};

use super::names::NameMatcher;
use super::sources::{Material, secret_name};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// What is asked of a certificate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Validation {
    /// The authorities that are believed, as PEM; without them the chain is not verified.
    pub trusted: Option<Material>,
    /// What they have revoked, as PEM.
    pub revoked: Option<Material>,
    /// One of the certificate's names must be one of these, if there are any.
    pub names: Vec<NameMatcher>,
    /// It must be one of these certificates, or have one of these keys, if there are any.
    pub certificates: Vec<Hash>,
    /// The hashes of the keys (`SubjectPublicKeyInfo`).
    pub keys: Vec<Hash>,
    /// Whether it may have expired, or not be valid yet.
    pub allows_expired: bool,
    /// Whether one that does not hold is accepted all the same.
    pub accepts_untrusted: bool,
    /// Whether only the certificate itself must not be revoked, and not those above it.
    pub revokes_leaf_only: bool,
    /// How many certificates may be between it and the authority.
    pub max_depth: Option<u32>,
}

/// Where that is said.
#[derive(Debug, Clone, PartialEq)]
pub enum ValidationSource {
    /// In the configuration.
    Written(Validation),
    /// In a secret that comes by SDS, under this name.
    Named(Arc<str>),
    /// In both: the secret completes what the configuration says.
    Combined {
        /// What the configuration says.
        written: Box<Validation>,
        /// The secret's name.
        name: Arc<str>,
    },
}

impl Validation {
    /// Compiles an xDS context, which may be a part of one: see [`Self::check`].
    ///
    /// # Errors
    /// If it is not valid, or asks for what is not carried out.
    #[allow(deprecated)] // Older control planes use the older form of names.
    pub fn compile(context: &CertificateValidationContext) -> Result<Self, CompileError> {
        let CertificateValidationContext {
            trusted_ca,
            ca_certificate_provider_instance,
            system_root_certs,
            // Files are read when the configuration comes: reported, see `unsupported`.
            watched_directory: _,
            verify_certificate_spki,
            verify_certificate_hash,
            match_typed_subject_alt_names,
            match_subject_alt_names,
            require_signed_certificate_timestamp,
            crl,
            allow_expired_certificate,
            trust_chain_verification: _,
            custom_validator_config,
            only_verify_leaf_cert_crl,
            max_verify_depth,
            // Clients are told of the authorities or not; that is only a hint to them.
            suppress_client_ca_list: _,
        } = context;
        let refused = [
            ("ca_certificate_provider_instance", ca_certificate_provider_instance.is_some()),
            ("system_root_certs", system_root_certs.is_some()),
            ("require_signed_certificate_timestamp", require_signed_certificate_timestamp.unwrap_or(false)),
            ("custom_validator_config", custom_validator_config.is_some()),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, is_set)| *is_set) {
            return Err(CompileError::unsupported(field));
        }
        let typed = match_typed_subject_alt_names.iter().map(NameMatcher::compile).collect::<Result<Vec<_>, _>>();
        let mut names = typed.map_err(|error| error.within("match_typed_subject_alt_names"))?;
        // Envoy reads the older form only where the newer one says nothing.
        if names.is_empty() {
            let older = match_subject_alt_names.iter().map(NameMatcher::of_every_kind).collect::<Result<Vec<_>, _>>();
            names.extend(older.map_err(|error| error.within("match_subject_alt_names"))?.into_iter().flatten());
        }
        Ok(Self {
            trusted: Material::compile(trusted_ca.as_ref()).map_err(|error| error.within("trusted_ca"))?,
            revoked: Material::compile(crl.as_ref()).map_err(|error| error.within("crl"))?,
            names,
            certificates: hashes(verify_certificate_hash, from_hexadecimal, "verify_certificate_hash")?,
            keys: hashes(verify_certificate_spki, from_base64, "verify_certificate_spki")?,
            allows_expired: *allow_expired_certificate,
            accepts_untrusted: context.trust_chain_verification() == TrustChainVerification::AcceptUntrusted,
            revokes_leaf_only: *only_verify_leaf_cert_crl,
            max_depth: *max_verify_depth,
        })
    }

    /// Looks whether it is whole: names, revocations and expiry mean nothing where nobody vouches for the certificate.
    ///
    /// # Errors
    /// If an authority is missing. Envoy refuses it, too.
    pub fn check(self) -> Result<Self, CompileError> {
        let needs = [
            ("crl", self.revoked.is_some()),
            ("match_typed_subject_alt_names", !self.names.is_empty()),
            ("allow_expired_certificate", self.allows_expired),
        ];
        match needs.into_iter().find(|(_, is_set)| *is_set && self.trusted.is_none()) {
            Some((field, _)) => Err(CompileError::new(field, "means nothing without a trusted_ca")),
            None => Ok(self),
        }
    }

    /// Whether every certificate will do.
    pub fn verifies_nothing(&self) -> bool {
        self.trusted.is_none() && self.certificates.is_empty() && self.keys.is_empty()
    }

    /// What a context and a secret say together: lists are joined, of other fields the secret's counts, where it has one.
    #[must_use]
    pub fn completed_by(&self, secret: &Self) -> Self {
        let Self { trusted, revoked, names, certificates, keys, allows_expired, accepts_untrusted, revokes_leaf_only, max_depth } = secret;
        Self {
            trusted: trusted.clone().or_else(|| self.trusted.clone()),
            revoked: joined(self.revoked.as_ref(), revoked.as_ref()),
            names: self.names.iter().chain(names).cloned().collect(),
            certificates: self.certificates.iter().chain(certificates).copied().collect(),
            keys: self.keys.iter().chain(keys).copied().collect(),
            allows_expired: self.allows_expired || *allows_expired,
            accepts_untrusted: self.accepts_untrusted || *accepts_untrusted,
            revokes_leaf_only: self.revokes_leaf_only || *revokes_leaf_only,
            max_depth: max_depth.or(self.max_depth),
        }
    }
}

impl ValidationSource {
    pub(super) fn written(context: &CertificateValidationContext) -> Result<Self, CompileError> {
        Validation::compile(context).and_then(Validation::check).map(Self::Written)
    }

    pub(super) fn named(config: &SdsSecretConfig) -> Result<Self, CompileError> {
        secret_name(config).map(Self::Named)
    }

    pub(super) fn combined(context: &CombinedCertificateValidationContext) -> Result<Self, CompileError> {
        #[allow(deprecated)] // So that they are refused.
        let CombinedCertificateValidationContext {
            default_validation_context,
            validation_context_sds_secret_config: secret,
            validation_context_certificate_provider: provider,
            validation_context_certificate_provider_instance: instance,
        } = context;
        if provider.is_some() || instance.is_some() {
            return Err(CompileError::unsupported("validation_context_certificate_provider"));
        }
        let written = default_validation_context.as_ref().map(Validation::compile).transpose();
        let written = written.map_err(|error| error.within("default_validation_context"))?.unwrap_or_default();
        let secret = secret.as_ref();
        let secret = secret.ok_or_else(|| CompileError::missing("validation_context_sds_secret_config"))?;
        let name = secret_name(secret).map_err(|error| error.within("validation_context_sds_secret_config"))?;
        Ok(Self::Combined { written: Box::new(written), name })
    }

    /// The name of the secret, where there is one.
    pub fn secret_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Written(_) => None,
            Self::Named(name) | Self::Combined { name, .. } => Some(name),
        }
    }

    /// Whether every certificate will do; of what a secret says that is not known.
    pub fn verifies_nothing(&self) -> bool {
        matches!(self, Self::Written(written) if written.verifies_nothing())
    }
}

/// What either of two revokes: of that nothing is left out. Files have been read by then.
fn joined(one: Option<&Material>, other: Option<&Material>) -> Option<Material> {
    match (one, other) {
        (Some(Material::Inline(one)), Some(Material::Inline(other))) => Some(Material::Inline([one, &b"\n"[..], other].concat().into())),
        (one, other) => other.or(one).cloned(),
    }
}

fn hashes(written: &[String], read: fn(&str) -> Option<Hash>, field: &str) -> Result<Vec<Hash>, CompileError> {
    let hash = |text: &String| read(text).ok_or_else(|| CompileError::new(field, format!("`{text}` is no SHA-256 hash")));
    written.iter().map(hash).collect()
}

/// 64 digits, with or without colons between the bytes.
fn from_hexadecimal(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn from_base64(text: &str) -> Option<Hash> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(context: Value) -> Result<Validation, String> {
        let context: CertificateValidationContext = weir_xds::json::from_value(context).unwrap();
        Validation::compile(&context).and_then(Validation::check).map_err(|error| error.to_string())
    }

    #[test]
    fn hashes_are_read_as_openssl_prints_them() {
        let plain = "df6ff72fe9116521268f6f2dd4966f51df479883fe7037b39f75916ac3049d1a";
        let colons: Vec<String> = plain.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
        let spki = "NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=";
        let both = compile(json!({"verifyCertificateHash": [plain, colons.join(":")], "verifyCertificateSpki": [spki]})).unwrap();
        assert_eq!(both.certificates[0], both.certificates[1]);
        assert_eq!((both.certificates[0][0], both.keys[0][0]), (0xdf, 0x36));
        for bad in ["", "df6f", &plain[1..], "zz6ff72fe9116521268f6f2dd4966f51df479883fe7037b39f75916ac3049d1a"] {
            let error = compile(json!({"verifyCertificateHash": [bad]})).unwrap_err();
            assert_eq!(error, format!("verify_certificate_hash: `{bad}` is no SHA-256 hash"));
        }
        assert!(compile(json!({"verifyCertificateSpki": [plain]})).is_err());
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_its_name() {
        let dns = json!([{"sanType": "DNS", "matcher": {"exact": "a"}}]);
        let cases = [
            (json!({"systemRootCerts": {}}), "system_root_certs: is not supported"),
            (json!({"customValidatorConfig": {"name": "envoy.tls.cert_validator.spiffe"}}), "custom_validator_config: is not supported"),
            (json!({"trustedCa": {"environmentVariable": "CA"}}), "trusted_ca.environment_variable: is not supported"),
            (json!({"matchTypedSubjectAltNames": dns}), "match_typed_subject_alt_names: means nothing without a trusted_ca"),
            (json!({"crl": {"filename": "/crl"}}), "crl: means nothing without a trusted_ca"),
            (json!({"allowExpiredCertificate": true}), "allow_expired_certificate: means nothing without a trusted_ca"),
            (
                json!({"matchTypedSubjectAltNames": [{"sanType": "DNS", "matcher": {}}]}),
                "match_typed_subject_alt_names.matcher.string_match.match_pattern: is missing",
            ),
        ];
        for (context, error) in cases {
            assert_eq!(compile(context).unwrap_err(), error);
        }
    }

    #[test]
    fn the_older_form_of_names_is_for_names_of_every_sort() {
        let older = json!([{"exact": "a.example"}]);
        let both = json!({"trustedCa": {"filename": "/ca"}, "matchSubjectAltNames": older});
        assert_eq!(compile(both).unwrap().names.len(), 4);
    }

    #[test]
    fn a_secret_completes_what_the_context_says() {
        let names = |text: &str| json!([{"sanType": "DNS", "matcher": {"exact": text}}]);
        let part = |context: Value| Validation::compile(&weir_xds::json::from_value(context).unwrap()).unwrap();
        let written = part(json!({"matchTypedSubjectAltNames": names("a"), "maxVerifyDepth": 3, "trustedCa": {"filename": "/old"}}));
        let secret =
            part(json!({"trustedCa": {"filename": "/ca"}, "matchTypedSubjectAltNames": names("b"), "allowExpiredCertificate": true}));
        let all = written.completed_by(&secret).check().unwrap();
        assert_eq!(all.trusted, Some(Material::File("/ca".into())));
        assert_eq!((all.names.len(), all.max_depth, all.allows_expired), (2, Some(3), true));
        assert!(Validation { trusted: None, ..written }.completed_by(&Validation::default()).check().is_err());
    }
}
