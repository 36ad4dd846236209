//! EnvoyFilter: changes to the configuration that proxies get, in Envoy's own terms.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::service_entry::WorkloadSelector;

/// Changes to the configuration of some proxies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvoyFilter {
    /// The workloads; absent means all of the namespace, or of the mesh in the root namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// What it is attached to; excludes `workloadSelector`.
    pub target_refs: Vec<PolicyTargetReference>,
    /// The changes, in order.
    pub config_patches: Vec<EnvoyConfigObjectPatch>,
    /// Lower ones are applied first.
    pub priority: i32,
}

/// A resource that a policy is attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyTargetReference {
    /// Its group; empty means Kubernetes' core.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, which must be the policy's own.
    pub namespace: String,
}

/// One change.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvoyConfigObjectPatch {
    /// What kind of object is changed.
    pub apply_to: ApplyTo,
    /// Which objects of that kind; absent means all.
    pub r#match: Option<EnvoyConfigObjectMatch>,
    /// The change.
    pub patch: Option<Patch>,
}

/// What kind of object is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // Each is Envoy's object of that name.
pub enum ApplyTo {
    /// Not said, which is refused.
    #[default]
    Invalid,
    Listener,
    FilterChain,
    NetworkFilter,
    HttpFilter,
    RouteConfiguration,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
    Bootstrap,
    ListenerFilter,
}

impl ApplyTo {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Listener => "LISTENER",
            Self::FilterChain => "FILTER_CHAIN",
            Self::NetworkFilter => "NETWORK_FILTER",
            Self::HttpFilter => "HTTP_FILTER",
            Self::RouteConfiguration => "ROUTE_CONFIGURATION",
            Self::VirtualHost => "VIRTUAL_HOST",
            Self::HttpRoute => "HTTP_ROUTE",
            Self::Cluster => "CLUSTER",
            Self::ExtensionConfig => "EXTENSION_CONFIG",
            Self::Bootstrap => "BOOTSTRAP",
            Self::ListenerFilter => "LISTENER_FILTER",
        }
    }
}

/// Which objects are changed: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvoyConfigObjectMatch {
    /// For which traffic.
    pub context: PatchContext,
    /// Of which proxies.
    pub proxy: Option<ProxyMatch>,
    /// Which listeners, or parts of them; excludes the three below.
    pub listener: Option<ListenerMatch>,
    /// Which routes, or parts of them.
    pub route_configuration: Option<RouteConfigurationMatch>,
    /// Which clusters.
    pub cluster: Option<ClusterMatch>,
    /// Which parts of a waypoint.
    pub waypoint: Option<WaypointMatch>,
}

/// For which traffic a patch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchContext {
    /// All of it, at sidecars and gateways.
    #[default]
    Any,
    /// To a sidecar's workload.
    SidecarInbound,
    /// From a sidecar's workload.
    SidecarOutbound,
    /// Through a gateway.
    Gateway,
    /// Through a waypoint.
    Waypoint,
}

/// Of which proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyMatch {
    /// An expression for the proxy's version.
    pub proxy_version: String,
    /// Metadata that the proxy's node must have.
    pub metadata: BTreeMap<String, String>,
}

/// Which listeners, or parts of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerMatch {
    /// The port; 0 means any.
    pub port_number: u32,
    /// The port's name; neither Istio nor Weir looks at it.
    pub port_name: String,
    /// Which of its filter chains; absent means all.
    pub filter_chain: Option<FilterChainMatch>,
    /// The name of one of its listener filters.
    pub listener_filter: String,
    /// Its name; empty means any.
    pub name: String,
}

/// Which filter chains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterChainMatch {
    /// Its name; empty means any.
    pub name: String,
    /// One of the server names that it is for.
    pub sni: String,
    /// The transport that it is for, `raw_buffer` or `tls`.
    pub transport_protocol: String,
    /// The application protocols that it is for, separated by commas.
    pub application_protocols: String,
    /// Which of its filters; absent means all.
    pub filter: Option<FilterMatch>,
    /// The port that it is for; 0 means any.
    pub destination_port: u32,
}

/// Which network filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterMatch {
    /// Its name.
    pub name: String,
    /// Which of its own filters; absent means all.
    pub sub_filter: Option<SubFilterMatch>,
}

/// Which HTTP filters within the connection manager.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubFilterMatch {
    /// Its name.
    pub name: String,
}

/// Which route configurations, or parts of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteConfigurationMatch {
    /// The port; 0 means any.
    pub port_number: u32,
    /// The name of a Gateway's port; empty means any.
    pub port_name: String,
    /// A Gateway, as `namespace/name`; empty means any.
    pub gateway: String,
    /// Which of its virtual hosts; absent means all.
    pub vhost: Option<VirtualHostMatch>,
    /// Its name; empty means any.
    pub name: String,
}

/// Which virtual hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VirtualHostMatch {
    /// Its name, `host:port`; empty means any.
    pub name: String,
    /// One of its domains; empty means any.
    pub domain_name: String,
    /// Which of its routes; absent means all.
    pub route: Option<RouteMatch>,
}

/// Which routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteMatch {
    /// Its name; empty means any.
    pub name: String,
    /// What it does.
    pub action: RouteAction,
}

/// What a route does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RouteAction {
    /// Anything.
    #[default]
    Any,
    /// It forwards.
    Route,
    /// It redirects.
    Redirect,
    /// It answers.
    DirectResponse,
}

/// Which clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterMatch {
    /// The service's port; 0 means any.
    pub port_number: u32,
    /// The service's host; empty means any.
    pub service: String,
    /// The subset; empty means any.
    pub subset: String,
    /// Its whole name; empty means any.
    pub name: String,
}

/// Which parts of a waypoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WaypointMatch {
    /// The service's port; 0 means any.
    pub port_number: u32,
    /// Which filters; absent means all.
    pub filter: Option<FilterMatch>,
    /// Which routes; absent means all.
    pub route: Option<RouteMatch>,
}

/// A change.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Patch {
    /// What is done.
    pub operation: PatchOperation,
    /// Envoy's object, or the part of it that is merged.
    pub value: Option<serde_json::Value>,
    /// Among which filters a new one is put.
    pub filter_class: FilterClass,
}

/// What a patch does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchOperation {
    /// Not said, which is refused.
    #[default]
    Invalid,
    /// Merges the value in; lists grow.
    Merge,
    /// Adds the value at the end.
    Add,
    /// Takes the object away.
    Remove,
    /// Puts the value before the object.
    InsertBefore,
    /// Puts the value after the object.
    InsertAfter,
    /// Puts the value before all others.
    InsertFirst,
    /// Puts the value in the object's place.
    Replace,
    /// Merges the value in; lists are replaced.
    MergeAndReplaceList,
}

/// Among which filters a new one is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilterClass {
    /// Where the operation says.
    #[default]
    Unspecified,
    /// After those that find out who the client is.
    Authn,
    /// After those that decide what the client may.
    Authz,
    /// Before those that count.
    Stats,
}
