//! How connections to a cluster are made and kept: limits, timeouts, the version of HTTP.
//!
//! Facts: pilot/pkg/networking/core/cluster_traffic_policy.go of Istio.

use weir_api::resources::MeshConfig;
use weir_api::resources::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, Http2KeepAlive, HttpSettings, RetryBudget as WrittenBudget, TcpKeepalive as Keepalive,
    TcpSettings,
};
use weir_api::resources::mesh_config::MeshH2UpgradePolicy;
use weir_api::resources::protocol::Protocol;
use weir_xds::Any;
use weir_xds::cluster::circuit_breakers::{Thresholds, thresholds::RetryBudget};
use weir_xds::cluster::{CircuitBreakers, Cluster, UpstreamConnectionOptions};
use weir_xds::core::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as Common, KeepaliveSettings, TcpKeepalive, UpstreamHttpProtocolOptions,
};
use weir_xds::types::Percent;
use weir_xds::upstream_http::HttpProtocolOptions;
use weir_xds::upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig;
use weir_xds::upstream_http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
use weir_xds::values::duration;

use crate::proxy_headers;

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
pub(super) fn as_client(http1: Http1ProtocolOptions, http2: Http2ProtocolOptions) -> UseDownstreamHttpConfig {
    UseDownstreamHttpConfig { http_protocol_options: Some(http1), http2_protocol_options: Some(http2), ..Default::default() }
}

/// What a cluster's connections are made by.
pub(super) struct Pool<'p> {
    pub mesh: &'p MeshConfig,
    pub settings: Option<&'p ConnectionPoolSettings>,
    pub budget: Option<&'p WrittenBudget>,
    /// What the port speaks; none if that is found out.
    pub protocol: Option<Protocol>,
    /// Whether that is found out from each client, and kept to. A gateway would offer HTTP/2 to clients of services that
    /// do not understand it.
    pub follows_client: bool,
    /// Whether HTTP/1.1 may be sent as HTTP/2: never to the proxy's own workload.
    pub upgrades: bool,
}

/// Applies connection settings to a cluster.
pub(super) fn apply(cluster: &mut Cluster, pool: &Pool<'_>) {
    let Pool { mesh, settings, budget, .. } = pool;
    let tcp = settings.and_then(|settings| settings.tcp.as_ref());
    let http = settings.and_then(|settings| settings.http.as_ref());
    let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(mesh.connect_timeout);
    cluster.connect_timeout = Some(duration(connect_timeout.to_std()));
    let mut limits = unlimited();
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
    if let Some(options) = pool.http_options(http, tcp) {
        set_http_options(cluster, &options);
    }
}

/// Replaces a cluster's HTTP options.
pub(super) fn set_http_options(cluster: &mut Cluster, options: &HttpProtocolOptions) {
    cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), Any::pack(options));
}

/// Changes a cluster's HTTP options; those that say no version of HTTP stand for HTTP/1.1.
pub(super) fn change_http_options(cluster: &mut Cluster, change: impl FnOnce(&mut HttpProtocolOptions)) {
    let known = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS).and_then(|options| options.unpack::<HttpProtocolOptions>().ok());
    let mut options = known.unwrap_or_default();
    change(&mut options);
    options.upstream_protocol_options.get_or_insert_with(http1);
    set_http_options(cluster, &options);
}

/// Whether a cluster is spoken to in HTTP/2, whatever the client speaks.
pub(super) fn is_http2(cluster: &Cluster) -> bool {
    let options =
        cluster.typed_extension_protocol_options.get(HTTP_OPTIONS).and_then(|options| options.unpack::<HttpProtocolOptions>().ok());
    let version = options.and_then(|options| options.upstream_protocol_options);
    matches!(
        version,
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(_))
        }))
    )
}

