//! A translation as the set of resources that a server sends.

use weir_ads::{Resource, ResourceSet};
use weir_translate::Translation;
use weir_xds::cluster::Cluster;
use weir_xds::core::health_check::HealthChecker;
use weir_xds::resource::ResourceType;

/// Packs a translation.
pub(crate) fn pack(translation: &Translation) -> ResourceSet {
    let mut set = ResourceSet::default();
    for listener in &translation.listeners {
        set.insert(ResourceType::Listener, listener.name.as_str(), Resource::new(listener));
    }
    for routes in &translation.routes {
        set.insert(ResourceType::Route, routes.name.as_str(), Resource::new(routes));
    }
    for cluster in &translation.clusters {
        let packed = Resource::new(cluster);
        let packed = match &cluster.eds_cluster_config {
            Some(eds) => packed.needing_endpoints(eds.service_name.as_str().into()),
            None => packed,
        };
        set.insert(ResourceType::Cluster, cluster.name.as_str(), packed);
    }
    for endpoints in &translation.endpoints {
        set.insert(ResourceType::Endpoint, endpoints.cluster_name.as_str(), Resource::new(endpoints));
    }
    for secret in &translation.secrets {
        set.insert(ResourceType::Secret, secret.name.as_str(), Resource::new(secret));
    }
    set
}

/// Whether instances of a cluster are checked by a command, which no proxy but Weir's understands.
pub(crate) fn runs_commands(cluster: &Cluster) -> bool {
    cluster.health_checks.iter().any(|check| matches!(check.health_checker, Some(HealthChecker::CustomHealthCheck(_))))
}
