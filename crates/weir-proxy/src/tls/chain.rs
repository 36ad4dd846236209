//! Whether somebody who is trusted vouches for a certificate: its chain, how long it is, and what was revoked.

use std::collections::HashSet;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};
use weir_config::CompileError;
use weir_config::tls::{Material, Validation};

use super::secrets::read;

/// So often another time is tried where certificates may have expired: each brings one more of them into its time.
const OTHER_TIMES: usize = 8;

/// Which side shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// Who is trusted, and what was revoked.
#[derive(Debug)]
pub(super) struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
    /// Which of these lists are further ones of authorities that have one.
    further: Vec<usize>,
    revokes_leaf_only: bool,
    allows_expired: bool,
    max_depth: Option<usize>,
}

impl Authorities {
    /// Reads those of a configuration; none if it names none.
    pub(super) fn read(validation: &Validation) -> Result<Option<Self>, CompileError> {
        let Some(source) = &validation.trusted else { return Ok(None) };
        let pem = read(source).map_err(|error| error.within("trusted_ca"))?;
        let certificates = of_pem::<CertificateDer<'static>>(&pem, "trusted_ca")?;
        if certificates.is_empty() {
            return Err(CompileError::new("trusted_ca", "holds no certificate"));
        }
        // Lists may stand beside the certificates.
        let mut listed = of_pem::<CertificateRevocationListDer<'static>>(&pem, "trusted_ca")?;
        if let Some(source) = &validation.revoked {
            listed.extend(lists(source)?);
        }
        let anchor = |certificate: &CertificateDer<'static>| anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned());
        let anchors = certificates.iter().map(anchor).collect::<Result<_, _>>();
        let revoked =
            listed.iter().map(|list| OwnedCertRevocationList::from_der(list).map(CertRevocationList::from)).collect::<Result<_, _>>();
        let revoked: Vec<CertRevocationList<'static>> = revoked.map_err(|error: Error| CompileError::new("crl", error.to_string()))?;
        let mut issuers = HashSet::new();
        let further = revoked.iter().enumerate().filter(|(_, list)| !issuers.insert(list.issuer())).map(|(at, _)| at).collect();
        Ok(Some(Self {
            anchors: anchors.map_err(|error: Error| CompileError::new("trusted_ca", error.to_string()))?,
            revoked,
            further,
            certificates,
            revokes_leaf_only: validation.revokes_leaf_only,
            allows_expired: validation.allows_expired,
            max_depth: validation.max_depth.map(|depth| usize::try_from(depth).unwrap_or(usize::MAX)),
        }))
    }

    /// The names of those who are trusted, for clients to choose a certificate by.
    pub(super) fn subjects(&self) -> Vec<rustls::DistinguishedName> {
        self.anchors.iter().map(|anchor| rustls::DistinguishedName::in_sequence(&anchor.subject)).collect()
    }

    /// Looks whether a certificate holds.
    pub(super) fn verify(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime, side: Side) -> Result<(), Error> {
        let mut time = now;
        for _ in 0..OTHER_TIMES {
            let result = self.verify_at(leaf, others, time, side);
            time = match result {
                Err(Error::CertExpired { not_after, .. }) if self.allows_expired => not_after,
                Err(Error::CertNotValidYet { not_before, .. }) if self.allows_expired => not_before,
                result => return result,
            };
        }
        self.verify_at(leaf, others, time, side)
    }

    fn verify_at(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], time: UnixTime, side: Side) -> Result<(), Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        self.verify_by(&lists, leaf, others, time, side)?;
        // Of an authority's lists the first is looked at: what another one of them revokes is revoked as well.
        for further in &self.further {
            let mut lists = lists.clone();
            lists.swap(0, *further);
            if let Err(Error::CertRevoked) = self.verify_by(&lists, leaf, others, time, side) {
                return Err(Error::CertRevoked);
            }
        }
        Ok(())
    }

    fn verify_by(
        &self,
        lists: &[&CertRevocationList<'_>],
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        time: UnixTime,
        side: Side,
    ) -> Result<(), Error> {
        let certificate = EndEntityCert::try_from(leaf)?;
        // As with Envoy, one list for one authority asks for a list of each.
        let revocation = RevocationOptionsBuilder::new(lists).ok().map(|options| {
            let depth = if self.revokes_leaf_only { RevocationCheckDepth::EndEntity } else { RevocationCheckDepth::Chain };
            let options = options.with_depth(depth).with_status_policy(UnknownStatusPolicy::Deny);
            options.with_expiration_policy(ExpirationPolicy::Enforce).build()
        });
        let is_short = |path: &VerifiedPath<'_>| match self.max_depth {
            Some(most) if path.intermediate_certificates().count() > most => Err(Error::MaximumPathDepthExceeded),
            _ => Ok(()),
        };
        let usage = match side {
            Side::Server => KeyUsage::server_auth(),
            Side::Client => KeyUsage::client_auth(),
        };
        let algorithms = super::provider().signature_verification_algorithms.all;
        let verified = certificate.verify_for_usage(algorithms, &self.anchors, others, time, usage, revocation, Some(&is_short));
        match verified {
            Ok(_) => Ok(()),
            // A certificate that vouches for itself, and is trusted itself. Its time has been looked at before this.
            Err(Error::CaUsedAsEndEntity) if self.certificates.iter().any(|trusted| trusted == leaf) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The lists of what was revoked that a source holds.
pub(super) fn lists(source: &Material) -> Result<Vec<CertificateRevocationListDer<'static>>, CompileError> {
    let pem = read(source).map_err(|error| error.within("crl"))?;
    let lists = of_pem(&pem, "crl")?;
    // A file that is just being written, or one of DER: without a list nothing would be revoked.
    if lists.is_empty() { Err(CompileError::new("crl", "holds no list as PEM")) } else { Ok(lists) }
}

fn of_pem<T: PemObject>(pem: &[u8], field: &str) -> Result<Vec<T>, CompileError> {
    T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| CompileError::new(field, error.to_string()))
}
