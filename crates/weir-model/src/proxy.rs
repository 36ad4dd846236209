//! A proxy, as the control plane sees it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use weir_api::resources::workload::PROXY_TYPE;

/// What a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// It stands beside a workload.
    Sidecar,
    /// It stands at the edge of the mesh: a gateway.
    Router,
}

impl ProxyKind {
    /// What the proxy of a workload with these labels is, by [`PROXY_TYPE`].
    pub fn of_workload(labels: &BTreeMap<String, String>) -> Self {
        match labels.get(PROXY_TYPE) {
            Some(name) if name == Self::Router.name() => Self::Router,
            _ => Self::Sidecar,
        }
    }

    /// As it stands in a node id.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// How traffic comes to a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interception {
    /// By the addresses that the applications connect to.
    #[default]
    None,
    /// All of it, redirected by the kernel.
    Redirect,
    /// All of it: what is sent to the workload comes as it was sent, and the workload sees who sent it.
    Tproxy,
}

impl Interception {
    /// Istio's word for it, as it stands in a node's metadata (`INTERCEPTION_MODE`).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
        }
    }

    /// What such a word means; any other, or none, is Istio's default.
    pub fn of_name(name: Option<&str>) -> Self {
        match name {
            Some("NONE") => Self::None,
            Some("TPROXY") => Self::Tproxy,
            _ => Self::Redirect,
        }
    }

    /// Whether the kernel hands traffic to the sidecar.
    pub fn is_captured(self) -> bool {
        self != Self::None
    }
}

/// A proxy that a configuration is made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Its id, unique in the mesh: `sidecar~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN`.
    pub id: String,
    /// What it is for.
    pub kind: ProxyKind,
    /// The name of its workload.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The labels of its workload.
    pub labels: BTreeMap<String, String>,
    /// Its addresses in their [`canonical`](crate::canonical) form; the first is the one that it is known by.
    pub addresses: Vec<String>,
    /// Where it says that it runs, `region/zone/subzone`; may be empty. What is known of its workload goes before it:
    /// [`MeshSnapshot::locality_of`](crate::MeshSnapshot::locality_of).
    pub locality: String,
    /// How traffic comes to it.
    pub interception: Interception,
}

impl Proxy {
    /// Its address.
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("127.0.0.1", String::as_str)
    }

    /// Whether its workload has an address of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|address| address.parse::<Ipv6Addr>().is_ok())
    }

    /// Whether its workload has an address of IPv4, as far as is known: it has if none of IPv6 is.
    pub fn has_ipv4(&self) -> bool {
        !self.has_ipv6() || self.addresses.iter().any(|address| address.parse::<Ipv4Addr>().is_ok())
    }

    /// Whether a selector picks it: all of the selector's labels are its labels. An empty selector picks all.
    pub fn is_selected(&self, selector: &BTreeMap<String, String>) -> bool {
        selects(selector, &self.labels)
    }

    /// The id of a proxy.
    pub fn make_id(kind: ProxyKind, address: &str, name: &str, namespace: &str, domain: &str) -> String {
        format!("{}~{address}~{name}.{namespace}~{namespace}.svc.{domain}", kind.name())
    }

    /// Reads a node id: what it is for, its address, name and namespace.
    pub fn parse_id(id: &str) -> Option<(ProxyKind, String, String, String)> {
        let mut parts = id.split('~');
        let kind = match parts.next()? {
            "sidecar" => ProxyKind::Sidecar,
            "router" => ProxyKind::Router,
            _ => return None,
        };
        let address = parts.next()?.to_owned();
        let (name, namespace) = parts.next()?.rsplit_once('.')?;
        Some((kind, address, name.to_owned(), namespace.to_owned()))
    }
}

/// Whether all labels of a selector are among `labels`.
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let id = Proxy::make_id(ProxyKind::Sidecar, "10.0.0.1", "reviews-v1", "default", "cluster.local");
        assert_eq!(id, "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local");
        assert_eq!(Proxy::parse_id(&id), Some((ProxyKind::Sidecar, "10.0.0.1".into(), "reviews-v1".into(), "default".into())));
        assert_eq!(Proxy::parse_id("waypoint~x"), None);
    }
}
