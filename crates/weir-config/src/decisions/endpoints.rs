//! Endpoints.

use super::{Decided, of};

const ENDPOINT: &str = "envoy.config.endpoint.v3";

pub(super) const TABLE: &[Decided] = &[
    of(ENDPOINT, "ClusterLoadAssignment").carried_out("cluster_name endpoints policy").refused("named_endpoints"),
    of(ENDPOINT, "ClusterLoadAssignment.Policy")
        .carried_out("overprovisioning_factor weighted_priority_health drop_overloads")
        .reported(&[("endpoint_stale_after", "endpoints count until others come")]),
    of(ENDPOINT, "ClusterLoadAssignment.Policy.DropOverload")
        .carried_out("drop_percentage")
        // A name for statistics.
        .unseen("category"),
    of(ENDPOINT, "LocalityLbEndpoints")
        .carried_out("locality lb_endpoints load_balancer_endpoints load_balancing_weight priority")
        .as_whole("metadata")
        .refused("leds_cluster_locality_config")
        .reported(&[("proximity", "Envoy does not use it either")]),
    of(ENDPOINT, "LocalityLbEndpoints.LbEndpointList").carried_out("lb_endpoints"),
    of(ENDPOINT, "LbEndpoint").carried_out("endpoint health_status load_balancing_weight").as_whole("metadata").refused("endpoint_name"),
    of(ENDPOINT, "Endpoint")
        .carried_out("address health_check_config hostname")
        // A name for statistics.
        .unseen("observability_name")
        .reported(&[("additional_addresses", "it is reached at `address` only")]),
    of(ENDPOINT, "Endpoint.HealthCheckConfig").carried_out("port_value hostname address disable_active_health_check"),
];
