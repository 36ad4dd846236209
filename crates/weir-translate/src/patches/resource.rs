//! One resource and the patches that may concern it: a pure function.

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_api::resources::envoy_filter::PatchContext;
use weir_model::ProxyKind;
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::TrafficDirection;
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;

use super::matching::port_of;
use super::work::{Patch, Work};
use super::{clusters, listeners, routes};
use crate::names;

/// What of a proxy counts for patches.
#[derive(Debug, PartialEq)]
pub(crate) struct ProxyFacts {
    pub kind: ProxyKind,
    /// The ports of services that it is an instance of, each with its own.
    pub ports: Vec<(u16, u16)>,
    /// Those services, by its own ports.
    pub hosts: Vec<(u16, String)>,
}

/// A resource that can be patched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Resource {
    Listener(Box<Listener>),
    Route(Box<RouteConfiguration>),
    Cluster(Box<Cluster>),
}

impl Resource {
    pub fn name(&self) -> &str {
        match self {
            Self::Listener(made) => &made.name,
            Self::Route(made) => &made.name,
            Self::Cluster(made) => &made.name,
        }
    }

    pub fn kind(&self) -> ResourceType {
        match self {
            Self::Listener(_) => ResourceType::Listener,
            Self::Route(_) => ResourceType::Route,
            Self::Cluster(_) => ResourceType::Cluster,
        }
    }

    /// The port that a listener is at.
    pub fn port(&self) -> Option<u32> {
        match self {
            Self::Listener(made) => port_of(made),
            Self::Route(_) | Self::Cluster(_) => None,
        }
    }

    /// As it travels.
    pub fn pack(&self) -> Any {
        match self {
            Self::Listener(made) => Any::pack(&**made),
            Self::Route(made) => Any::pack(&**made),
            Self::Cluster(made) => Any::pack(&**made),
        }
    }

    pub fn into_listener(self) -> Option<Listener> {
        if let Self::Listener(made) = self { Some(*made) } else { None }
    }

    pub fn into_route(self) -> Option<RouteConfiguration> {
        if let Self::Route(made) = self { Some(*made) } else { None }
    }

    pub fn into_cluster(self) -> Option<Cluster> {
        if let Self::Cluster(made) = self { Some(*made) } else { None }
    }

    /// The traffic that it is for.
    fn context(&self, proxy: ProxyKind) -> PatchContext {
        let is_inbound = match self {
            Self::Listener(made) => made.traffic_direction == TrafficDirection::Inbound as i32,
            Self::Route(made) => made.name.starts_with(names::INBOUND),
            Self::Cluster(made) => made.name.starts_with(names::INBOUND) || made.name == names::INBOUND_PASSTHROUGH,
        };
        match (proxy, is_inbound) {
            (ProxyKind::Router, _) => PatchContext::Gateway,
            (ProxyKind::Sidecar, true) => PatchContext::SidecarInbound,
            (ProxyKind::Sidecar, false) => PatchContext::SidecarOutbound,
        }
    }
}

impl From<Listener> for Resource {
    fn from(made: Listener) -> Self {
        Self::Listener(Box::new(made))
    }
}

impl From<RouteConfiguration> for Resource {
    fn from(made: RouteConfiguration) -> Self {
        Self::Route(Box::new(made))
    }
}

impl From<Cluster> for Resource {
    fn from(made: Cluster) -> Self {
        Self::Cluster(Box::new(made))
    }
}

/// What became of a resource.
pub(crate) struct Patched {
    /// None if it is removed.
    pub resource: Option<Resource>,
    /// The patches that did something.
    pub used: Vec<Arc<Patch>>,
    pub findings: Vec<Diagnostic>,
}

/// Patches a resource. `is_automatic` says that it is a cluster whose TLS is the mesh's to choose for each instance.
pub(crate) fn patch(resource: Resource, patches: &[Arc<Patch>], proxy: &ProxyFacts, is_automatic: bool) -> Patched {
    let work = Work::new(patches, resource.context(proxy.kind));
    let resource = match resource {
        Resource::Listener(made) => listeners::patch(&work, *made).map(Resource::from),
        Resource::Route(made) => Some(routes::patch(&work, *made, &proxy.ports).into()),
        Resource::Cluster(made) => clusters::patch(&work, *made, &proxy.hosts, is_automatic).map(Resource::from),
    };
    let (used, findings) = work.finish();
    Patched { resource, used, findings }
}
