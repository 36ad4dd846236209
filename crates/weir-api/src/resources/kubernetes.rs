//! Those parts of Kubernetes' own resources that a mesh reads. All else in them is passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, de::Error as _};

use super::meta::Labels;

/// A number, or the name of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IntOrString {
    /// The number.
    Int(i32),
    /// The name.
    String(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<IntOrString, E> {
                i32::try_from(value).map(IntOrString::Int).map_err(|_| E::custom(format_args!("the number {value} is too large")))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<IntOrString, E> {
                i32::try_from(value).map(IntOrString::Int).map_err(|_| E::custom(format_args!("the number {value} is too large")))
            }

            fn visit_str<E>(self, value: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either).map_err(D::Error::custom)
    }
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    /// What it is.
    pub spec: ServiceSpec,
    /// What became of it.
    pub status: ServiceStatus,
}

/// What a Service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` (the default), `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    /// Its address; `None` for a headless one, empty for one without.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// All its addresses; the first is `clusterIP`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses that lead to it from outside.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// The address of its load balancer, as asked for.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// The name that an `ExternalName` stands for.
    pub external_name: String,
    /// The labels of its pods; none means that its endpoints are made by others.
    pub selector: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `None` (the default) or `ClientIP`.
    pub session_affinity: String,
    /// Which endpoints are preferred: `PreferClose`, `PreferSameZone` or `PreferSameNode`; empty means none.
    pub traffic_distribution: String,
    /// `Cluster` (the default) or `Local`, for clients inside.
    pub internal_traffic_policy: String,
    /// `Cluster` (the default) or `Local`, for clients outside.
    pub external_traffic_policy: String,
    /// Whether endpoints count before they are ready.
    pub publish_not_ready_addresses: bool,
}

impl ServiceSpec {
    /// Whether it has no address of its own, only its endpoints'.
    pub fn is_headless(&self) -> bool {
        self.cluster_ip == "None"
    }

    /// Whether it stands for another name.
    pub fn is_external_name(&self) -> bool {
        self.r#type == "ExternalName"
    }
}

/// A Service's port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name; its beginning may tell the protocol.
    pub name: String,
    /// The number that clients use.
    pub port: i32,
    /// The pods' port by number or name; absent means the same number.
    pub target_port: Option<IntOrString>,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
    /// The protocol on top of it; goes before the name.
    pub app_protocol: Option<String>,
    /// The port on every node; 0 means none.
    pub node_port: i32,
}

/// What became of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its load balancer.
    pub load_balancer: LoadBalancerStatus,
}

/// A Service's load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Its addresses.
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a load balancer: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerIngress {
    /// As an IP address.
    pub ip: String,
    /// As a name.
    pub hostname: String,
}

/// An EndpointSlice: some of a Service's endpoints. The label `kubernetes.io/service-name` names the Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Their ports.
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses, of which the first counts.
    pub addresses: Vec<String>,
    /// Its state.
    pub conditions: EndpointConditions,
    /// Its own name below the Service's.
    pub hostname: String,
    /// The node that it runs on.
    pub node_name: String,
    /// The zone that it runs in.
    pub zone: String,
    /// For whom it is meant.
    pub hints: Option<EndpointHints>,
    /// The pod behind it.
    pub target_ref: Option<ObjectReference>,
    /// Where it runs, in version v1beta1.
    pub deprecated_topology: Labels,
    /// The same, by its older name.
    pub topology: Labels,
}

/// The state of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointConditions {
    /// Whether it takes new requests; absent means true.
    pub ready: Option<bool>,
    /// Whether it answers; absent means as `ready`.
    pub serving: Option<bool>,
    /// Whether it is being stopped; absent means false.
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// Whether it takes new requests.
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Whether it answers, although it may be about to stop.
    pub fn is_serving(&self) -> bool {
        self.serving.unwrap_or(self.is_ready())
    }
}

/// For whom an endpoint is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointHints {
    /// Clients of these zones.
    pub for_zones: Vec<NamedHint>,
    /// Clients on these nodes.
    pub for_nodes: Vec<NamedHint>,
}

/// A zone or node by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamedHint {
    /// Its name.
    pub name: String,
}

/// A port of endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    /// The name of the Service's port.
    pub name: String,
    /// The number.
    pub port: i32,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
    /// The protocol on top of it.
    pub app_protocol: Option<String>,
}

/// Another object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectReference {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The API server's identity of it.
    pub uid: String,
}

/// A Service's endpoints, in the form before slices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoints {
    /// Addresses with the same ports.
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses with the same ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Those that are ready.
    pub addresses: Vec<EndpointAddress>,
    /// Those that are not.
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Their ports.
    pub ports: Vec<EndpointPort>,
}

/// An address of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointAddress {
    /// The IP address.
    pub ip: String,
    /// Its own name below the Service's.
    pub hostname: String,
    /// The node that it runs on.
    pub node_name: String,
    /// The pod behind it.
    pub target_ref: Option<ObjectReference>,
}

/// A Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// What it is.
    pub spec: PodSpec,
    /// What became of it.
    pub status: PodStatus,
}

/// What a Pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The service account that it runs as; empty means `default`.
    pub service_account_name: String,
    /// The node that it runs on.
    pub node_name: String,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// Its own name.
    pub hostname: String,
    /// The headless Service below which it has its name.
    pub subdomain: String,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Containers that run before those, or beside them.
    pub init_containers: Vec<Container>,
}

/// A container of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its ports, as far as it tells them.
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name, by which Services may call it.
    pub name: String,
    /// The number.
    pub container_port: i32,
    /// `TCP` (the default), `UDP` or `SCTP`.
    pub protocol: String,
}

/// What became of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// All its addresses; the first is `podIP`.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// Its state in detail.
    pub conditions: Vec<PodCondition>,
}

impl PodStatus {
    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
    }
}

/// An address of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodIp {
    /// The IP address.
    pub ip: String,
}

/// One side of a Pod's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodCondition {
    /// Which side, such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// A Node; all that a mesh reads of it is its labels, which say where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {}

/// A Namespace; all that a mesh reads of it is its metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Namespace {}

/// A Secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Secret {
    /// What is in it, such as `kubernetes.io/tls`.
    pub r#type: String,
    /// Values in base64.
    pub data: BTreeMap<String, String>,
    /// Values as they are; they go before `data`.
    pub string_data: BTreeMap<String, String>,
}

/// Shows the names of the values only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.data.keys().chain(self.string_data.keys()).collect();
        f.debug_struct("Secret").field("type", &self.r#type).field("keys", &names).finish()
    }
}

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigMap {
    /// Values as text.
    pub data: BTreeMap<String, String>,
    /// Values in base64.
    pub binary_data: BTreeMap<String, String>,
}
