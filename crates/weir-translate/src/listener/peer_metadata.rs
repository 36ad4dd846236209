//! The filter by which workloads tell each other of themselves, beside requests and answers.
//!
//! Facts: `appendMxFilter` in pilot/pkg/networking/core/listener_builder.go and pilot/pkg/xds/filters/filters.go of Istio. Only proxies that
//! have the filter are sent it: stock Envoys refuse a listener with it.

use weir_xds::hcm::HttpFilter;
use weir_xds::peer_metadata::Config;
use weir_xds::peer_metadata::config::discovery_method::MethodSpecifier as Discovery;
use weir_xds::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use weir_xds::peer_metadata::config::{DiscoveryMethod, IstioHeaders, PropagationMethod, WorkloadDiscovery};

use super::http::{Class, http_filter};
use crate::context::Context;
use crate::proxy_headers;

/// Its name.
const FILTER: &str = "istio.metadata_exchange";

/// The filter of a side, if the proxy has it.
pub(super) fn filter(context: &Context<'_>, class: Class) -> Option<HttpFilter> {
    if !context.exchanges_metadata {
        return None;
    }
    let config = match class {
        Class::Inbound => Config { downstream_discovery: discovery(), downstream_propagation: propagation(false), ..Config::default() },
        Class::Outbound | Class::Gateway => {
            let within_mesh = proxy_headers::tells_metadata_in_mesh(&context.mesh.config);
            Config { upstream_discovery: discovery(), upstream_propagation: propagation(within_mesh), ..Config::default() }
        }
    };
    Some(http_filter(FILTER, &config))
}

fn discovery() -> Vec<DiscoveryMethod> {
    let methods = [Discovery::IstioHeaders(IstioHeaders::default()), Discovery::WorkloadDiscovery(WorkloadDiscovery::default())];
    methods.map(|method| DiscoveryMethod { method_specifier: Some(method) }).into()
}

fn propagation(skip_external_clusters: bool) -> Vec<PropagationMethod> {
    let headers = Propagation::IstioHeaders(IstioHeaders { skip_external_clusters });
    vec![PropagationMethod { method_specifier: Some(headers) }]
}
