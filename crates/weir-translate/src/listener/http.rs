//! The HTTP connection manager, as gateways and the two sides of a sidecar have it.
//!
//! Facts: `buildHTTPConnectionManager` in pilot/pkg/networking/core/listener_builder.go of Istio.

use weir_api::resources::MeshConfig;
use weir_api::resources::mesh_config::NormalizationType;
use weir_api::resources::protocol::Protocol;
use weir_xds::core::{AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions, config_source::ConfigSourceSpecifier};
use weir_xds::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config::PerMethodStatSpecifier};
use weir_xds::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use weir_xds::grpc_web::GrpcWeb;
use weir_xds::hcm::http_connection_manager::{PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig};
use weir_xds::hcm::{HttpConnectionManager, HttpFilter, Rds, RequestIdExtension, http_filter};
use weir_xds::listener::Filter;
use weir_xds::route::RouteConfiguration;
use weir_xds::values::duration;
use weir_xds::{Any, Message, Name, cors, fault, router};

use super::access_log;
use super::chain::filter;
use super::headers;
use super::peer_metadata;
use crate::authz;
use crate::cluster::dynamic_dns;
use crate::connection_settings;
use crate::context::Context;
use crate::proxy_headers;
use crate::route::condition::TOKEN_FILTER;
use crate::route::filters::{CORS, FAULT};
use crate::tokens;

/// Which way requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Into the mesh, through a gateway.
    Gateway,
    /// From a workload, through its sidecar.
    Outbound,
    /// To a workload, through its sidecar.
    Inbound,
}

/// Which way requests go, and what their port is declared to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub class: Class,
    pub protocol: Option<Protocol>,
}

impl Class {
    /// At a port that is declared to speak a protocol, or of which nothing is said.
    pub fn speaking(self, protocol: Option<Protocol>) -> Side {
        Side { class: self, protocol }
    }
}

/// The name of the filter.
pub(super) const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Where a proxy's metadata says that it takes HTTP/1.0, as `proxyMetadata` has it.
const ACCEPT_HTTP_10: &str = "ISTIO_META_HTTP10";

/// The filter that a listener's HTTP connections go through, with routes that come on their own.
pub(crate) fn by_route_name(context: &Context<'_>, side: Side, listener: &str, route_name: &str) -> Filter {
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: Some(duration(std::time::Duration::ZERO)),
        resource_api_version: ApiVersion::V3.into(),
        ..Default::default()
    };
    let rds = Rds { config_source: Some(source), route_config_name: route_name.to_owned() };
    manager(context, side, &format!("outbound_{listener};"), RouteSpecifier::Rds(rds))
}

/// The same with routes that stand in it.
pub(crate) fn with_routes(context: &Context<'_>, side: Side, stat_prefix: &str, routes: RouteConfiguration) -> Filter {
    manager(context, side, stat_prefix, RouteSpecifier::RouteConfig(routes))
}

fn manager(context: &Context<'_>, side: Side, stat_prefix: &str, routes: RouteSpecifier) -> Filter {
    let class = side.class;
    let mesh = &context.mesh.config;
    let (normalize, merge_slashes, escaped) = normalization(mesh.path_normalization.normalization);
    let mut manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(routes),
        http_filters: filters(context, side),
        http_protocol_options: http1(mesh, class),
        use_remote_address: Some(class == Class::Gateway),
        proxy_100_continue: true,
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        // A stream may be silent for as long as it likes; timeouts are the routes'.
        stream_idle_timeout: Some(duration(std::time::Duration::ZERO)),
        normalize_path: Some(normalize),
        merge_slashes,
        path_with_escaped_slashes_action: escaped.into(),
        access_log: access_log::of_traffic(mesh),
        request_id_extension: Some(request_id()),
        ..Default::default()
    };
    connection_settings::set_http(&mut manager, &context.connections);
    headers::set(&mut manager, mesh, class);
    filter(MANAGER, &manager)
}

fn normalization(written: NormalizationType) -> (bool, bool, PathWithEscapedSlashesAction) {
    use PathWithEscapedSlashesAction::{KeepUnchanged, UnescapeAndForward};
    match written {
        NormalizationType::None => (false, false, KeepUnchanged),
        NormalizationType::Default | NormalizationType::Base => (true, false, KeepUnchanged),
        NormalizationType::MergeSlashes => (true, true, KeepUnchanged),
        NormalizationType::DecodeAndMergeSlashes => (true, true, UnescapeAndForward),
    }
}

/// HTTP/1.0 is refused unless a proxy says that it takes it, as Istio's proxies do by their metadata.
fn http1(mesh: &MeshConfig, class: Class) -> Option<Http1ProtocolOptions> {
    let accepts_http_10 = mesh.default_config.proxy_metadata.get(ACCEPT_HTTP_10).is_some_and(|flag| flag == "1");
    let options = Http1ProtocolOptions { accept_http_10: accepts_http_10, ..proxy_headers::http1(mesh) };
    (class == Class::Gateway || accepts_http_10 || proxy_headers::preserves_case(mesh)).then_some(options)
}

fn filters(context: &Context<'_>, side: Side) -> Vec<HttpFilter> {
    let stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(false)),
        ..Default::default()
    };
    // What others tell of themselves is known, and taken away, before anything else looks at a request.
    let mut filters: Vec<HttpFilter> = peer_metadata::filter(context, side.class).into_iter().collect();
    // Who may ask is decided before anything is done with a request: first by those that are asked about it, then, once it is known
    // whose it is, by rules. Nobody asks a workload's own way out.
    if side.class != Class::Outbound {
        let authz::HttpFilters { custom, rules } = authz::of_requests(context);
        filters.extend(custom);
        if let Some(check) = tokens::filter(context.mesh, context.proxy, side.class == Class::Gateway) {
            filters.push(http_filter(TOKEN_FILTER, &check));
        }
        filters.extend(rules);
    }
    if side.protocol == Some(Protocol::GrpcWeb) {
        filters.push(http_filter("envoy.filters.http.grpc_web", &GrpcWeb {}));
    }
    filters.extend([
        http_filter("envoy.filters.http.grpc_stats", &stats),
        http_filter(FAULT, &fault::HttpFault::default()),
        http_filter(CORS, &cors::Cors {}),
    ]);
    if side.class != Class::Inbound && dynamic_dns::is_used(context) {
        filters.push(http_filter("envoy.filters.http.dynamic_forward_proxy", &dynamic_dns::filter()));
    }
    let suppress_envoy_headers = proxy_headers::suppresses_debug_headers(&context.mesh.config);
    filters.push(http_filter("envoy.filters.http.router", &router::Router { suppress_envoy_headers, ..Default::default() }));
    filters
}

/// A filter of a connection manager.
pub(crate) fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(http_filter::ConfigType::TypedConfig(Any::pack(config))), ..Default::default() }
}

fn request_id() -> RequestIdExtension {
    let uuid = UuidRequestIdConfig { use_request_id_for_trace_sampling: Some(true), ..Default::default() };
    RequestIdExtension { typed_config: Some(Any::pack(&uuid)) }
}
