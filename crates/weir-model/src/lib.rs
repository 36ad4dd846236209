//! The canonical model of a mesh: services and their instances, and the rules about them, with everything
//! decided that does not depend on a wire format: who sees what, which rule wins, what is merged.
//!
//! A [`MeshSnapshot`] does not change. A change of objects makes a new one of it, which shares with it all that does not
//! depend on them, and says what does ([`Changes`]). [`Scope`] is what one proxy knows of it, [`MergedGateway`] what a
//! gateway serves.

mod address;
pub mod authorization_policy;
mod by_age;
pub mod changes;
mod delegate;
pub mod destination_rule;
pub mod destination_rules;
pub mod envoy_filter;
pub mod gateway;
pub mod host;
pub mod identity;
pub mod ingress;
pub mod peer_authentication;
pub mod proxy;
pub mod registry;
pub mod request_authentication;
pub mod rule;
pub mod scope;
mod scopes;
pub mod service;
pub mod sidecar;
pub mod snapshot;
pub mod topology;
pub mod tree;
pub mod virtual_service;
pub mod virtual_services;
pub mod visibility;
pub mod workload_group;

pub use address::canonical;
pub use authorization_policy::AuthorizationPolicy;
pub use changes::{Changes, Name, Subject};
pub use destination_rule::{DestinationRule, EffectivePolicy};
pub use envoy_filter::EnvoyFilter;
pub use gateway::{GatewayPort, GatewayServer, MergedGateway};
pub use identity::Identity;
pub use peer_authentication::{MutualTls, PeerAuthentications, WorkloadTls};
pub use proxy::{Interception, Proxy, ProxyKind};
pub use registry::Services;
pub use registry::workload::Workload;
pub use registry::workloads::Workloads;
pub use request_authentication::{FetchedKeys, KeyAddress, RequestAuthentication};
pub use rule::Origin;
pub use scope::{EgressListener, OutboundPolicy, Scope};
pub use service::{AutomaticAddresses, Endpoint, Health, Peers, Registry, Resolution, Service, ServicePort, TrafficDistribution};
pub use sidecar::Sidecar;
pub use snapshot::{DEFAULT_DOMAIN, MeshSnapshot};
pub use virtual_service::{HttpRule, MESH, TcpRule, TlsRule, VirtualService};
pub use visibility::Visibility;
pub use workload_group::{Probe, WorkloadGroups, WorkloadHealth, WorkloadKey};
