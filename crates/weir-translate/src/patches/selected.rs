//! The patches that are for a proxy, and which of them may concern a resource: what can be told without looking into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::envoy_filter::{ApplyTo, PatchContext, PatchOperation};
use weir_model::{MeshSnapshot, Proxy, ProxyKind};
use weir_xds::cluster::Cluster;
use weir_xds::core::{TrafficDirection, TypedExtensionConfig};
use weir_xds::listener::Listener;
use weir_xds::resource::ResourceType;

use super::matching::At;
use super::resource::{ProxyFacts, Resource};
use super::work::{Patch, same};
use super::{compiled, matching};
use crate::context::Context;
use crate::names;

/// The listener of a sidecar that holds routes itself, beside those for what comes in.
const WITH_ROUTES: &str = "virtualOutbound";

/// What of a proxy's configuration is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What it shares with all that are like it: all but what is for its own workload.
    Shared,
    /// What is for its own workload.
    Own,
}

impl Side {
    /// That of a resource.
    pub(super) fn of(resource: &Resource) -> Self {
        let is_own = match resource {
            Resource::Listener(made) => made.traffic_direction == TrafficDirection::Inbound as i32,
            Resource::Route(_) => false,
            Resource::Cluster(made) => made.name.starts_with(names::INBOUND) || made.name == names::PROBE,
        };
        if is_own { Self::Own } else { Self::Shared }
    }
}

/// The patches that are for a proxy, in the order in which they are applied.
pub(crate) struct Selected {
    pub patches: Vec<Arc<Patch>>,
    pub proxy: ProxyFacts,
    pub side: Side,
}

impl Selected {
    /// Those for a proxy. `member` is the proxy itself, where the context is that of all that are like it.
    pub fn of(context: &Context<'_>, member: &Proxy, side: Side) -> Self {
        let (mesh, proxy) = (context.mesh, context.proxy);
        let patches = for_side(mesh, proxy, side);
        let mut facts = ProxyFacts { kind: proxy.kind, ports: vec![], hosts: vec![] };
        let is_alone = proxy.kind == ProxyKind::Router || side == Side::Own;
        if is_alone && !patches.is_empty() {
            for (service, at) in mesh.instances_of(member) {
                facts.ports.push((at.service_port, at.port));
                facts.hosts.push((at.port, service.hostname.to_string()));
            }
        }
        Self { patches, proxy: facts, side }
    }

    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Those that may concern the resource of that kind and name, and port if it is a listener.
    pub fn concerning(&self, kind: ResourceType, name: &str, port: Option<u32>) -> Vec<Arc<Patch>> {
        let at = At::new(if kind == ResourceType::Listener { name } else { "" }, port);
        let outbound = if self.proxy.kind == ProxyKind::Router { PatchContext::Gateway } else { PatchContext::SidecarOutbound };
        let may_be_inbound = self.side == Side::Own || kind == ResourceType::Cluster;
        let may = |patch: &&Arc<Patch>| match (kind, patch.apply_to) {
            (ResourceType::Cluster, ApplyTo::Cluster) => {
                name != names::PROBE && patch.operation != PatchOperation::Add && matching::cluster(&patch.matched, name, &self.proxy.hosts)
            }
            (ResourceType::Route, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute) => {
                patch.is_for(outbound) && matching::route_configuration(&patch.matched, outbound, name, &self.proxy.ports)
            }
            (ResourceType::Listener, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute) => {
                self.side == Side::Own || name == WITH_ROUTES
            }
            (ResourceType::Listener, ApplyTo::Listener) if patch.operation == PatchOperation::Add => false,
            (
                ResourceType::Listener,
                ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter,
            ) => matching::within_listener(&patch.matched, &at),
            _ => false,
        };
        let mut found: Vec<Arc<Patch>> =
            self.patches.iter().filter(|patch| may_be_inbound || patch.is_for(outbound)).filter(may).cloned().collect();
        if kind == ResourceType::Listener && !found.is_empty() {
            // Whether these are used depends on the others.
            found.extend(self.patches.iter().filter(|patch| patch.apply_to == ApplyTo::ExtensionConfig).cloned());
        }
        found
    }

