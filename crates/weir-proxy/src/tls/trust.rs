//! A validation context with its files read: whether a certificate holds.

use rustls::SupportedCipherSuite;
use rustls::pki_types::{CertificateDer, UnixTime};
use weir_config::CompileError;
use weir_config::tls::Validation;

use super::chain::{Authorities, Side};
use super::refusal::{HandshakeRefusal, listed};
use super::x509::Certificate;

/// What a certificate is measured by.
#[derive(Debug)]
pub(super) struct Trust {
    /// Who vouches for it; where nobody is named, anybody.
    authorities: Option<Authorities>,
    asked: Validation,
}

/// What a peer shows.
pub(super) struct Shown<'s, 'c> {
    /// Its own certificate.
    pub leaf: &'s CertificateDer<'c>,
    /// Those between it and an authority.
    pub others: &'s [CertificateDer<'c>],
}

impl Trust {
    /// Reads what a configuration asks for.
    pub(super) fn new(validation: &Validation) -> Result<Self, CompileError> {
        Ok(Self { authorities: Authorities::read(validation)?, asked: validation.clone() })
    }

    /// The names of those who are trusted.
    pub(super) fn subjects(&self) -> Vec<rustls::DistinguishedName> {
        self.authorities.as_ref().map(Authorities::subjects).unwrap_or_default()
    }

    /// Looks whether a certificate holds; where a host is named, whether it is for that.
    pub(super) fn verify(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side, host: Option<&str>) -> Result<(), HandshakeRefusal> {
        let held = self.verify_all(shown, now, side, host);
        if self.asked.accepts_untrusted { Ok(()) } else { held }
    }

    /// Whether the certificate of `side` holds with which a handshake was finished. Where everything will do, nothing is known of it.
    pub(super) fn holds(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side) -> bool {
        !self.asked.verifies_nothing() && (!self.asked.accepts_untrusted || self.verify_all(shown, now, side, None).is_ok())
    }

    fn verify_all(&self, shown: &Shown<'_, '_>, now: UnixTime, side: Side, host: Option<&str>) -> Result<(), HandshakeRefusal> {
        if let Some(authorities) = &self.authorities {
            authorities.verify(shown.leaf, shown.others, now, side).map_err(HandshakeRefusal::Chain)?;
        }
        let Validation { names, certificates, keys, .. } = &self.asked;
        // Names mean nothing where nobody vouches for them.
        if host.is_some() && self.authorities.is_none() {
            return Err(HandshakeRefusal::Nobody);
        }
        if host.is_none() && names.is_empty() && certificates.is_empty() && keys.is_empty() {
            return Ok(());
        }
        let certificate = Certificate::read(shown.leaf).ok_or(HandshakeRefusal::Malformed)?;
        if let Some(host) = host
            && !certificate.names.iter().any(|name| name.is_for(host))
        {
            return Err(HandshakeRefusal::Host { host: host.into(), presented: listed(&certificate.names) });
        }
        if !names.is_empty() && !names.iter().any(|wanted| certificate.names.iter().any(|name| wanted.matches(name))) {
            return Err(HandshakeRefusal::Names(listed(&certificate.names)));
        }
        let anything_goes = certificates.is_empty() && keys.is_empty();
        if anything_goes || certificates.contains(&sha256(shown.leaf)) || keys.contains(&sha256(certificate.key)) {
            return Ok(());
        }
        Err(HandshakeRefusal::Hash)
    }
}

/// SHA-256, as the handshakes have it.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let SupportedCipherSuite::Tls13(suite) = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else { return [0; 32] };
    suite.common.hash_provider.hash(bytes).as_ref().try_into().unwrap_or([0; 32])
}

#[cfg(test)]
mod tests;
