//! What the two ends of a connection have shown each other in its TLS handshake, as policies, logs and metrics tell of it. It is read once
//! for a connection.

use std::sync::OnceLock;

use weir_config::http::client_certificate::ShownCertificate;
use weir_routing::template::CertificatePart;

use crate::stats::principals::{Pair, Principals};
use crate::stats::requests::{Reporter, SeriesRegistry};

/// What the ends of a connection have shown each other.
#[derive(Debug, Default)]
pub struct Ends {
    /// The URIs of the certificate that we have shown.
    pub own_uris: Vec<String>,
    /// What the other side has shown.
    pub peer: Option<ShownCertificate>,
    /// The number of the two in the series of its worker, once something was counted.
    pair: OnceLock<Pair>,
}

impl Ends {
    /// After a handshake.
    pub fn new(own_uris: Vec<String>, peer: Option<ShownCertificate>) -> Self {
        Self { own_uris, peer, pair: OnceLock::new() }
    }

    /// The number of the two, where it is the client's connection (`Destination`) or one to an instance (`Source`) that is counted.
    pub fn pair(&self, reporter: Reporter, registry: &SeriesRegistry) -> Pair {
        *self.pair.get_or_init(|| registry.with_pairs(|pairs| pairs.number(reporter, self.principals(reporter))))
    }

    /// Who they are. What nobody vouches for is no name.
    fn principals(&self, reporter: Reporter) -> Principals {
        let peer = self.peer.as_ref().filter(|peer| peer.is_validated);
        let own = self.own_uris.first().map(String::as_str);
        let other = peer.and_then(|peer| peer.uris.first()).map(String::as_str);
        match reporter {
            // Whether an instance has asked for a certificate is known to it alone.
            Reporter::Source => Principals::new(own, other, false),
            Reporter::Destination => Principals::new(other, own, peer.is_some()),
        }
    }

    /// Appends what a log asks for; whether there is such a thing.
    pub fn append(&self, part: CertificatePart, out: &mut Vec<u8>) -> bool {
        let peer = self.peer.as_ref();
        match part {
            CertificatePart::OwnUris => list(&self.own_uris, out),
            CertificatePart::PeerUris => peer.is_some_and(|peer| list(&peer.uris, out)),
            CertificatePart::PeerDnsNames => peer.is_some_and(|peer| list(&peer.dns, out)),
            CertificatePart::PeerSubject => peer.is_some_and(|peer| {
                out.extend_from_slice(peer.subject.as_bytes());
                !peer.subject.is_empty()
            }),
            CertificatePart::PeerFingerprint => peer.is_some_and(|peer| {
                peer.hash.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes()));
                true
            }),
        }
    }
}

fn list(names: &[String], out: &mut Vec<u8>) -> bool {
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    !names.is_empty()
}
