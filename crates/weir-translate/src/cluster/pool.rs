//! How connections to a cluster are made and kept: limits, timeouts, the version of HTTP.
//!
//! Facts: pilot/pkg/networking/core/cluster_traffic_policy.go of Istio.

use std::time::Duration;

use weir_api::resources::MeshConfig;
use weir_api::resources::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, RetryBudget as WrittenBudget, TcpKeepalive as Keepalive,
};
use weir_api::resources::mesh_config::MeshH2UpgradePolicy;
use weir_api::resources::protocol::Protocol;
use weir_xds::Any;
use weir_xds::cluster::circuit_breakers::{Thresholds, thresholds::RetryBudget};
use weir_xds::cluster::{CircuitBreakers, Cluster, UpstreamConnectionOptions};
use weir_xds::core::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as Common, KeepaliveSettings, TcpKeepalive, UpstreamHttpProtocolOptions,
};
use weir_xds::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use weir_xds::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use weir_xds::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use weir_xds::types::Percent;
use weir_xds::upstream_http::HttpProtocolOptions;
use weir_xds::upstream_http::http_protocol_options::OutlierDetection as HttpOutliers;
use weir_xds::upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig;
use weir_xds::upstream_http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
use weir_xds::values::duration;

/// The key of a cluster's HTTP options.
pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// No limits: Istio's default.
pub(super) fn unlimited() -> Thresholds {
    Thresholds {
        max_connections: Some(u32::MAX),
        max_pending_requests: Some(u32::MAX),
        max_requests: Some(u32::MAX),
        max_retries: Some(u32::MAX),
        ..Default::default()
    }
}

/// HTTP in the version that the client speaks.
pub(super) fn as_client(http2: Http2ProtocolOptions) -> UseDownstreamHttpConfig {
    UseDownstreamHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(http2),
        ..Default::default()
    }
}

/// Applies connection settings to a cluster whose port speaks a protocol; none if that is found out.
pub(super) fn apply(
    cluster: &mut Cluster,
    mesh: &MeshConfig,
    settings: Option<&ConnectionPoolSettings>,
    protocol: Option<Protocol>,
    budget: Option<&WrittenBudget>,
) {
    let tcp = settings.and_then(|settings| settings.tcp.as_ref());
    let http = settings.and_then(|settings| settings.http.as_ref());
    let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(mesh.connect_timeout);
    cluster.connect_timeout = Some(duration(connect_timeout.to_std()));
    let mut limits = unlimited();
    let positive = |limit: i32| u32::try_from(limit).ok().filter(|limit| *limit > 0);
    limits.max_connections = tcp.and_then(|tcp| positive(tcp.max_connections)).or(limits.max_connections);
    if let Some(http) = http {
        limits.max_pending_requests = positive(http.http1_max_pending_requests).or(limits.max_pending_requests);
        limits.max_requests = positive(http.http2_max_requests).or(limits.max_requests);
        limits.max_retries = positive(http.max_retries).or(limits.max_retries);
    }
    if let Some(budget) = budget {
        limits.retry_budget = Some(retry_budget(budget));
    }
    cluster.circuit_breakers = Some(CircuitBreakers { thresholds: vec![limits], ..Default::default() });
    if let Some(keepalive) = tcp.and_then(|tcp| tcp.tcp_keepalive.as_ref()).or(mesh.tcp_keepalive.as_ref()) {
        cluster.upstream_connection_options =
            Some(UpstreamConnectionOptions { tcp_keepalive: Some(tcp_keepalive(keepalive)), ..Default::default() });
    }
    let max_age = tcp.and_then(|tcp| tcp.max_connection_duration).map(|limit| limit.to_std());
    if let Some(options) = http_options(mesh, http, protocol, max_age) {
        set_http_options(cluster, &options);
    }
}

/// Replaces a cluster's HTTP options.
pub(super) fn set_http_options(cluster: &mut Cluster, options: &HttpProtocolOptions) {
    cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), Any::pack(options));
}

/// Lets TLS take the server's name from the request, and check the certificate against it.
pub(super) fn name_from_request(cluster: &mut Cluster) {
    change_http_options(cluster, |options| {
        options.upstream_http_protocol_options =
            Some(UpstreamHttpProtocolOptions { auto_sni: true, auto_san_validation: true, ..Default::default() });
    });
}

