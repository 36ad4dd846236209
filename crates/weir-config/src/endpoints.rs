//! The endpoints of a cluster as the control plane names them: before names are resolved and instances are known.

use std::sync::Arc;

use weir_xds::core::{HealthStatus, Locality as XdsLocality};
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint};
use weir_xds::values::host_and_port;

use super::check_target::CheckTarget;
use super::transport::Criteria;
use super::workload::Workload;

/// Envoy's overprovisioning factor where none is given, in percent.
const OVERPROVISIONING: u32 = 140;

/// Where a workload runs.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone in it.
    pub zone: String,
    /// The part of the zone.
    pub sub_zone: String,
}

impl Locality {
    fn of(locality: Option<&XdsLocality>) -> Self {
        let Some(XdsLocality { region, zone, sub_zone }) = locality else { return Self::default() };
        Self { region: region.clone(), zone: zone.clone(), sub_zone: sub_zone.clone() }
    }
}

/// What the control plane says of an endpoint's health.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum EdsHealth {
    /// It is well, or nothing is said.
    #[default]
    Healthy,
    /// It is worse than others.
    Degraded,
    /// It is not to be used.
    Unhealthy,
    /// It is not to be used, and is not missed: it is on its way out.
    Draining,
}

impl EdsHealth {
    /// As Envoy's EDS maps them.
    fn of(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Unknown | HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Degraded => Self::Degraded,
            HealthStatus::Draining => Self::Draining,
            HealthStatus::Unhealthy | HealthStatus::Timeout => Self::Unhealthy,
        }
    }
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// An IP address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name that it calls itself, where that is not the name that its address comes from.
    pub hostname: Option<Arc<str>>,
    /// What it says of its transport.
    pub transport: Criteria,
    /// Its share.
    pub weight: u32,
    /// Its workload.
    pub workload: Workload,
    /// What is said of its health.
    pub health: EdsHealth,
    /// How its health is checked, where that is not as for all others.
    pub check: Option<Box<CheckTarget>>,
    /// Its position in [`Assignment::localities`].
    pub locality: usize,
}

/// A locality of one priority.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PriorityLocality {
    /// The priority; 0 is the highest.
    pub priority: u32,
    /// The locality.
    pub locality: Locality,
    /// Its share of the priority's requests, where localities are weighted. Without one it gets none.
    pub weight: u32,
    /// What is said of the transport of its endpoints, where they say nothing themselves.
    pub transport: Criteria,
}

/// A `ClusterLoadAssignment`, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// In the order of the configuration.
    pub endpoints: Vec<Endpoint>,
    /// The localities of all priorities, each once.
    pub localities: Vec<PriorityLocality>,
    /// The overprovisioning factor in percent: how much more than their share healthy instances can take.
    pub overprovisioning: u32,
    /// Whether the health of a priority goes by the weights of its endpoints.
    pub weighted_health: bool,
}

impl Default for Assignment {
    fn default() -> Self {
        Self { endpoints: vec![], localities: vec![], overprovisioning: OVERPROVISIONING, weighted_health: false }
    }
}

impl Assignment {
    /// Compiles an xDS assignment. Endpoints without an address are passed over.
    pub fn compile(assignment: &ClusterLoadAssignment) -> Self {
        let policy = assignment.policy.as_ref();
        let mut compiled = Self {
            overprovisioning: policy.and_then(|policy| policy.overprovisioning_factor).unwrap_or(OVERPROVISIONING),
            weighted_health: policy.is_some_and(|policy| policy.weighted_priority_health),
            ..Self::default()
        };
        for group in &assignment.endpoints {
            let (priority, locality) = (group.priority, Locality::of(group.locality.as_ref()));
            let position = compiled.place(priority, locality);
            if let Some(weight) = group.load_balancing_weight {
                compiled.localities[position].weight = weight;
            }
            if group.metadata.is_some() {
                compiled.localities[position].transport = Criteria::of(group.metadata.as_ref());
            }
            compiled.endpoints.extend(group.lb_endpoints.iter().filter_map(|endpoint| compile_endpoint(endpoint, position)));
        }
        compiled
    }

