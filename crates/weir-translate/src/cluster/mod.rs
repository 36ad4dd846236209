//! Clusters: one for each port of each service that a proxy may reach, and for each subset of it; those for the
//! workload itself; and those without instances.

mod balancer;
pub(crate) mod dynamic_dns;
mod mesh_tls;
mod outbound;
mod pool;
mod probe;
mod proxy_protocol;
mod special;
mod tls;

use std::sync::Arc;

use weir_model::{OutboundPolicy, ProxyKind, Resolution, Service};
use weir_xds::cluster::Cluster;
use weir_xds::endpoint::ClusterLoadAssignment;

use crate::context::Context;
use crate::{connection_settings, ingress};

pub(crate) use outbound::assignments_of_service;

/// A cluster with the endpoints that travel apart from it.
pub(crate) struct Made {
    pub cluster: Cluster,
    pub endpoints: Option<ClusterLoadAssignment>,
}

/// The clusters that no service stands behind, and that are alike for many proxies.
pub(crate) fn special(context: &Context<'_>) -> Vec<Cluster> {
    let mut made = vec![special::black_hole()];
    if context.proxy.kind == ProxyKind::Sidecar {
        made.push(special::passthrough(context));
        if context.scope.outbound_policy == OutboundPolicy::AllowAnyDynamicDns {
            made.push(dynamic_dns::cluster(context));
        }
        if context.proxy.interception.is_captured() {
            made.push(special::inbound_passthrough(context));
        }
    }
    set_connections(context, made)
}

/// The clusters that only this proxy has: those of its own workload.
pub(crate) fn own(context: &Context<'_>) -> Vec<Cluster> {
    if context.proxy.kind != ProxyKind::Sidecar {
        return vec![];
    }
    let captured = ingress::captured(context);
    let of_captured = captured.iter().filter_map(|port| match &port.ingress {
        Some(ingress) => special::inbound(context, ingress),
        None => Some(special::captured(context, port)),
    });
    let bound = ingress::bound(context);
    let inbound: Vec<Cluster> = bound.iter().filter_map(|ingress| special::inbound(context, ingress)).chain(of_captured).collect();
    set_connections(context, probe::cluster(context).into_iter().chain(inbound).collect())
}

fn set_connections(context: &Context<'_>, mut clusters: Vec<Cluster>) -> Vec<Cluster> {
    clusters.iter_mut().for_each(|cluster| connection_settings::set_cluster(cluster, &context.connections));
    clusters
}

/// The services that have clusters.
pub(crate) fn services<'c>(context: &'c Context<'_>) -> impl Iterator<Item = &'c Arc<Service>> {
    context.scope.services.iter().filter(|service| service.resolution != Resolution::Alias)
}

/// The clusters of a service.
pub(crate) fn of_service(context: &Context<'_>, service: &Arc<Service>) -> Vec<Made> {
    let mut made = outbound::of_service(context, service);
    made.iter_mut().for_each(|made| connection_settings::set_cluster(&mut made.cluster, &context.connections));
    made
}
