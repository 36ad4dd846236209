//! The instances of a cluster, by locality.
//!
//! Facts: pilot/pkg/xds/endpoints of Istio.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_model::Endpoint;
use weir_xds::core::{Address, HealthStatus, Locality, Metadata, Pipe, address};
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier};
use weir_xds::values::{set_metadata, socket_address, text};

/// Where an endpoint's workload runs, as it stands in telemetry.
const CLUSTER: &str = "Kubernetes";

/// Instances at IP addresses, or at sockets of this machine; those that are only known by name are left out.
pub(crate) fn by_address(cluster: &str, instances: &[Endpoint]) -> ClusterLoadAssignment {
    let reachable =
        instances.iter().filter(|instance| instance.address.parse::<IpAddr>().is_ok() || instance.address.starts_with("unix://"));
    assignment(cluster, reachable, HealthStatus::Healthy)
}

/// Instances that are found by their names.
pub(crate) fn by_name(cluster: &str, instances: &[Endpoint]) -> ClusterLoadAssignment {
    assignment(cluster, instances.iter(), HealthStatus::Unknown)
}

fn assignment<'e>(cluster: &str, instances: impl Iterator<Item = &'e Endpoint>, health: HealthStatus) -> ClusterLoadAssignment {
    let mut by_locality: BTreeMap<&str, Vec<LbEndpoint>> = BTreeMap::new();
    for instance in instances {
        by_locality.entry(&instance.locality).or_default().push(endpoint(instance, health));
    }
    let locality = |(name, endpoints): (&str, Vec<LbEndpoint>)| LocalityLbEndpoints {
        locality: Some(locality(name)),
        load_balancing_weight: Some(endpoints.iter().filter_map(|endpoint| endpoint.load_balancing_weight).fold(0, u32::saturating_add)),
        lb_endpoints: endpoints,
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: by_locality.into_iter().map(locality).collect(),
        ..Default::default()
    }
}

/// Reads `region/zone/subzone`.
fn locality(written: &str) -> Locality {
    let mut parts = written.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), sub_zone: next() }
}

fn endpoint(instance: &Endpoint, health: HealthStatus) -> LbEndpoint {
    let mut metadata = Metadata::default();
    set_metadata(&mut metadata, "istio", "workload", text(workload(instance)));
    let address = match instance.address.strip_prefix("unix://") {
        Some(path) => Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), ..Default::default() })) },
        None => socket_address(&instance.address, instance.port),
    };
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
    format!("{};{};{name};{revision};{CLUSTER}", instance.workload, instance.namespace)
}
