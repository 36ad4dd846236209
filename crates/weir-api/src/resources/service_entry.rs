//! ServiceEntry: a service that no platform knows of by itself.

use serde::Deserialize;

use super::meta::Labels;
use super::protocol::Protocol;
use super::workload::WorkloadEntry;
use crate::field_path::FieldPath;
use crate::node::Node;
use crate::syntax::de::{self, Unknown};

/// The label that keeps a ServiceEntry from being given addresses, where it is `false`.
const AUTO_ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";

/// A service, inside or outside the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Its names; `*.suffix` is possible.
    pub hosts: Vec<String>,
    /// Its own addresses or networks; none means that it is told by port and name only.
    pub addresses: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Whether it belongs to the mesh.
    pub location: Location,
    /// Where its endpoints come from.
    pub resolution: Resolution,
    /// Its endpoints; excludes `workloadSelector`.
    pub endpoints: Vec<WorkloadEntry>,
    /// The labels of the WorkloadEntries and Pods that are its endpoints.
    pub workload_selector: Option<WorkloadSelector>,
    /// The namespaces that may see it: `*`, `.`, `~` or names; none means the mesh's default.
    pub export_to: Vec<String>,
    /// The names of which its servers' certificates must have one.
    pub subject_alt_names: Vec<String>,
}

impl ServiceEntry {
    /// Whether the control plane gives a host addresses of its own, so that clients which ask the mesh for names are told apart by them:
    /// the entry, of these labels, has none, and does not need to know the one that a client asked for. A wildcard is no name to
    /// ask for, but where the name of each request is.
    ///
    /// Facts: pilot/pkg/networking/serviceentry/ip_autoallocation.go and pilot/pkg/controllers/ipallocate of Istio.
    pub fn is_given_addresses(&self, labels: &Labels, host: &str) -> bool {
        let is_wanted = labels.get(AUTO_ALLOCATE).is_none_or(|value| !value.eq_ignore_ascii_case("false"));
        let has_name = self.resolution == Resolution::DynamicDns || !host.starts_with('*');
        is_wanted && has_name && self.resolution != Resolution::None && self.addresses.is_empty()
    }
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// The number that clients use, 1 to 65535.
    pub number: u32,
    /// The protocol by name, in any case; empty means that it is found out.
    pub protocol: String,
    /// Its name, unique in the service.
    pub name: String,
    /// The endpoints' port; 0 means the same number.
    pub target_port: u32,
}

impl ServicePort {
    /// The protocol, if it is a known one.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::parse(&self.protocol)
    }
}

/// Whether a service belongs to the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// No: it has no sidecars.
    #[default]
    MeshExternal,
    /// Yes.
    MeshInternal,
}

/// Where a service's endpoints come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The connection goes to the address that the client asked for.
    #[default]
    None,
    /// From `endpoints` or the selector.
    Static,
    /// From DNS: all addresses of the endpoints' names, or of the host's.
    Dns,
    /// From DNS: one address, asked for anew with new connections.
    DnsRoundRobin,
    /// From DNS: the name that the request asks for, for wildcard hosts.
    DynamicDns,
}

impl Resolution {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Static => "STATIC",
            Self::Dns => "DNS",
            Self::DnsRoundRobin => "DNS_ROUND_ROBIN",
            Self::DynamicDns => "DYNAMIC_DNS",
        }
    }
}

/// A selector of workloads, in the form with `labels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// The labels that a workload must have.
    pub labels: Labels,
}

/// What a control plane notes on a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntryStatus {
    /// Addresses that were given to its hosts.
    pub addresses: Vec<ServiceEntryAddress>,
}

/// An address that was given to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntryAddress {
    /// The address.
    pub value: String,
    /// The host.
    pub host: String,
}

impl ServiceEntryStatus {
    /// Reads the status of a ServiceEntry, given as a whole; one that cannot be read counts as none.
    pub fn read(node: &Node) -> Self {
        let (status, errors) = de::read(node, &FieldPath::default().key("status"), Unknown::Allow);
        if errors.is_empty() { status } else { Self::default() }
    }
}
