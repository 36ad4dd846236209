//! What policies look at.

use std::net::{IpAddr, SocketAddr};

use crate::dynamic_metadata::DynamicMetadata;
use crate::filter_metadata::FilterMetadata;
use crate::request::RequestHead;

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts<'f> {
    /// The address that the client connected to; with interception, the one that it meant to.
    pub local: SocketAddr,
    /// The address of who has connected.
    pub direct_remote: IpAddr,
    /// The server name of the TLS handshake; empty if there is none.
    pub server_name: &'f str,
    /// Who the client is by its certificate; none without TLS.
    pub peer: Option<Peer<'f>>,
}

/// What a client has shown of itself in a TLS handshake: nothing, where it has no certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'f> {
    /// The alternative names that are URIs.
    pub uris: &'f [String],
    /// Those of DNS.
    pub dns: &'f [String],
    /// The subject.
    pub subject: &'f str,
}

impl<'f> Peer<'f> {
    /// The names by which it may be known, in Envoy's order.
    pub(super) fn names(self) -> impl Iterator<Item = &'f str> {
        self.uris.iter().chain(self.dns).map(String::as_str).chain(std::iter::once(self.subject))
    }
}

/// What is known of a request, or of a connection whose bytes are no requests.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// The connection.
    pub connection: ConnectionFacts<'f>,
    /// The client's address, as far as proxies before this one are believed.
    pub remote: IpAddr,
    /// The request; none on a connection that carries none.
    pub request: Option<RequestHead<'f>>,
    /// What filters before have left.
    pub metadata: &'f DynamicMetadata,
    /// What the route tells filters; none without a route.
    pub route: Option<&'f FilterMetadata>,
}

impl Facts<'_> {
    /// The path without query and fragment.
    pub(super) fn path(&self) -> Option<&str> {
        let path = self.request?.path;
        let end = path.bytes().position(|byte| byte == b'?' || byte == b'#').unwrap_or(path.len());
        path.get(..end)
    }
}