    /// The position of a locality, which may be listed several times.
    fn place(&mut self, priority: u32, locality: Locality) -> usize {
        let known = self.localities.iter().position(|known| known.priority == priority && known.locality == locality);
        known.unwrap_or_else(|| {
            self.localities.push(PriorityLocality { priority, locality, ..PriorityLocality::default() });
            self.localities.len() - 1
        })
    }

    /// The names that must be resolved before instances are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.host.as_str()).filter(|host| host.parse::<std::net::IpAddr>().is_err())
    }
}

fn compile_endpoint(endpoint: &LbEndpoint, locality: usize) -> Option<Endpoint> {
    let Some(HostIdentifier::Endpoint(found)) = &endpoint.host_identifier else { return None };
    let (host, port) = host_and_port(found.address.as_ref()?)?;
    Some(Endpoint {
        host: host.to_owned(),
        port,
        hostname: (!found.hostname.is_empty()).then(|| found.hostname.as_str().into()),
        transport: Criteria::of(endpoint.metadata.as_ref()),
        weight: endpoint.load_balancing_weight.unwrap_or(1).max(1),
        workload: Workload::parse(endpoint.metadata.as_ref()),
        health: EdsHealth::of(endpoint.health_status()),
        check: CheckTarget::compile(found),
        locality,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use weir_xds::endpoint::cluster_load_assignment::Policy;
    use weir_xds::endpoint::{Endpoint as XdsEndpoint, LocalityLbEndpoints};
    use weir_xds::values::socket_address;

    use super::*;

    pub(crate) fn lb_endpoint(ip: &str, health: HealthStatus) -> LbEndpoint {
        let endpoint = XdsEndpoint { address: Some(socket_address(ip, 80)), ..Default::default() };
        LbEndpoint { health_status: health as i32, host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
    }

    /// An assignment of priorities, zones and their endpoints.
    pub(crate) fn assignment(localities: Vec<(u32, &str, Vec<LbEndpoint>)>) -> Assignment {
        let locality = |(priority, zone, lb_endpoints): (u32, &str, _)| LocalityLbEndpoints {
            priority,
            lb_endpoints,
            locality: Some(XdsLocality { zone: zone.to_owned(), ..Default::default() }),
            load_balancing_weight: Some(priority + 1),
            ..Default::default()
        };
        let endpoints = localities.into_iter().map(locality).collect();
        Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() })
    }

    #[test]
    fn endpoints_of_all_priorities_are_kept_with_what_is_said_of_them() {
        let of = |health| vec![lb_endpoint("10.0.0.1", health)];
        let all = assignment(vec![
            (0, "a", of(HealthStatus::Unhealthy)),
            (1, "b", of(HealthStatus::Degraded)),
            (0, "a", of(HealthStatus::Draining)),
            (1, "a", of(HealthStatus::Unknown)),
        ]);
        let endpoints: Vec<_> = all.endpoints.iter().map(|endpoint| (endpoint.locality, endpoint.health)).collect();
        let (unhealthy, degraded) = (EdsHealth::Unhealthy, EdsHealth::Degraded);
        assert_eq!(endpoints, [(0, unhealthy), (1, degraded), (0, EdsHealth::Draining), (2, EdsHealth::Healthy)]);
        let localities: Vec<_> = all.localities.iter().map(|at| (at.priority, at.locality.zone.as_str(), at.weight)).collect();
        assert_eq!(localities, [(0, "a", 1), (1, "b", 2), (1, "a", 2)]);
        assert_eq!((all.overprovisioning, all.weighted_health), (140, false));
    }

    #[test]
    fn the_policy_of_an_assignment_is_read() {
        let policy = Policy { overprovisioning_factor: Some(100), weighted_priority_health: true, ..Default::default() };
        let compiled = Assignment::compile(&ClusterLoadAssignment { policy: Some(policy), ..Default::default() });
        assert_eq!((compiled.overprovisioning, compiled.weighted_health), (100, true));
    }
}
