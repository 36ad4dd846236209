//! Tickets by which clients resume their sessions.
//!
//! The keys are the proxy's and not a listener's, so that a listener that changes does not make all of its clients begin anew. A ticket
//! is good only for chains with the same certificates: what a client has been shown, it would be shown again.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use weir_config::tls::{Certificate, Material};

use super::trust::sha256;

/// The keys of one proxy, made when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct TicketKeys(Option<Arc<dyn ProducesTickets>>);

impl TicketKeys {
    /// What writes and reads the tickets of a chain with these certificates; none where there is no randomness to make keys of.
    pub fn of_chain(&mut self, certificates: &[Certificate]) -> Option<Arc<dyn ProducesTickets>> {
        if self.0.is_none() {
            self.0 = Ticketer::new().map_err(|error| tracing::error!(%error, "no keys for tickets of TLS can be made")).ok();
        }
        Some(Arc::new(OfChain { keys: self.0.clone()?, chain: identity(certificates) }))
    }
}

/// Tickets of chains that show the same certificates.
#[derive(Debug)]
struct OfChain {
    keys: Arc<dyn ProducesTickets>,
    chain: [u8; 32],
}

/// Tells certificates from others, by their names if they come by SDS: who renews one does not turn its clients away.
fn identity(certificates: &[Certificate]) -> [u8; 32] {
    let mut all = vec![];
    for certificate in certificates {
        let (kind, text): (u8, &[u8]) = match certificate {
            Certificate::Named(name) => (0, name.as_bytes()),
            Certificate::Written(source) => match &source.chain {
                Material::Inline(pem) => (1, pem),
                Material::File(path) => (2, path.as_bytes()),
            },
        };
        all.push(kind);
        all.extend_from_slice(&(text.len() as u64).to_be_bytes());
        all.extend_from_slice(text);
    }
    sha256(&all)
}

impl ProducesTickets for OfChain {
    fn enabled(&self) -> bool {
        self.keys.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.keys.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.encrypt(&[&self.chain[..], plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.keys.decrypt(cipher)?;
        let session = plain.strip_prefix(&self.chain[..])?.len();
        Some(plain.split_off(plain.len() - session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_chains_with_the_same_certificates_only() {
        let mut keys = TicketKeys::default();
        let mut of = |name: &str| keys.of_chain(&[Certificate::Named(name.into())]).unwrap();
        let (before, after, other) = (of("a"), of("a"), of("b"));
        let ticket = before.encrypt(b"session").unwrap();
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        assert_eq!(TicketKeys::default().of_chain(&[Certificate::Named("a".into())]).unwrap().decrypt(&ticket), None);
    }
}
