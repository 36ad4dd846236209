//! Clusters: one for each port of each service that a proxy may reach, and for each subset of it; those for the
//! workload itself; and those without instances.

mod balancer;
pub(crate) mod dynamic_dns;
mod outbound;
mod pool;
mod probe;
mod special;
mod tls;

use weir_model::{Interception, OutboundPolicy, ProxyKind, Resolution};
use weir_xds::cluster::Cluster;

use crate::context::Context;
use crate::ingress;

/// A cluster with the endpoints that travel apart from it.
pub(crate) struct Made {
    pub cluster: Cluster,
    pub endpoints: Option<weir_xds::endpoint::ClusterLoadAssignment>,
}

impl From<Cluster> for Made {
    fn from(cluster: Cluster) -> Self {
        Self { cluster, endpoints: None }
    }
}

/// All clusters of a proxy.
pub(crate) fn clusters(context: &Context<'_>) -> Vec<Made> {
    let mut made: Vec<Made> = vec![special::black_hole().into()];
    if context.proxy.kind == ProxyKind::Sidecar {
        made.push(special::passthrough().into());
        if context.scope.outbound_policy == OutboundPolicy::AllowAnyDynamicDns {
            made.push(dynamic_dns::cluster(context).into());
        }
        if context.proxy.interception == Interception::Redirect {
            made.push(special::inbound_passthrough().into());
        }
        made.extend(probe::cluster(context).map(Made::from));
        made.extend(ingress::bound(context).iter().filter_map(|ingress| special::inbound(context, ingress)).map(Made::from));
    }
    for service in context.scope.services.iter().filter(|service| service.resolution != Resolution::Alias) {
        made.extend(outbound::of_service(context, service));
    }
    made
}
