//! Where rules lead to.

use serde::Deserialize;

/// A service, or one of its subsets, as the target of traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Destination {
    /// The service's name; a short one is of the rule's own namespace.
    pub host: String,
    /// A subset that a DestinationRule defines; empty for the whole service.
    pub subset: String,
    /// The service's port; it may be left away where the service has one only.
    pub port: Option<PortSelector>,
}

impl Destination {
    /// The port's number, if one is given.
    pub fn port_number(&self) -> Option<u32> {
        self.port.as_ref().map(|port| port.number)
    }
}

/// A port, by number; by name where an Ingress says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PortSelector {
    /// The number, 1 to 65535.
    pub number: u32,
    /// The name, in place of a number, of which only Ingresses make use.
    #[serde(skip)]
    pub name: String,
}
