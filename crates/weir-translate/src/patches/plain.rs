//! What needs no EnvoyFilter: the plain field that does the same, where a patch's value is of the commonest.

use weir_api::resources::envoy_filter::{ApplyTo, PatchOperation};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::hcm::{HttpConnectionManager, HttpFilter, http_filter};
use weir_xds::listener::{Filter, filter};
use weir_xds::route::route::Action;
use weir_xds::route::{Route, VirtualHost};

const POOL: &str = "a DestinationRule's `trafficPolicy.connectionPool`";
const HEADERS: &str = "`headers` of a VirtualService's route";

/// The plain field for what a patch says, each with the field of the value that says it.
pub(super) fn fields(apply_to: ApplyTo, operation: PatchOperation, value: &Any) -> Vec<(&'static str, &'static str)> {
    let merges = matches!(operation, PatchOperation::Merge | PatchOperation::MergeAndReplaceList);
    match apply_to {
        ApplyTo::Cluster if merges => value.unpack().map(|value| of_cluster(&value)).unwrap_or_default(),
        ApplyTo::NetworkFilter if merges => value.unpack().map(|value| of_network_filter(&value)).unwrap_or_default(),
        ApplyTo::HttpFilter if !merges => value.unpack().map(|value| of_http_filter(&value)).unwrap_or_default(),
        ApplyTo::HttpRoute if merges => value.unpack().map(|value| of_route(&value)).unwrap_or_default(),
        ApplyTo::VirtualHost if merges => value.unpack().map(|value| of_virtual_host(&value)).unwrap_or_default(),
        _ => vec![],
    }
}

/// Those of them that are said.
fn said<const N: usize>(all: [(bool, &'static str, &'static str); N]) -> Vec<(&'static str, &'static str)> {
    all.into_iter().filter(|(is_said, ..)| *is_said).map(|(_, field, plain)| (field, plain)).collect()
}

fn of_cluster(value: &Cluster) -> Vec<(&'static str, &'static str)> {
    said([
        (value.connect_timeout.is_some(), "connect_timeout", "a DestinationRule's `trafficPolicy.connectionPool.tcp.connectTimeout`"),
        (value.circuit_breakers.is_some(), "circuit_breakers", POOL),
        (value.outlier_detection.is_some(), "outlier_detection", "a DestinationRule's `trafficPolicy.outlierDetection`"),
        (
            value.upstream_connection_options.as_ref().is_some_and(|options| options.tcp_keepalive.is_some()),
            "upstream_connection_options",
            "a DestinationRule's `trafficPolicy.connectionPool.tcp.tcpKeepalive`",
        ),
        (value.transport_socket.is_some(), "transport_socket", "a DestinationRule's `trafficPolicy.tls`"),
    ])
}

fn of_network_filter(value: &Filter) -> Vec<(&'static str, &'static str)> {
    let Some(filter::ConfigType::TypedConfig(config)) = &value.config_type else { return vec![] };
    let Ok(manager) = config.unpack::<HttpConnectionManager>() else { return vec![] };
    if !config.is::<HttpConnectionManager>() {
        return vec![];
    }
    said([
        (manager.xff_num_trusted_hops > 0, "xff_num_trusted_hops", "`defaultConfig.gatewayTopology.numTrustedProxies` of the mesh"),
        (!manager.access_log.is_empty(), "access_log", "`accessLogFile` and `accessLogFormat` of the mesh"),
        (manager.path_with_escaped_slashes_action != 0, "path_with_escaped_slashes_action", "`pathNormalization` of the mesh"),
        (manager.merge_slashes, "merge_slashes", "`pathNormalization` of the mesh"),
    ])
}

fn of_http_filter(value: &HttpFilter) -> Vec<(&'static str, &'static str)> {
    let Some(http_filter::ConfigType::TypedConfig(config)) = &value.config_type else { return vec![] };
    said([
        (config.is::<weir_xds::cors::Cors>(), "typed_config", "`corsPolicy` of a VirtualService's route"),
        (config.is::<weir_xds::fault::HttpFault>(), "typed_config", "`fault` of a VirtualService's route"),
    ])
}

fn of_route(value: &Route) -> Vec<(&'static str, &'static str)> {
    let to = match &value.action {
        Some(Action::Route(to)) => Some(to),
        _ => None,
    };
    said([
        (to.is_some_and(|to| to.timeout.is_some()), "route", "`timeout` of a VirtualService's route"),
        (to.is_some_and(|to| to.retry_policy.is_some()), "route", "`retries` of a VirtualService's route"),
        (!value.request_headers_to_add.is_empty(), "request_headers_to_add", HEADERS),
        (!value.response_headers_to_add.is_empty(), "response_headers_to_add", HEADERS),
    ])
}

fn of_virtual_host(value: &VirtualHost) -> Vec<(&'static str, &'static str)> {
    said([
        (value.retry_policy.is_some(), "retry_policy", "`retries` of a VirtualService's route, or `defaultHttpRetryPolicy` of the mesh"),
        (!value.request_headers_to_add.is_empty(), "request_headers_to_add", HEADERS),
        (!value.response_headers_to_add.is_empty(), "response_headers_to_add", HEADERS),
    ])
}