    /// The configurations of filters that listeners may ask for by their names, whatever traffic they are for. Of several of one
    /// name the last one counts.
    pub fn extensions(&self) -> Vec<TypedExtensionConfig> {
        let patches = self.patches.iter().filter(|patch| patch.apply_to == ApplyTo::ExtensionConfig);
        let by_name: BTreeMap<String, TypedExtensionConfig> =
            patches.filter_map(|patch| patch.value::<TypedExtensionConfig>()).map(|config| (config.name.clone(), config)).collect();
        by_name.into_values().collect()
    }

    /// The listeners and clusters that are added, with the patches that add them.
    pub fn added(&self) -> impl Iterator<Item = (&Arc<Patch>, Resource)> {
        let adding = self.patches.iter().filter(|patch| patch.operation == PatchOperation::Add);
        // Without a context they are for what goes out.
        let is_here = |patch: &&Arc<Patch>| (patch.context == PatchContext::SidecarInbound) == (self.side == Side::Own);
        adding.filter(is_here).filter_map(|patch| {
            let added = match patch.apply_to {
                ApplyTo::Listener => Resource::from(patch.value::<Listener>()?),
                ApplyTo::Cluster => Resource::from(patch.value::<Cluster>()?),
                _ => return None,
            };
            Some((patch, added))
        })
    }
}

/// The patches for one side of a proxy, in order.
fn for_side(mesh: &MeshSnapshot, proxy: &Proxy, side: Side) -> Vec<Arc<Patch>> {
    let filters = mesh.envoy_filters.iter().filter(|filter| filter.selects(proxy, &mesh.config.root_namespace));
    let all = filters.flat_map(|filter| compiled::of(&filter.object).patches.clone());
    let all = all.filter(|patch| patch.takes(proxy));
    all.filter(|patch| contexts(proxy.kind, side).iter().any(|own| patch.is_for(*own))).collect()
}

/// The patches of EnvoyFilters that are for what only one proxy gets: see [`own`](crate::own). As long as they are the same, a change of
/// EnvoyFilters changes nothing of that.
#[derive(Debug, Clone, Default)]
pub struct OwnPatches(Vec<Arc<Patch>>);

impl OwnPatches {
    /// Those of a proxy.
    pub fn of(mesh: &MeshSnapshot, proxy: &Proxy) -> Self {
        Self(for_side(mesh, proxy, Side::Own))
    }
}

impl PartialEq for OwnPatches {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

/// The traffic that is served.
fn contexts(kind: ProxyKind, side: Side) -> &'static [PatchContext] {
    match (kind, side) {
        (ProxyKind::Router, Side::Own) => &[],
        (ProxyKind::Router, Side::Shared) => &[PatchContext::Gateway],
        (ProxyKind::Sidecar, Side::Own) => &[PatchContext::SidecarInbound],
        // One cluster for what comes in is alike for many.
        (ProxyKind::Sidecar, Side::Shared) => &[PatchContext::SidecarOutbound, PatchContext::SidecarInbound],
    }
}

/// Whether a patch can be used on that side only, as far as its context tells; one for any traffic of a sidecar may be used on
/// either.
pub(super) fn belongs_to(patch: &Patch, kind: ProxyKind, side: Side) -> bool {
    match (side, patch.context) {
        (Side::Shared, PatchContext::Any) => kind == ProxyKind::Router,
        (Side::Shared, PatchContext::SidecarInbound) => is_passthrough(patch),
        (Side::Shared, _) => true,
        (Side::Own, context) => context == PatchContext::SidecarInbound && !is_passthrough(patch),
    }
}

/// Whether a patch is for the cluster of what comes in to ports that nobody knows.
fn is_passthrough(patch: &Patch) -> bool {
    patch.matched.cluster.as_ref().is_some_and(|cluster| cluster.name == names::INBOUND_PASSTHROUGH)
}