/// Outlier detection counts answers with these statuses as errors, and no others; without any those with 5xx.
pub(super) fn count_as_errors(cluster: &mut Cluster, statuses: &[u32]) {
    let exactly = |status: &u32| {
        let text = StringMatcher { match_pattern: Some(MatchPattern::Exact(status.to_string())), ignore_case: false };
        let specifier = Some(HeaderMatchSpecifier::StringMatch(text));
        let header = HeaderMatcher { name: ":status".to_owned(), header_match_specifier: specifier, ..Default::default() };
        MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers: vec![header] })) }
    };
    let matcher = match statuses {
        [] => return,
        // Envoy wants at least two where it is to choose.
        [status] => exactly(status),
        statuses => MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules: statuses.iter().map(exactly).collect() })) },
    };
    change_http_options(cluster, |options| options.outlier_detection = Some(HttpOutliers { error_matcher: Some(matcher) }));
}

fn change_http_options(cluster: &mut Cluster, change: impl FnOnce(&mut HttpProtocolOptions)) {
    let known = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS).and_then(|options| options.unpack::<HttpProtocolOptions>().ok());
    let mut options = known.unwrap_or_default();
    change(&mut options);
    if options.upstream_protocol_options.is_none() {
        options.upstream_protocol_options = Some(explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())));
    }
    set_http_options(cluster, &options);
}

fn retry_budget(written: &WrittenBudget) -> RetryBudget {
    RetryBudget {
        budget_percent: Some(Percent { value: written.percent.unwrap_or(20.0) }),
        min_retry_concurrency: Some(written.min_retry_concurrency.unwrap_or(3)),
        ..Default::default()
    }
}

fn tcp_keepalive(written: &Keepalive) -> TcpKeepalive {
    let seconds = |duration: weir_api::resources::Duration| u32::try_from(duration.to_std().as_secs()).unwrap_or(u32::MAX);
    TcpKeepalive {
        keepalive_probes: (written.probes > 0).then_some(written.probes),
        keepalive_time: written.time.map(seconds),
        keepalive_interval: written.interval.map(seconds),
    }
}

/// None where Envoy's defaults are right: HTTP/1.1 over connections that are kept for an hour.
fn http_options(
    mesh: &MeshConfig,
    http: Option<&HttpSettings>,
    protocol: Option<Protocol>,
    max_age: Option<Duration>,
) -> Option<HttpProtocolOptions> {
    let http2 = Http2ProtocolOptions {
        max_concurrent_streams: http.and_then(|http| u32::try_from(http.max_concurrent_streams).ok()).filter(|limit| *limit > 0),
        connection_keepalive: http.and_then(|http| http.http2_keep_alive.as_ref()).map(|keepalive| KeepaliveSettings {
            interval: keepalive.interval.map(|interval| duration(interval.to_std())),
            timeout: keepalive.timeout.map(|timeout| duration(timeout.to_std())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let common = Common {
        idle_timeout: http.and_then(|http| http.idle_timeout).map(|timeout| duration(timeout.to_std())),
        max_requests_per_connection: http.and_then(|http| u32::try_from(http.max_requests_per_connection).ok()).filter(|limit| *limit > 0),
        max_connection_duration: max_age.map(duration),
        ..Default::default()
    };
    let has_common = common != Common::default();
    let version = if http.is_some_and(|http| http.use_client_protocol) || protocol.is_none() {
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(as_client(http2))
    } else if protocol.is_some_and(Protocol::is_http2) || (protocol == Some(Protocol::Http) && upgrades(mesh, http)) {
        explicit(ProtocolConfig::Http2ProtocolOptions(http2))
    } else if has_common {
        explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()))
    } else {
        return None;
    };
    Some(HttpProtocolOptions {
        common_http_protocol_options: has_common.then_some(common),
        upstream_protocol_options: Some(version),
        ..Default::default()
    })
}

fn explicit(config: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
}

/// Whether HTTP/1.1 is sent as HTTP/2.
fn upgrades(mesh: &MeshConfig, http: Option<&HttpSettings>) -> bool {
    match http.map(|http| http.h2_upgrade_policy) {
        Some(H2UpgradePolicy::Upgrade) => true,
        Some(H2UpgradePolicy::DoNotUpgrade) => false,
        Some(H2UpgradePolicy::Default) | None => mesh.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade,
    }
}
