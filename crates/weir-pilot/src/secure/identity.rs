//! The certificate that the pilot shows, for what a client calls it: names that somebody has told it, and the address that the client has
//! come to. It is made when it is first needed, and anew when half of its time is gone or the authority is another one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;

use super::clients::AnyClient;
use crate::authority::serving::LIFETIME;
use crate::authority::{Authority, Followed};

/// What is spoken inside.
const HTTP2: &[u8] = b"h2";
/// For so many addresses of this machine one is kept.
const KEPT: usize = 64;

/// What a pilot is called by proxies of other machines, besides the address that they come to.
#[derive(Debug, Clone, Default)]
pub struct PilotNames {
    /// Names.
    pub names: Vec<String>,
    /// Addresses: such as one that leads here from outside.
    pub addresses: Vec<IpAddr>,
}

/// What handshakes are done with.
pub(super) struct ShownIdentity {
    names: PilotNames,
    authority: Followed,
    provider: Arc<CryptoProvider>,
    /// By the address that clients come to.
    made: Mutex<HashMap<IpAddr, Made>>,
}

struct Made {
    config: Arc<ServerConfig>,
    by: Arc<Authority>,
    /// When the next one is made.
    until: SystemTime,
}

impl ShownIdentity {
    pub fn new(names: PilotNames, authority: Followed) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { names, authority, provider, made: Mutex::default() }
    }

    /// What a handshake is done with, of a client that has come to an address of this machine.
    ///
    /// # Errors
    /// If there can be none.
    pub async fn config(&self, local: IpAddr) -> Result<Arc<ServerConfig>, String> {
        let local = local.to_canonical();
        // Of these a machine has millions.
        let local = if local.is_loopback() { Ipv4Addr::LOCALHOST.into() } else { local };
        let (authority, now) = (self.authority.0.borrow().clone(), SystemTime::now());
        if let Some(made) = self.lock().get(&local).filter(|made| Arc::ptr_eq(&made.by, &authority) && made.until > now) {
            return Ok(made.config.clone());
        }
        let (PilotNames { mut names, mut addresses }, provider) = (self.names.clone(), self.provider.clone());
        addresses.push(local);
        if local.is_loopback() {
            names.push("localhost".to_owned());
            addresses.push(Ipv6Addr::LOCALHOST.into());
        }
        let (by, until) = (authority.clone(), (now + LIFETIME / 2).min(authority.ends()));
        // A signature of a large key takes a while.
        let making = tokio::task::spawn_blocking(move || {
            let certificate = authority.certify_pilot(&names, &addresses, now)?;
            make(certificate, provider).map_err(|error| error.to_string())
        });
        let config = making.await.unwrap_or_else(|_| Err("the authority failed".to_owned()));
        let config = config.map_err(|reason| format!("this pilot has no certificate for {local}: {reason}"))?;
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(local, Made { config: config.clone(), by, until });
        Ok(config)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(certificate: rustls::sign::CertifiedKey, provider: Arc<CryptoProvider>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = config.with_client_cert_verifier(Arc::new(AnyClient(provider)));
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![HTTP2.to_vec()];
    // Who comes back shows again who he is.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
