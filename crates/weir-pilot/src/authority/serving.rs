//! The certificate that a pilot shows to proxies of other machines: of the mesh's authority, for the names and addresses that they call it by.
//! It says no SPIFFE id: it is nobody's in the mesh, and no workload's certificate says such names.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, SanType};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::{Authority, pem};

/// How long it lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

impl Authority {
    /// Makes one with a key of its own.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn certify_pilot(&self, names: &[String], addresses: &[IpAddr], now: SystemTime) -> Result<CertifiedKey, String> {
        let named = names.iter().map(|name| {
            let name = name.as_str().try_into().map_err(|_| format!("{name:?} cannot stand in a certificate"))?;
            Ok(SanType::DnsName(name))
        });
        let named = named.chain(addresses.iter().map(|address| Ok(SanType::IpAddress(*address))));
        let named = named.collect::<Result<Vec<_>, String>>()?;
        let mut key = KeyPair::generate().map_err(|error| error.to_string())?;
        let signed = self.sign(&key, named, Some(LIFETIME), now).map_err(|refusal| refusal.to_string());
        let private = Zeroizing::new(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())));
        key.zeroize();
        let signing = any_supported_type(&private).map_err(|error| error.to_string());
        let between = self.between.iter().flat_map(|text| pem::certificates(text.as_bytes(), "".as_ref()).unwrap_or_default());
        let chain: Vec<CertificateDer<'static>> = std::iter::once(signed?).chain(between).collect();
        Ok(CertifiedKey::new(chain, signing?))
    }
}
