//! What is known of a client's connection before its first request.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_config::http::client_certificate::ShownCertificate;
use weir_routing::rbac::{ConnectionFacts, Peer};

use super::ends::Ends;
use super::peer::LastHeard;
use crate::io::transparent::Source;

/// What is known of a client's connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Unique in this process.
    pub id: u64,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Where it was going to before the kernel sent it here, if that is known.
    pub original_destination: Option<SocketAddr>,
    /// The client's address.
    pub remote: SocketAddr,
    /// Who has connected: the client, or a proxy before this one that tells who that is.
    pub direct_remote: SocketAddr,
    /// In whose name instances are called for it; none if in this process's own.
    pub source: Option<Source>,
    /// The server name of its TLS handshake.
    pub server_name: Option<Arc<str>>,
    /// The version of TLS that it speaks.
    pub tls_version: Option<&'static str>,
    /// What it and we have shown of ourselves in its TLS handshake.
    pub ends: Option<Box<Ends>>,
    /// Which workload it has told to be.
    pub heard: LastHeard,
}

impl ConnectionInfo {
    /// What the client has shown of itself.
    pub fn certificate(&self) -> Option<&ShownCertificate> {
        self.ends.as_ref()?.peer.as_ref()
    }

    /// What policies look at of it.
    pub fn facts(&self) -> ConnectionFacts<'_> {
        let shown = self.certificate().map(|shown| Peer { uris: &shown.uris, dns: &shown.dns, subject: &shown.subject });
        ConnectionFacts {
            local: self.local,
            direct_remote: self.direct_remote.ip(),
            server_name: self.server_name.as_deref().unwrap_or_default(),
            peer: self.tls_version.map(|_| shown.unwrap_or_default()),
        }
    }
}
