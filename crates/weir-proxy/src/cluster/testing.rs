//! Assignments for tests.

use weir_config::endpoints::Assignment;
use weir_xds::core::{HealthStatus, Locality};
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use weir_xds::values::socket_address;

pub(crate) fn lb_endpoint(ip: &str, health: HealthStatus) -> LbEndpoint {
    let endpoint = Endpoint { address: Some(socket_address(ip, 80)), ..Default::default() };
    LbEndpoint { health_status: health as i32, host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
}

/// An assignment of priorities, zones and their endpoints.
pub(crate) fn assignment(localities: Vec<(u32, &str, Vec<LbEndpoint>)>) -> Assignment {
    let locality = |(priority, zone, lb_endpoints): (u32, &str, _)| LocalityLbEndpoints {
        priority,
        lb_endpoints,
        locality: Some(Locality { zone: zone.to_owned(), ..Default::default() }),
        load_balancing_weight: Some(priority + 1),
        ..Default::default()
    };
    let endpoints = localities.into_iter().map(locality).collect();
    Assignment::compile(&ClusterLoadAssignment { endpoints, ..Default::default() }).expect("valid")
}
