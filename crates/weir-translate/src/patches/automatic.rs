//! Clusters whose TLS the mesh chooses for each instance, as automatic mTLS does: where nobody says anything of it. As in Istio a
//! patch's socket is for those instances that speak mTLS, and no other may be asked for TLS.
//!
//! Facts: `mergeTransportSocketCluster` in pilot/pkg/networking/core/envoyfilter/cluster_patch.go of Istio: there is no plain socket
//! that the patch's could be merged into.

use std::sync::Arc;

use weir_xds::resource::ResourceType;

use super::work::Patch;
use crate::context::Context;

/// Whether a resource is such a cluster, and any of these patches has a socket for it. Others need not be looked up.
pub(crate) fn is_automatic(context: &Context<'_>, kind: ResourceType, name: &str, patches: &[Arc<Patch>]) -> bool {
    let is_asked = kind == ResourceType::Cluster && patches.iter().any(|patch| patch.sets_socket);
    is_asked && context.mesh.config.enable_auto_mtls && is_unsaid(context, name)
}

/// Whether neither the service nor a rule says how the instances of a cluster are spoken to.
fn is_unsaid(context: &Context<'_>, name: &str) -> bool {
    let mut parts = name.split('|');
    let (Some("outbound"), Some(port), Some(subset), Some(host)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Ok(port), Some(service)) = (port.parse(), context.scope.service(host)) else { return false };
    !service.external && context.policy(service, subset, port).tls.is_none()
}
