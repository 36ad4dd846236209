//! What the two ends of a connection have shown each other in its TLS handshake, as policies, logs and metrics tell of it. It is read once
//! for a connection.

use std::io::Write;
use std::sync::OnceLock;

use weir_config::http::client_certificate::ShownCertificate;
use weir_config::peer_metadata::namespace_of;
use weir_routing::template::CertificatePart;

use super::peer::PeerWorkload;
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
    /// Whether both are of a mesh.
    are_members: bool,
}

/// The identities of two workloads of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Members<'e> {
    /// Our own.
    pub own: &'e str,
    /// The other side's.
    pub peer: &'e str,
    /// The namespace of the other side.
    pub namespace: &'e str,
}

impl Ends {
    /// After a handshake.
    pub fn new(own_uris: Vec<String>, peer: Option<ShownCertificate>) -> Self {
        let mut ends = Self { own_uris, peer, pair: OnceLock::new(), are_members: true };
        ends.are_members = ends.members().is_some_and(|members| namespace_of(members.own).is_some());
        ends
    }

    /// Whether both sides have shown certificates of a mesh, and ours held.
    pub fn are_members(&self) -> bool {
        self.are_members
    }

    /// Both sides by the certificates of a mesh that they have shown each other; none if one has shown none, or nobody vouches for the other
    /// side's. That ours is of a mesh tells that the other side's was measured by what the mesh trusts.
    pub fn members(&self) -> Option<Members<'_>> {
        let peer = self.peer.as_ref().filter(|peer| self.are_members && peer.is_validated)?;
        let (own, peer) = (self.own_uris.first()?, peer.uris.first()?);
        Some(Members { own, peer, namespace: namespace_of(peer)? })
    }

    /// The number of the two, where it is the client's connection (`Destination`) or one to an instance (`Source`) that is counted.
    pub fn pair(&self, reporter: Reporter, registry: &SeriesRegistry) -> Pair {
        *self.pair.get_or_init(|| registry.with_pairs(|pairs| pairs.number(reporter, self.principals(reporter))))
    }

    /// The same, where the other side tells which workload it is.
    pub fn pair_with(&self, peer: &PeerWorkload, reporter: Reporter, registry: &SeriesRegistry) -> Pair {
        peer.pair(|| {
            let pair = self.pair(reporter, registry);
            registry.with_pairs(|pairs| pairs.number_of_workload(pair, &peer.metadata.workload))
        })
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
                write_line(&peer.subject, out);
                !peer.subject.is_empty()
            }),
            CertificatePart::PeerFingerprint => peer.is_some_and(|peer| {
                // Writing to memory does not fail.
                peer.hash.iter().all(|byte| write!(out, "{byte:02x}").is_ok())
            }),
        }
    }
}

fn list(names: &[String], out: &mut Vec<u8>) -> bool {
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_line(name, out);
    }
    !names.is_empty()
}

/// Whoever makes a certificate chooses its names; none of them begins a line of the log.
fn write_line(name: &str, out: &mut Vec<u8>) {
    out.extend(name.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_tell_of_certificates_as_envoys_do() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let peer = ShownCertificate {
            hash: vec![0, 0xab],
            subject: "CN=a\n[forged]".to_owned(),
            uris: words(&["spiffe://a/b", "spiffe://a/c\r"]),
            dns: words(&["a.test"]),
            ..ShownCertificate::default()
        };
        let told = |ends: &Ends, part| {
            let mut out = vec![];
            ends.append(part, &mut out).then(|| String::from_utf8(out).expect("UTF-8"))
        };
        let ends = Ends::new(words(&["spiffe://a/own"]), Some(peer));
        for (part, expected) in [
            (CertificatePart::PeerUris, "spiffe://a/b,spiffe://a/c?"),
            (CertificatePart::PeerDnsNames, "a.test"),
            (CertificatePart::PeerSubject, "CN=a?[forged]"),
            (CertificatePart::PeerFingerprint, "00ab"),
            (CertificatePart::OwnUris, "spiffe://a/own"),
        ] {
            assert_eq!(told(&ends, part).as_deref(), Some(expected), "{part:?}");
            assert_eq!(told(&Ends::default(), part), None, "{part:?}");
        }
    }
}
