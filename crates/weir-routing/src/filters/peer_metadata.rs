//! Who tells whom which workload it is, beside requests and answers: Istio's filter `istio.metadata_exchange`, compiled
//! (source/extensions/filters/http/peer_metadata of istio/proxy).
//!
//! What is told is taken away from every request and answer, whoever says it, so that no application sees it and nobody outside of the
//! mesh can say it. Whether it is believed is decided by certificates, where the connection is known.

use weir_xds::peer_metadata::Config;
use weir_xds::peer_metadata::config::discovery_method::MethodSpecifier as Discovery;
use weir_xds::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use weir_xds::peer_metadata::config::{DiscoveryMethod, IstioHeaders, PropagationMethod};

use super::Policy;
use crate::error::CompileError;

/// Which side tells the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerMetadataPolicy {
    /// Whether clients are heard that tell of their workload.
    pub hears_clients: bool,
    /// Whether these are told of ours.
    pub tells_clients: bool,
    /// Whether instances are heard that tell of their workload.
    pub hears_instances: bool,
    /// Whether instances are told of ours.
    pub tells_instances: Option<ToldInstances>,
}

/// Which instances are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldInstances {
    /// All that show a certificate of a mesh.
    All,
    /// Those of them whose cluster is not outside of the mesh.
    OfMesh,
}

impl Policy for PeerMetadataPolicy {
    type Message = Config;

    fn compile(message: &Config) -> Result<Self, CompileError> {
        let Config {
            downstream_discovery,
            upstream_discovery,
            downstream_propagation,
            upstream_propagation,
            // There are no listeners that connections of this process lead to.
            shared_with_upstream: _,
            // Reported.
            additional_labels: _,
        } = message;
        Ok(Self {
            hears_clients: is_heard(downstream_discovery),
            tells_clients: told(downstream_propagation).is_some(),
            hears_instances: is_heard(upstream_discovery),
            tells_instances: told(upstream_propagation),
        })
    }
}

/// Whether the headers count. Of what tells of workloads by their addresses no control plane says anything, unless it is asked to; `baggage`,
/// which any application writes, is reported.
fn is_heard(methods: &[DiscoveryMethod]) -> bool {
    methods.iter().any(|method| matches!(method.method_specifier, Some(Discovery::IstioHeaders(_))))
}

fn told(methods: &[PropagationMethod]) -> Option<ToldInstances> {
    methods.iter().find_map(|method| match &method.method_specifier {
        Some(Propagation::IstioHeaders(IstioHeaders { skip_external_clusters: true })) => Some(ToldInstances::OfMesh),
        Some(Propagation::IstioHeaders(_)) => Some(ToldInstances::All),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_xds::json::from_value;

    use super::*;

    fn compile(config: serde_json::Value) -> PeerMetadataPolicy {
        PeerMetadataPolicy::compile(&from_value(config).expect("well formed")).expect("valid")
    }

    #[test]
    fn each_direction_is_its_own() {
        let headers = json!([{"istioHeaders": {}}, {"workloadDiscovery": {}}]);
        let inbound = compile(json!({"downstreamDiscovery": headers, "downstreamPropagation": [{"istioHeaders": {}}]}));
        assert_eq!(inbound, PeerMetadataPolicy { hears_clients: true, tells_clients: true, ..PeerMetadataPolicy::default() });
        let outbound = |skip: bool| {
            let told = json!([{"istioHeaders": {"skipExternalClusters": skip}}]);
            compile(json!({"upstreamDiscovery": headers, "upstreamPropagation": told}))
        };
        for (skip, told) in [(false, ToldInstances::All), (true, ToldInstances::OfMesh)] {
            let expected = PeerMetadataPolicy { hears_instances: true, tells_instances: Some(told), ..PeerMetadataPolicy::default() };
            assert_eq!(outbound(skip), expected);
        }
    }

    #[test]
    fn other_ways_to_find_out_are_none() {
        let others = json!([{"workloadDiscovery": {}}, {"baggage": {}}, {}]);
        let policy = compile(json!({"downstreamDiscovery": others, "upstreamDiscovery": others, "upstreamPropagation": [{}]}));
        assert_eq!(policy, PeerMetadataPolicy::default());
    }
}
