//! A resource, encoded.

use std::sync::Arc;

use weir_xds::cluster::Cluster;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;
use weir_xds::{Any, Message, Name};

use crate::patches::port_of;

/// A resource, encoded once for all who get it.
#[derive(Debug, PartialEq)]
pub struct Encoded {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// The packed message.
    pub body: Any,
    /// The assignment that a cluster needs whose instances come apart.
    pub endpoints: Option<Arc<str>>,
    /// Whether it is a route configuration that leaves virtual hosts to resources of their own.
    pub is_divided: bool,
    /// The port that a listener is at.
    pub port: Option<u32>,
}

impl Encoded {
    pub(super) fn new<M: Message + Name>(kind: ResourceType, name: &str, message: &M) -> Arc<Self> {
        Self::packed(kind, name.into(), Any::pack(message))
    }

    pub(super) fn packed(kind: ResourceType, name: Arc<str>, body: Any) -> Arc<Self> {
        Arc::new(Self { kind, name, body, endpoints: None, is_divided: false, port: None })
    }

    pub(super) fn listener(listener: &Listener) -> Arc<Self> {
        let (kind, name) = (ResourceType::Listener, listener.name.as_str().into());
        Arc::new(Self { kind, name, body: Any::pack(listener), endpoints: None, is_divided: false, port: port_of(listener) })
    }

    pub(super) fn route(configuration: &RouteConfiguration) -> Arc<Self> {
        Self::new(ResourceType::Route, &configuration.name, configuration)
    }

    pub(super) fn cluster(cluster: &Cluster) -> Arc<Self> {
        let name: Arc<str> = cluster.name.as_str().into();
        let needed = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
        let endpoints = needed.map(|needed| if *needed == *name { name.clone() } else { needed.into() });
        Arc::new(Self { kind: ResourceType::Cluster, name, body: Any::pack(cluster), endpoints, is_divided: false, port: None })
    }

    pub(super) fn assignment(assignment: &ClusterLoadAssignment) -> Arc<Self> {
        Self::new(ResourceType::Endpoint, &assignment.cluster_name, assignment)
    }
}
