//! A question: what would become of this connection or request.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer};

/// One connection that a proxy gets, with one request on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Which side of the proxy it comes to.
    #[serde(default)]
    pub direction: Direction,
    /// The address that the client connects to.
    #[serde(default = "unknown_address")]
    pub address: IpAddr,
    /// The port that the client connects to.
    pub port: u16,
    /// What the client speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether it speaks it within TLS.
    #[serde(default)]
    pub tls: Tls,
    /// What it offers by ALPN; what is usual for its protocol if it is not said.
    #[serde(default)]
    pub alpn: Option<String>,
    /// The server name of its handshake.
    #[serde(default)]
    pub sni: Option<String>,
    /// The client's address.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Who the client is by its certificate, as `cluster.local/ns/default/sa/default`.
    #[serde(default)]
    pub principal: Option<String>,
    /// The host that the request names, with a port if it has one.
    #[serde(default)]
    pub host: Option<String>,
    /// The method; GET if it is not said.
    #[serde(default)]
    pub method: Option<String>,
    /// The path with its query; `/` if it is not said.
    #[serde(default)]
    pub path: Option<String>,
    /// Its other headers. One that the request has several times has a list of values.
    #[serde(default, deserialize_with = "headers")]
    pub headers: BTreeMap<String, Vec<String>>,
}

/// Most headers have one value, which may stand there as it is.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Values {
        One(String),
        Several(Vec<String>),
    }
    let values = |values| match values {
        Values::One(value) => vec![value],
        Values::Several(values) => values,
    };
    let written = BTreeMap::<String, Values>::deserialize(deserializer)?;
    Ok(written.into_iter().map(|(name, written)| (name, values(written))).collect())
}

/// Stands for an address that nobody said: one for documentation (RFC 5737), which no service has.
pub const UNKNOWN_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// An address that no service has.
fn unknown_address() -> IpAddr {
    [1, 3, 3, 7].into()
}

/// Which side of a proxy a call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A gateway's only one; a sidecar's outbound side.
    #[default]
    Auto,
    /// From a sidecar's own workload.
    Outbound,
    /// To a sidecar's own workload.
    Inbound,
    /// To a gateway.
    Gateway,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP/2.
    #[serde(rename = "HTTP2")]
    Http2,
    /// Anything else.
    #[serde(rename = "TCP")]
    Tcp,
}

/// Whether a client speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It does not.
    #[default]
    Plaintext,
    /// It does, and shows no certificate of the mesh.
    Tls,
    /// It does, with a certificate of the mesh.
    Mtls,
}

impl Call {
    /// Where it comes from.
    pub(super) fn client(&self) -> IpAddr {
        self.source.unwrap_or(UNKNOWN_ADDRESS)
    }

    /// Where it connects to.
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// What it offers by ALPN in a TLS handshake, or what its first bytes show that it speaks.
    pub(super) fn application_protocol(&self) -> Option<&str> {
        let usual = match (self.tls, self.protocol) {
            (Tls::Plaintext, Protocol::Http) => "http/1.1",
            (Tls::Plaintext, Protocol::Http2) => "h2c",
            (Tls::Tls, Protocol::Http) => "http/1.1",
            (Tls::Tls, Protocol::Http2) => "h2",
            (Tls::Mtls, Protocol::Http) => "istio-http/1.1",
            (Tls::Mtls, Protocol::Http2) => "istio-h2",
            (Tls::Mtls, Protocol::Tcp) => "istio",
            (Tls::Plaintext | Tls::Tls, Protocol::Tcp) => return self.alpn.as_deref(),
        };
        Some(self.alpn.as_deref().unwrap_or(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_one_value_or_a_list_of_them() {
        let call: Call =
            serde_json::from_str(r#"{"port": 80, "headers": {"x-a": "1", "x-b": ["2", "3"]}}"#).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(call.headers["x-a"], ["1"]);
        assert_eq!(call.headers["x-b"], ["2", "3"]);
    }
}
