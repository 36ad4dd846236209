//! The certificates that a pilot shows to proxies of other machines, and as a server of another kind: of the mesh's authority, for the names
//! and addresses that it is called by. They say no SPIFFE id: they are nobody's in the mesh, and no workload's certificate says such names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, SanType};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::{Authority, Followed, pem};

/// How long it lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A certificate of a server of the control plane's.
#[derive(Clone)]
pub struct ServerCertificate {
    /// It and its key.
    pub certified: Arc<CertifiedKey>,
    /// When the next one is to be made: long before it ends.
    pub until: SystemTime,
}

impl Followed {
    /// Makes a certificate for a server that is called by these names and addresses, with a key of its own.
    ///
    /// # Errors
    /// If it cannot be made: one of the names is none, or the authority has ended.
    pub async fn certify_server(&self, names: &[String], addresses: &[IpAddr]) -> Result<ServerCertificate, String> {
        let (authority, now) = (self.0.borrow().clone(), SystemTime::now());
        let until = (now + LIFETIME / 2).min(authority.ends());
        let (names, addresses) = (names.to_vec(), addresses.to_vec());
        // A signature of a large key takes a while.
        let making = tokio::task::spawn_blocking(move || authority.certify_pilot(&names, &addresses, now));
        let certified = making.await.unwrap_or_else(|_| Err("the authority failed".to_owned()))?;
        Ok(ServerCertificate { certified: Arc::new(certified), until })
    }
}

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