/// Lets TLS take the server's name from the request, and check the certificate against it.
pub(super) fn name_from_request(cluster: &mut Cluster, verify: bool) {
    change_http_options(cluster, |options| {
        options.upstream_http_protocol_options =
            Some(UpstreamHttpProtocolOptions { auto_sni: true, auto_san_validation: verify, ..Default::default() });
    });
}

fn retry_budget(written: &WrittenBudget) -> RetryBudget {
    RetryBudget {
        budget_percent: Some(Percent { value: written.percent.unwrap_or(20.0) }),
        min_retry_concurrency: Some(written.min_retry_concurrency.unwrap_or(3)),
        budget_interval: written.budget_interval.map(|interval| interval.to_std()).filter(|interval| !interval.is_zero()).map(duration),
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

impl Pool<'_> {
    /// None where Envoy's defaults are right: HTTP/1.1 over connections that are kept for an hour.
    fn http_options(&self, http: Option<&HttpSettings>, tcp: Option<&TcpSettings>) -> Option<HttpProtocolOptions> {
        let common = common_options(http, tcp);
        let has_common = common != Common::default();
        let (http1, http2) = (proxy_headers::http1(self.mesh), http2_options(http));
        let speaks_http1 = self.protocol.is_none_or(Protocol::is_http);
        let version = if http.is_some_and(|http| http.use_client_protocol) {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(as_client(http1, http2))
        } else if self.protocol.is_some_and(Protocol::is_http2) || self.is_upgraded(http) {
            explicit(ProtocolConfig::Http2ProtocolOptions(http2))
        } else if self.protocol.is_none() && self.follows_client {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(as_client(http1, http2))
        } else if has_common || speaks_http1 && proxy_headers::preserves_case(self.mesh) {
            explicit(ProtocolConfig::HttpProtocolOptions(http1))
        } else {
            return None;
        };
        Some(HttpProtocolOptions {
            common_http_protocol_options: has_common.then_some(common),
            upstream_protocol_options: Some(version),
            ..Default::default()
        })
    }

    /// Whether HTTP/1.1 is sent as HTTP/2. Whoever asks for it expressly knows that the port speaks HTTP.
    fn is_upgraded(&self, http: Option<&HttpSettings>) -> bool {
        let by_mesh = || self.protocol.is_some_and(Protocol::is_http) && self.mesh.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade;
        self.upgrades
            && match http.map(|http| http.h2_upgrade_policy) {
                Some(H2UpgradePolicy::Upgrade) => true,
                Some(H2UpgradePolicy::DoNotUpgrade) => false,
                Some(H2UpgradePolicy::Default) | None => by_mesh(),
            }
    }
}

fn common_options(http: Option<&HttpSettings>, tcp: Option<&TcpSettings>) -> Common {
    let idle = http.and_then(|http| http.idle_timeout).or(tcp.and_then(|tcp| tcp.idle_timeout));
    Common {
        idle_timeout: idle.map(|timeout| duration(timeout.to_std())),
        max_requests_per_connection: http.and_then(|http| positive(http.max_requests_per_connection)),
        max_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration).map(|limit| duration(limit.to_std())),
        ..Default::default()
    }
}

fn http2_options(http: Option<&HttpSettings>) -> Http2ProtocolOptions {
    let keepalive = |written: &Http2KeepAlive| KeepaliveSettings {
        interval: written.interval.map(|interval| duration(interval.to_std())),
        timeout: written.timeout.map(|timeout| duration(timeout.to_std())),
        ..Default::default()
    };
    Http2ProtocolOptions {
        max_concurrent_streams: http.and_then(|http| positive(http.max_concurrent_streams)),
        connection_keepalive: http.and_then(|http| http.http2_keep_alive.as_ref()).map(keepalive),
        ..Default::default()
    }
}

/// In the API, 0 stands for what is not set.
fn positive(limit: i32) -> Option<u32> {
    u32::try_from(limit).ok().filter(|limit| *limit > 0)
}

/// HTTP/1.1.
fn http1() -> UpstreamProtocolOptions {
    explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()))
}

fn explicit(config: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
}
