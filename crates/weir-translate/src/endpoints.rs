//! The instances of a cluster, by locality.
//!
//! Facts: pilot/pkg/xds/endpoints of Istio.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_model::peer_authentication::NamespaceTls;
use weir_model::{Endpoint, Health, MutualTls, topology};
use weir_xds::core::{HealthStatus, Metadata};
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier};
use weir_xds::values::{self, UNIX, set_metadata, text};

use crate::locality::{Group, Preference};

/// By this an instance tells whether it takes TLS with the mesh's certificates.
pub(crate) const TLS_MODE: &str = "tlsMode";

/// An instance, and as what a proxy is told of it.
pub(crate) type Instance = (Endpoint, Health);

/// Instances at IP addresses, or at sockets of this machine; those that are only known by name are left out.
pub(crate) fn by_address(cluster: &str, instances: &[Instance], tls: &NamespaceTls, preference: &Preference<'_>) -> ClusterLoadAssignment {
    let reachable =
        instances.iter().filter(|(instance, _)| instance.address.parse::<IpAddr>().is_ok() || instance.address.starts_with(UNIX));
    assignment(cluster, reachable, HealthStatus::Healthy, tls, preference)
}

/// Instances that are found by their names.
pub(crate) fn by_name(cluster: &str, instances: &[Instance], tls: &NamespaceTls, preference: &Preference<'_>) -> ClusterLoadAssignment {
    assignment(cluster, instances.iter(), HealthStatus::Unknown, tls, preference)
}

fn assignment<'e>(
    cluster: &str,
    instances: impl Iterator<Item = &'e Instance>,
    healthy: HealthStatus,
    tls: &NamespaceTls,
    preference: &Preference<'_>,
) -> ClusterLoadAssignment {
    let mut by_locality: BTreeMap<&str, Vec<(&Endpoint, LbEndpoint)>> = BTreeMap::new();
    for (instance, health) in instances {
        let status = match health {
            Health::Healthy => healthy,
            Health::Draining => HealthStatus::Draining,
            Health::Unhealthy | Health::Terminating => HealthStatus::Unhealthy,
        };
        by_locality.entry(&instance.locality).or_default().push((instance, endpoint(instance, status, tls)));
    }
    let groups = by_locality.into_iter().map(|(locality, instances)| Group { locality, instances }).collect();
    ClusterLoadAssignment { cluster_name: cluster.to_owned(), endpoints: preference.arrange(groups), ..Default::default() }
}

fn endpoint(instance: &Endpoint, health: HealthStatus, tls: &NamespaceTls) -> LbEndpoint {
    let mut metadata = Metadata::default();
    set_metadata(&mut metadata, "istio", "workload", text(workload(instance)));
    if instance.takes_mutual_tls && tls.at(&instance.labels, instance.port) != MutualTls::Disable {
        set_metadata(&mut metadata, "envoy.transport_socket_match", TLS_MODE, text("istio"));
    }
    let address = values::address(&instance.address, instance.port);
    let host = weir_xds::endpoint::Endpoint { address: Some(address), ..Default::default() };
    LbEndpoint {
        health_status: health.into(),
        metadata: Some(metadata),
        load_balancing_weight: Some(instance.weight.max(1)),
        host_identifier: Some(HostIdentifier::Endpoint(host)),
    }
}

/// `name;namespace;canonical name;canonical revision;cluster`: what telemetry knows of the other side.
fn workload(instance: &Endpoint) -> String {
    let label = |names: &[&str]| names.iter().find_map(|name| instance.labels.get(*name)).map(String::as_str);
    let name = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]).unwrap_or(&instance.workload);
    let revision = label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]).unwrap_or_default();
    format!("{};{};{name};{revision};{}", instance.workload, instance.namespace, topology::THIS_CLUSTER)
}
