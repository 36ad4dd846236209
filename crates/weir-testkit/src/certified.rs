//! A mesh whose proxies have certificates.

use std::net::Ipv4Addr;
use std::path::Path;

/// How the proxies of a mesh come to certificates of it.
pub struct Certified<'c> {
    /// The folder with the authority.
    pub authority: &'c Path,
    /// How long certificates last.
    pub lifetime: &'c str,
}

impl Certified<'_> {
    /// Where the application has its sidecar that a mesh with certificates has besides: the one with the label `app: app`.
    pub const APPLICATION: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 20);
}
