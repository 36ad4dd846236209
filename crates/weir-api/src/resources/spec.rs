//! The content of an object, whatever its kind.

use super::ingress::Ingress;
use super::kubernetes::{ConfigMap, EndpointSlice, Endpoints, Namespace, Node, Pod, Secret, Service};
use super::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, RequestAuthentication, ServiceEntry, Sidecar,
    VirtualService, WorkloadEntry, WorkloadGroup,
};

/// An object's content.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // Each is the content of the kind of that name.
pub enum Spec {
    VirtualService(VirtualService),
    DestinationRule(Box<DestinationRule>),
    Gateway(Gateway),
    ServiceEntry(ServiceEntry),
    WorkloadEntry(WorkloadEntry),
    WorkloadGroup(WorkloadGroup),
    Sidecar(Sidecar),
    EnvoyFilter(EnvoyFilter),
    RequestAuthentication(RequestAuthentication),
    AuthorizationPolicy(AuthorizationPolicy),
    PeerAuthentication(PeerAuthentication),
    Ingress(Ingress),
    Service(Service),
    EndpointSlice(EndpointSlice),
    Endpoints(Endpoints),
    Pod(Pod),
    Node(Node),
    Namespace(Namespace),
    Secret(Secret),
    ConfigMap(ConfigMap),
}
