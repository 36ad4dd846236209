//! The kinds of resources that an xDS server sends, and their type URLs.

use crate::{cluster, core, endpoint, listener, names, route, tls};
use prost::Name;

/// A kind of xDS resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// CDS: where requests can go.
    Cluster,
    /// EDS: a cluster's instances.
    Endpoint,
    /// ECDS: the configuration of a filter that stands in a listener without it.
    Extension,
    /// LDS: where requests come in.
    Listener,
    /// NDS, which is Istio's: the names of the mesh for questions of DNS.
    NameTable,
    /// RDS: which cluster a request goes to.
    Route,
    /// SDS: certificates and keys.
    Secret,
    /// VHDS: the virtual hosts of route configurations that leave them to resources of their own.
    VirtualHost,
}

impl ResourceType {
    /// All kinds, in the order in which a server sends them, so that nothing is named before it is known
    /// (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>).
    pub const ALL: [Self; 8] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Extension,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
        // A name that clients know leads somewhere.
        Self::NameTable,
    ];

    /// The type URL that stands for it on the wire.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => cluster::Cluster::type_url(),
            Self::Endpoint => endpoint::ClusterLoadAssignment::type_url(),
            Self::Extension => core::TypedExtensionConfig::type_url(),
            Self::Listener => listener::Listener::type_url(),
            Self::NameTable => names::NameTable::type_url(),
            Self::Route => route::RouteConfiguration::type_url(),
            Self::Secret => tls::Secret::type_url(),
            Self::VirtualHost => route::VirtualHost::type_url(),
        }
    }

    /// The kind that a type URL stands for.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoints",
            Self::Extension => "extension configuration",
            Self::Listener => "listener",
            Self::NameTable => "name table",
            Self::Route => "route configuration",
            Self::Secret => "secret",
            Self::VirtualHost => "virtual host",
        }
    }
}

/// The name of the only name table that there is.
pub const NAME_TABLE: &str = "names";

/// The name of a virtual host that is a resource of its own: `ROUTE_CONFIGURATION/HOST`.
pub fn virtual_host_name(route_configuration: &str, host: &str) -> String {
    format!("{route_configuration}/{host}")
}

/// The route configuration of a virtual host that is a resource of its own. A host has no `/` in its name, a route configuration may.
pub fn route_configuration_of(virtual_host: &str) -> Option<&str> {
    virtual_host.rsplit_once('/').map(|(route_configuration, _)| route_configuration)
}
