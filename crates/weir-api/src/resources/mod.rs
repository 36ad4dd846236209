//! The resources, one module for each kind. Field names, defaults and meanings are those of Istio's API
//! (<https://istio.io/latest/docs/reference/config/networking/>) and Kubernetes'.
//!
//! Where protobuf cannot tell an absent scalar from its zero, neither do these types; where absence means
//! something, the field is an `Option`.

pub mod authorization_policy;
pub mod controller;
pub mod destination;
pub mod destination_rule;
pub mod duration;
pub mod envoy_filter;
pub mod extension_provider;
pub mod gateway;
pub mod http_policy;
pub mod ingress;
pub mod kubernetes;
pub mod load_balancer;
pub mod mesh_config;
pub mod meta;
pub mod peer_authentication;
pub mod protocol;
pub mod proxy_config;
pub mod request_authentication;
pub mod service_entry;
pub mod sidecar;
pub mod spec;
pub mod string_match;
pub mod virtual_service;
pub mod workload;

pub use authorization_policy::AuthorizationPolicy;
pub use destination_rule::DestinationRule;
pub use duration::Duration;
pub use envoy_filter::EnvoyFilter;
pub use gateway::Gateway;
pub use mesh_config::MeshConfig;
pub use peer_authentication::PeerAuthentication;
pub use protocol::Protocol;
pub use proxy_config::ProxyConfig;
pub use request_authentication::RequestAuthentication;
pub use service_entry::ServiceEntry;
pub use sidecar::Sidecar;
pub use spec::Spec;
pub use string_match::StringMatch;
pub use virtual_service::VirtualService;
pub use workload::{WorkloadEntry, WorkloadGroup};
