//! The certificate that the webhooks show: of the mesh's authority, for the names by which the API server calls them. The next one is made long
//! before it ends, and when the authority is another one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use weir_pilot::{Followed, ServerCertificate};

/// A new authority's certificate is shown so long after it came: the API server is told of its root meanwhile.
const LAG: Duration = Duration::from_secs(5);
/// So often it is looked at the clock: a machine that slept must not wait for a time by which it would have been awake.
const NAP: Duration = Duration::from_secs(60);
/// After an attempt that failed.
const RETRY: Duration = Duration::from_secs(10);

/// What the webhooks are called by: names and addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Called {
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Called {
    /// Whether a host is us.
    pub fn is_us(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address.to_canonical()),
            Err(_) => self.names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        }
    }
}

/// The newest certificate.
pub(super) struct Newest(watch::Receiver<Arc<CertifiedKey>>);

/// Nobody prints a key.
impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newest").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.borrow().clone())
    }
}

/// Makes the first certificate. What is given back besides makes the next ones, for ever.
///
/// # Errors
/// If there can be none.
pub(super) async fn follow(authority: Followed, called: Arc<Called>) -> Result<(Newest, impl Future<Output = ()> + Send), String> {
    let first = authority.certify_server(&called.names, &called.addresses).await?;
    let (sender, newest) = watch::channel(first.certified);
    Ok((Newest(newest), renew(authority, called, sender, first.until)))
}

async fn renew(mut authority: Followed, called: Arc<Called>, newest: watch::Sender<Arc<CertifiedKey>>, mut until: SystemTime) {
    loop {
        tokio::select! {
            () = reached(until) => {}
            true = authority.changed() => tokio::time::sleep(LAG).await,
        }
        until = match authority.certify_server(&called.names, &called.addresses).await {
            Ok(ServerCertificate { certified, until }) => {
                newest.send_replace(certified);
                until
            }
            Err(reason) => {
                tracing::error!("the webhooks go on with their last certificate, since no other can be made: {reason}");
                SystemTime::now() + RETRY
            }
        };
    }
}

/// Waits until it is so late.
async fn reached(until: SystemTime) {
    while let Ok(left) = until.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let called = Called {
            names: vec!["istiod.istio-system.svc".to_owned()],
            addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };
        for (host, expected) in [
            ("istiod.istio-system.svc", true),
            ("ISTIOD.istio-system.svc", true),
            ("istiod.other.svc", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("[::1]", true),
            ("::1", true),
            ("", false),
        ] {
            assert_eq!(called.is_us(host), expected, "{host}");
        }
    }
}
