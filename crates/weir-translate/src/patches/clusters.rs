//! A cluster: merges and removals, in order.

use std::sync::Arc;

use weir_api::resources::envoy_filter::{ApplyTo, PatchOperation};
use weir_xds::cluster::Cluster;
use weir_xds::core::TransportSocket;

use super::work::{Patch, Work};
use super::{matching, sockets};

/// What is said of a socket for instances of which none speaks mTLS.
const OF_MESH: &str = "its `transport_socket` is left out: whether there is TLS the mesh chooses for each instance, unless a \
                      DestinationRule says it (`trafficPolicy.tls`)";

/// Patches a cluster; none if it is removed. `hosts` are the services at a port of the proxy's own workload, by that port.
/// `is_automatic` says that the TLS to each instance is the mesh's to choose.
pub(super) fn patch(work: &Work<'_>, mut cluster: Cluster, hosts: &[(u16, String)], is_automatic: bool) -> Option<Cluster> {
    let name = cluster.name.clone();
    for patch in work.of(ApplyTo::Cluster).filter(|patch| matching::cluster(&patch.matched, &name, hosts)) {
        if patch.operation == PatchOperation::Remove {
            work.done(patch);
            return None;
        }
        let (Some(lists), Some(mut value)) = (patch.merges(), patch.value::<Cluster>()) else { continue };
        match value.transport_socket.take() {
            Some(_) if is_automatic && cluster.transport_socket_matches.is_empty() => work.tell(patch, OF_MESH),
            Some(socket) => merge_socket(work, patch, &mut cluster, socket),
            None => {}
        }
        work.merge(patch, &mut cluster, &value, lists);
        work.done(patch);
    }
    Some(cluster)
}

/// A cluster has one socket, or several of which each instance takes one.
fn merge_socket(work: &Work<'_>, patch: &Arc<Patch>, cluster: &mut Cluster, socket: TransportSocket) {
    if cluster.transport_socket_matches.is_empty() {
        return sockets::merge(work, patch, &mut cluster.transport_socket, socket);
    }
    let mut several = cluster.transport_socket_matches.iter_mut();
    match several.find(|known| known.transport_socket.as_ref().is_some_and(|known| known.name == socket.name)) {
        Some(known) => sockets::merge(work, patch, &mut known.transport_socket, socket),
        None => work.tell(patch, format!("the cluster `{}` has no transport socket `{}`", cluster.name, socket.name)),
    }
}
