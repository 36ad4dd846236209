//! The PROXY protocol: a connection begins with who the client is, as told by a proxy that stands between
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use weir_routing::CompileError;
use weir_xds::core::ProxyProtocolConfig;
use weir_xds::core::proxy_protocol_config::Version;
use weir_xds::proxy_protocol_filter::ProxyProtocol;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

impl From<Version> for ProxyVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::V1,
            Version::V2 => Self::V2,
        }
    }
}

impl ProxyVersion {
    /// What instances are told in.
    ///
    /// # Errors
    /// If they are to be told more than who the client is: what they do with that nobody knows.
    pub(crate) fn compile(config: Option<&ProxyProtocolConfig>) -> Result<Self, CompileError> {
        let usual = ProxyProtocolConfig::default();
        let config = config.unwrap_or(&usual);
        let ProxyProtocolConfig {
            version: _,
            // Reported: none were kept of the client's connection.
            pass_through_tlvs: _,
            added_tlvs,
        } = config;
        if added_tlvs.is_empty() { Ok(config.version().into()) } else { Err(CompileError::unsupported("added_tlvs")) }
    }
}

/// Which connections of clients a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedClients {
    /// Whether those that begin without a header are taken too.
    pub or_not: bool,
    /// Whether a header may be of version 1.
    pub v1: bool,
    /// Whether it may be of version 2.
    pub v2: bool,
}

impl AnnouncedClients {
    pub(crate) fn compile(filter: &ProxyProtocol) -> Self {
        let ProxyProtocol {
            allow_requests_without_proxy_protocol,
            disallowed_versions,
            // Names statistics.
            stat_prefix: _,
            // Reported: of what a header says besides addresses nothing is kept.
            rules: _,
            pass_through_tlvs: _,
            tlv_location: _,
        } = filter;
        let takes = |version: Version| !disallowed_versions.contains(&(version as i32));
        Self { or_not: *allow_requests_without_proxy_protocol, v1: takes(Version::V1), v2: takes(Version::V2) }
    }

    /// Whether headers of this version are taken.
    pub fn takes(self, version: ProxyVersion) -> bool {
        match version {
            ProxyVersion::V1 => self.v1,
            ProxyVersion::V2 => self.v2,
        }
    }
}
