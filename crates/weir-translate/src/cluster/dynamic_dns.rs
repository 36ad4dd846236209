//! The cluster whose instance is the host that a request names, looked up when the request comes.
//!
//! Facts: outbound policy ALLOW_ANY_DYNAMIC_DNS of Istio's MeshConfig, resolution DYNAMIC_DNS of its ServiceEntries, and Envoy's
//! dynamic forward proxy
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/dynamic_forward_proxy_filter>).

use weir_model::{OutboundPolicy, Resolution};
use weir_xds::Any;
use weir_xds::cluster::CircuitBreakers;
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::{ClusterDiscoveryType, CustomClusterType, DnsLookupFamily, LbPolicy};
use weir_xds::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier as ByCluster,
};
use weir_xds::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use weir_xds::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{FilterConfig, filter_config::ImplementationSpecifier};
use weir_xds::values::duration;

use super::pool;
use crate::context::Context;
use crate::names;

/// Filter and cluster share what was looked up, under this name.
const CACHE: &str = "allow_any_dynamic_dns_cache";

/// The cluster of all hosts that no service is.
pub(super) fn cluster(context: &Context<'_>) -> Cluster {
    Cluster {
        name: names::DYNAMIC_DNS.to_owned(),
        alt_stat_name: format!("{};", names::DYNAMIC_DNS),
        connect_timeout: Some(duration(context.mesh.config.connect_timeout.to_std())),
        cluster_discovery_type: Some(discovery(false)),
        lb_policy: LbPolicy::ClusterProvided.into(),
        circuit_breakers: Some(CircuitBreakers { thresholds: vec![pool::unlimited()], ..Default::default() }),
        ..Default::default()
    }
}

/// How the instance of such a cluster is found. Where its TLS verifies nobody, Envoy wants to be told that this is meant.
pub(super) fn discovery(unverified: bool) -> ClusterDiscoveryType {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ByCluster::DnsCacheConfig(cache())),
        allow_insecure_cluster_options: unverified,
        ..Default::default()
    };
    let typed_config = Some(Any::pack(&config));
    ClusterDiscoveryType::ClusterType(CustomClusterType { name: "envoy.clusters.dynamic_forward_proxy".to_owned(), typed_config })
}

/// Whether any requests of a proxy go to hosts that are looked up when they come.
pub(crate) fn is_used(context: &Context<'_>) -> bool {
    context.scope.outbound_policy == OutboundPolicy::AllowAnyDynamicDns
        || context.scope.services.iter().any(|service| service.resolution == Resolution::DynamicDns)
}

/// The filter that looks hosts up before their requests go on.
pub(crate) fn filter() -> FilterConfig {
    FilterConfig { implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(cache())), ..Default::default() }
}

/// Envoy wants both to describe the cache in the same words.
fn cache() -> DnsCacheConfig {
    DnsCacheConfig { name: CACHE.to_owned(), dns_lookup_family: DnsLookupFamily::V4Preferred.into(), ..Default::default() }
}
