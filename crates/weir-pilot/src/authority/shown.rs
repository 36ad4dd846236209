//! Certificates that clients show: whether they are of the mesh, and whose they are.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use webpki::Error;
use weir_ads::Certified;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::issue::{Trusted, leads_to};
use super::{Authority, Followed, pem};

/// So long after its end a certificate's connection stays: streams on it are told first why they end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection was begun with.
pub(crate) struct Beginning {
    chain: Arc<[CertificateDer<'static>]>,
    /// What was judged.
    pub certificate: Result<Option<Certified>, String>,
    authority: watch::Receiver<Arc<Authority>>,
}

impl Followed {
    /// Judges what a client has shown in the handshake.
    pub(crate) async fn judge(&self, chain: Vec<CertificateDer<'static>>) -> Beginning {
        let (chain, mut authority) = (Arc::from(chain), self.0.clone());
        let now = authority.borrow_and_update().clone();
        Beginning { certificate: judge(now, &chain).await, chain, authority }
    }
}

impl Beginning {
    /// Waits until the certificate that a connection was begun with ends, or the authority is another one that does not accept it: a
    /// connection of what it once was lasts no longer. For ever where none was accepted: each call on it is refused, or shows a token.
    pub(crate) async fn ended(self) {
        let Self { chain, certificate, mut authority } = self;
        let Ok(Some(certified)) = certificate else { return std::future::pending().await };
        let left = certified.ends.duration_since(SystemTime::now()).unwrap_or_default();
        let end = tokio::time::sleep(left + FAREWELL);
        tokio::pin!(end);
        loop {
            let now = tokio::select! {
                () = &mut end => return,
                // One that never changes says nothing any more.
                Ok(()) = authority.changed() => authority.borrow_and_update().clone(),
            };
            if judge(now, &chain).await.is_err() {
                return;
            }
        }
    }
}

/// A signature of a large key takes a while.
async fn judge(authority: Arc<Authority>, chain: &Arc<[CertificateDer<'static>]>) -> Result<Option<Certified>, String> {
    let chain = chain.clone();
    let judged = tokio::task::spawn_blocking(move || authority.judge(&chain, SystemTime::now())).await;
    judged.unwrap_or_else(|_| Err("the certificate cannot be looked at".to_owned()))
}

impl Authority {
    /// Whose a certificate is, if it leads to the mesh's roots, holds now and was not revoked; none if none was shown.
    ///
    /// # Errors
    /// What is wrong with it, and whose it says it is.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Option<Certified>, String> {
        let Some((leaf, between)) = chain.split_first() else { return Ok(None) };
        let id = only_name(leaf);
        let wrong = |reason: &str| format!("the certificate of {:?} {reason}", id.as_deref().unwrap_or("nobody"));
        let nowhere = Path::new("");
        let unusable = |_| wrong("cannot be looked at, since the mesh's roots cannot be used");
        let roots = pem::certificates(self.roots.as_bytes(), nowhere).map_err(unusable)?;
        // That there may be none, who reads lists wants to be told.
        let lists = if self.roots.contains(pem::LIST) { self.roots.as_bytes() } else { &[] };
        let revoked = pem::revocation_lists(lists, nowhere).map_err(unusable)?;
        leads_to(leaf, between, &Trusted { roots: &roots, revoked: &revoked }, now).map_err(|error| wrong(&words(&error)))?;
        let ends = pem::end(leaf, nowhere).map_err(|_| wrong("has no end"))?;
        match &id {
            Some(id) => Ok(Some(Certified { id: id.clone(), ends })),
            None => Err(wrong("does not say one SPIFFE id alone")),
        }
    }
}

/// The name in a certificate, if that is one alone, and a URI.
fn only_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, read) = parse_x509_certificate(certificate).ok()?;
    match read.subject_alternative_name().ok()??.value.general_names.as_slice() {
        [GeneralName::URI(only)] => Some((*only).to_owned()),
        _ => None,
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::CertExpired { .. } => "has ended".to_owned(),
        Error::CertNotValidYet { .. } => "does not hold yet".to_owned(),
        Error::CertRevoked => "was revoked".to_owned(),
        // Authorities of two meshes may have one name, and are told apart by their keys.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => "is of another authority than the mesh's".to_owned(),
        Error::UnknownRevocationStatus => "is of an authority that has no list of what it has revoked".to_owned(),
        error => format!("does not hold: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, SanType};
    use tokio::time::Instant;

    use super::*;

    /// A certificate of an authority for these names, that lasts for a minute from then.
    fn signed(authority: &Authority, names: &[&str], then: SystemTime) -> CertificateDer<'static> {
        let names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
        authority.sign(&KeyPair::generate().unwrap(), names, Some(Duration::from_secs(60)), then).unwrap()
    }

    #[test]
    fn a_certificate_of_the_mesh_says_whose_it_is_and_any_other_is_refused() {
        let (own, other) = (Authority::in_memory("td").unwrap(), Authority::in_memory("td").unwrap());
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        const CART: &str = "spiffe://td/ns/shop/sa/cart";
        let good = own.judge(&[signed(&own, &[CART], now)], now).unwrap().unwrap();
        assert_eq!(good.id, CART);
        assert!(good.ends > now && good.ends <= now + Duration::from_secs(60));
        assert_eq!(own.judge(&[], now), Ok(None));
        for (certificate, expected) in [
            (signed(&other, &[CART], now), "is of another authority"),
            (signed(&own, &[CART], now - hour), "has ended"),
            (signed(&own, &[CART], now + hour), "does not hold yet"),
            (signed(&own, &[CART, "spiffe://td/ns/a/sa/b"], now), "one SPIFFE id alone"),
            (signed(&own, &[], now), "one SPIFFE id alone"),
            (CertificateDer::from(vec![1, 2, 3]), "does not hold"),
        ] {
            let refused = own.judge(&[certificate], now).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lasts_as_long_as_its_certificate_or_as_it_is_accepted() {
        let day = Duration::from_secs(24 * 3600);
        let (own, other) = (Authority::in_memory("td").unwrap(), Authority::in_memory("td").unwrap());
        let cart = SanType::URI("spiffe://td/ns/shop/sa/cart".try_into().unwrap());
        let chain = vec![own.sign(&KeyPair::generate().unwrap(), vec![cart], Some(day), SystemTime::now()).unwrap()];
        // It trusts what both have signed.
        let roots = own.roots.clone() + &other.roots;
        let both = Authority { roots, ..Authority::in_memory("td").unwrap() };
        let (now, watched) = watch::channel(Arc::new(own));
        let begun = async || Followed(watched.clone()).judge(chain.clone()).await;

        let (start, first) = (Instant::now(), begun().await);
        now.send_replace(Arc::new(both));
        first.ended().await;
        assert!(start.elapsed() > day / 2, "it was accepted all the time: {:?}", start.elapsed());

        let (start, second) = (Instant::now(), begun().await);
        now.send_replace(Arc::new(other));
        second.ended().await;
        assert!(start.elapsed() < day / 2, "nobody of this mesh trusts it any more: {:?}", start.elapsed());

        let (nothing, stranger) = (Followed(watched.clone()).judge(vec![]).await, begun().await);
        assert!(stranger.certificate.is_err());
        for endless in [nothing, stranger] {
            assert!(tokio::time::timeout(day * 10, endless.ended()).await.is_err());
        }
    }
}
