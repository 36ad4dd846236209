//! The proxy's own certificate of the mesh: it makes a key, which never leaves it, has that certified, and does so again with
//! another key well before the certificate ends.
//!
//! Where that cannot be done, or what is answered is of no use, the last certificate stays in use, and the log says until when.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, watch};
use weir_config::tls::{Material, Validation};
use zeroize::{Zeroize, Zeroizing};

use super::pilot::Presented;
use crate::tls::issued;
use crate::tls::secrets::OwnSecrets;

/// Pauses between attempts: from the first to the last.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// So often the clock is looked at until a certificate is renewed.
const SLICE: Duration = Duration::from_secs(30);

/// Has a certificate signing request (PEM) answered, for a certificate that lasts as long as is said, or as is usual: the
/// certificate, those above it, and as the last one the authorities', as PEM.
pub type Sign = Arc<dyn Fn(String, Option<Duration>) -> Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send>> + Send + Sync>;

/// How a proxy comes to its certificate.
#[derive(Clone)]
pub struct Certification {
    /// Asks the authority.
    pub sign: Sign,
    /// The namespace of the proxy: it is no workload of another one.
    pub namespace: String,
    /// How long a certificate shall last; none leaves it to the authority.
    pub lifetime: Option<Duration>,
    /// Notified when another one is needed at once: the proxy is somebody else now.
    pub again: Arc<Notify>,
    /// Where the pilot's connection finds each, if who asks shows it there.
    pub presented: Option<Arc<Presented>>,
}

/// A certificate that was issued.
pub struct Issued {
    /// It, and those above it, as PEM.
    pub chain: String,
    /// Its key, which is overwritten when nobody needs it any more.
    pub key: Zeroizing<PrivateKeyDer<'static>>,
    /// The authorities, as PEM.
    pub authorities: String,
}

impl Certification {
    /// Keeps a proxy's certificate new, for as long as somebody looks at it. `read` makes of each what is looked at.
    pub async fn run<T>(self, id: Arc<str>, newest: watch::Sender<Option<T>>, read: impl Fn(Issued) -> Result<T, String>) {
        let mut pause = MIN_PAUSE;
        let (mut ends, mut told) = (None, String::new());
        while !newest.is_closed() {
            let obtained = self.obtain().await;
            let usable = |issued: Issued| {
                let end = issued.check(&self.namespace, SystemTime::now())?;
                self.presented.as_ref().map_or(Ok(()), |presented| presented.put(&issued, end))?;
                Ok((end, read(issued)?))
            };
            let next = match obtained.and_then(usable) {
                Ok((end, made)) => {
                    pause = MIN_PAUSE;
                    ends = Some(end);
                    tracing::debug!(proxy = %id, "has a new certificate");
                    newest.send_replace(Some(made));
                    Next::At(renewal(end, SystemTime::now()))
                }
                Err(reason) => {
                    // Where nobody ever was it is said once.
                    if ends.is_some() || told != reason {
                        tell(&id, ends, &reason);
                        told = reason;
                    }
                    let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    pause = (pause * 2).min(MAX_PAUSE);
                    Next::In(wait)
                }
            };
            tokio::select! {
                () = next.wait() => {}
                () = self.again.notified() => {}
                () = newest.closed() => return,
            }
        }
    }

    async fn obtain(&self) -> Result<Issued, String> {
        let mut key = KeyPair::generate().map_err(|error| format!("no key can be made: {error}"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).and_then(|request| request.pem());
        let answer = match request {
            Ok(request) => (self.sign)(request, self.lifetime).await,
            Err(error) => Err(format!("no certificate signing request can be made: {error}")),
        };
        let private = Zeroizing::new(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())));
        key.zeroize();
        Issued::of(&answer?, private)
    }
}

impl Issued {
    /// What the authority answered to a request for this key.
    fn of(answer: &[String], key: Zeroizing<PrivateKeyDer<'static>>) -> Result<Self, String> {
        let (authorities, chain) = answer.split_last().ok_or("the authority's answer is empty")?;
        Ok(Self { chain: chain.concat(), key, authorities: authorities.clone() })
    }

    /// Looks whether it is of use: it fits its key, leads to the authorities that were answered, holds now, and is for a workload of
    /// this namespace. When it ends.
    fn check(&self, namespace: &str, now: SystemTime) -> Result<SystemTime, String> {
        let (chain, end) = (certificates(&self.chain)?, end(&self.chain)?);
        if end <= now {
            return Err("the certificate has ended already".to_owned());
        }
        self.certified(chain.clone())?;
        crate::tls::secrets::check_issued(&chain, &self.validation(), namespace, now)?;
        Ok(end)
    }

    /// The certificate with its key, of which no copy is made.
    pub(super) fn certified(&self, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, String> {
        let wrong = |error| format!("the certificate does not fit the key: {error}");
        let certified = CertifiedKey::new(chain, any_supported_type(&self.key).map_err(wrong)?);
        certified.keys_match().map_err(wrong).map(|()| certified)
    }

    fn validation(&self) -> Validation {
        Validation { trusted: Some(Material::Inline(Bytes::from(self.authorities.clone()))), ..Validation::default() }
    }

    /// What handshakes need of it.
    ///
    /// # Errors
    /// If it does not fit its key, or the authorities cannot be used.
    pub(crate) fn secrets(self) -> Result<OwnSecrets, String> {
        let authorities = self.validation();
        let certificate = self.certified(certificates(&self.chain)?)?;
        OwnSecrets::new(certificate, authorities).map_err(|error| format!("the authorities are refused: {error}"))
    }
}

pub(super) fn certificates(chain: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| format!("the authority's answer is not a certificate: {error}"))
}

/// When the first certificate of a chain ends.
fn end(chain: &str) -> Result<SystemTime, String> {
    let chain = certificates(chain)?;
    let own = chain.first().ok_or("the authority's answer holds no certificate")?;
    let end = issued::read(own).and_then(|own| u64::try_from(own.not_after).ok()).ok_or("the certificate cannot be read")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

/// When the next one is asked for: when half of the time is gone, or a little less, so that not all ask at once.
fn renewal(ends: SystemTime, now: SystemTime) -> SystemTime {
    let left = ends.duration_since(now).unwrap_or_default();
    now + left.mul_f64(0.4 + fastrand::f64() / 10.0).max(MIN_PAUSE)
}

/// When the authority is asked again.
enum Next {
    At(SystemTime),
    In(Duration),
}

impl Next {
    async fn wait(self) {
        match self {
            Self::At(time) => wait_until(time, SystemTime::now).await,
            Self::In(pause) => tokio::time::sleep(pause).await,
        }
    }
}

/// Waits until a time of the clock on the wall. The clock by which tasks sleep stands still while the machine does.
async fn wait_until(at: SystemTime, now: impl Fn() -> SystemTime) {
    while let Ok(left) = at.duration_since(now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(SLICE)).await;
    }
}

fn tell(id: &str, ends: Option<SystemTime>, reason: &str) {
    match ends.map(|ends| ends.duration_since(SystemTime::now())) {
        None => tracing::warn!(proxy = %id, "has no certificate of the mesh yet: {reason}"),
        Some(Ok(left)) => {
            tracing::warn!(proxy = %id, "its certificate cannot be renewed, and ends in {} s: {reason}", left.as_secs());
        }
        Some(Err(_)) => tracing::error!(proxy = %id, "its certificate has ended, nobody in the mesh accepts it: {reason}"),
    }
}

#[cfg(test)]
mod tests;
