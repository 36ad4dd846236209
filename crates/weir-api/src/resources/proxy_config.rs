//! ProxyConfig: what holds for one proxy, in MeshConfig's `defaultConfig` and in the annotation `proxy.istio.io/config`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Duration;

/// What holds for one proxy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyConfig {
    /// How long connections are drained when listeners change, 45 s.
    pub drain_duration: Duration,
    /// How long a proxy that is told to stop waits for the requests in flight, 5 s.
    pub termination_drain_duration: Duration,
    /// The address of the control plane, `istiod.istio-system.svc:15012`.
    pub discovery_address: String,
    /// The port of the proxy's administration, 15000.
    pub proxy_admin_port: i32,
    /// The port of readiness probes and merged metrics, 15020.
    pub status_port: i32,
    /// The longest name of a statistic, 189.
    pub stat_name_length: i32,
    /// The number of workers; absent means the limits of the container, 0 all cores.
    pub concurrency: Option<i32>,
    /// How inbound traffic comes to the proxy.
    pub interception_mode: InboundInterceptionMode,
    /// The name of the mesh in metrics.
    pub mesh_id: String,
    /// Environment of the proxy; `ISTIO_META_…` becomes metadata of its node.
    pub proxy_metadata: BTreeMap<String, String>,
    /// Envoy's runtime flags.
    pub runtime_values: BTreeMap<String, String>,
    /// Where the gateway stands: which forwarded headers are believed.
    pub gateway_topology: Option<Topology>,
    /// Headers that the proxy adds.
    pub proxy_headers: Option<ProxyHeaders>,
    /// Buffers, times and limits of clients' connections.
    pub connection_settings: Option<ConnectionSettings>,
    /// More statistics than the usual ones.
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
    /// Tags of statistics that are split off their names.
    pub extra_stat_tags: Vec<String>,
    /// How often access logs are written out; absent means 1 s.
    pub file_flush_interval: Option<Duration>,
    /// How much is kept back before access logs are written out, in KiB; absent means 64.
    pub file_flush_min_size_kb: Option<u32>,
    /// Whether statistics may be fetched compressed; absent means true.
    pub stats_compression: Option<bool>,
    /// Whether an injected pod's application waits until its sidecar is ready; absent means false.
    pub hold_application_until_proxy_starts: Option<bool>,
    #[serde(rename = "configPath")]
    _config_path: Option<IgnoredAny>,
    #[serde(rename = "binaryPath")]
    _binary_path: Option<IgnoredAny>,
    #[serde(rename = "serviceCluster")]
    _service_cluster: Option<IgnoredAny>,
    #[serde(rename = "tracingServiceName")]
    _tracing_service_name: Option<IgnoredAny>,
    #[serde(rename = "parentShutdownDuration")]
    _parent_shutdown_duration: Option<IgnoredAny>,
    #[serde(rename = "discoveryRefreshDelay")]
    _discovery_refresh_delay: Option<IgnoredAny>,
    #[serde(rename = "zipkinAddress")]
    _zipkin_address: Option<IgnoredAny>,
    #[serde(rename = "statsdUdpAddress")]
    _statsd_udp_address: Option<IgnoredAny>,
    #[serde(rename = "envoyMetricsServiceAddress")]
    _envoy_metrics_service_address: Option<IgnoredAny>,
    #[serde(rename = "availabilityZone")]
    _availability_zone: Option<IgnoredAny>,
    #[serde(rename = "controlPlaneAuthPolicy")]
    _control_plane_auth_policy: Option<IgnoredAny>,
    #[serde(rename = "customConfigFile")]
    _custom_config_file: Option<IgnoredAny>,
    #[serde(rename = "proxyBootstrapTemplatePath")]
    _proxy_bootstrap_template_path: Option<IgnoredAny>,
    #[serde(rename = "tracing")]
    _tracing: Option<IgnoredAny>,
    #[serde(rename = "sds")]
    _sds: Option<IgnoredAny>,
    #[serde(rename = "envoyAccessLogService")]
    _envoy_access_log_service: Option<IgnoredAny>,
    #[serde(rename = "envoyMetricsService")]
    _envoy_metrics_service: Option<IgnoredAny>,
    #[serde(rename = "readinessProbe")]
    _readiness_probe: Option<IgnoredAny>,
    #[serde(rename = "caCertificatesPem")]
    _ca_certificates_pem: Option<IgnoredAny>,
    #[serde(rename = "image")]
    _image: Option<IgnoredAny>,
    #[serde(rename = "privateKeyProvider")]
    _private_key_provider: Option<IgnoredAny>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            drain_duration: Duration::from_secs(45),
            termination_drain_duration: Duration::from_secs(5),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            proxy_admin_port: 15000,
            status_port: 15020,
            stat_name_length: 189,
            concurrency: None,
            interception_mode: InboundInterceptionMode::Redirect,
            mesh_id: String::new(),
            proxy_metadata: BTreeMap::new(),
            runtime_values: BTreeMap::new(),
            gateway_topology: None,
            proxy_headers: None,
            connection_settings: None,
            proxy_stats_matcher: None,
            extra_stat_tags: vec![],
            file_flush_interval: None,
            file_flush_min_size_kb: None,
            stats_compression: None,
            hold_application_until_proxy_starts: None,
            _config_path: None,
            _binary_path: None,
            _service_cluster: None,
            _tracing_service_name: None,
            _parent_shutdown_duration: None,
            _discovery_refresh_delay: None,
            _zipkin_address: None,
            _statsd_udp_address: None,
            _envoy_metrics_service_address: None,
            _availability_zone: None,
            _control_plane_auth_policy: None,
            _custom_config_file: None,
            _proxy_bootstrap_template_path: None,
            _tracing: None,
            _sds: None,
            _envoy_access_log_service: None,
            _envoy_metrics_service: None,
            _readiness_probe: None,
            _ca_certificates_pem: None,
            _image: None,
            _private_key_provider: None,
        }
    }
}

/// How inbound traffic comes to a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InboundInterceptionMode {
    /// The kernel redirects it, and the client's address is lost.
    #[default]
    Redirect,
    /// The kernel redirects it, and the client's address stays.
    Tproxy,
    /// Clients ask for the proxy's own address.
    None,
}

/// Where a gateway stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Topology {
    /// How many trusted proxies stand before it: the client's address is that many from the end of X-Forwarded-For.
    pub num_trusted_proxies: u32,
    /// What becomes of X-Forwarded-Client-Cert.
    pub forward_client_cert_details: ForwardClientCertDetails,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocolConfiguration>,
}

/// Connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyProtocolConfiguration {}

/// What becomes of X-Forwarded-Client-Cert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// Not said: `SanitizeSet` at gateways, `AppendForward` at sidecars.
    #[default]
    Undefined,
    /// It is removed.
    Sanitize,
    /// It is kept if the client has a certificate.
    ForwardOnly,
    /// The client's certificate is appended to it.
    AppendForward,
    /// It is replaced by the client's certificate.
    SanitizeSet,
    /// It is kept.
    AlwaysForwardOnly,
}

/// Headers that a proxy adds. What is absent is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyHeaders {
    /// `server`.
    pub server: Option<ServerHeader>,
    /// `x-request-id`.
    pub request_id: Option<OptionalHeader>,
    /// `x-envoy-attempt-count`.
    pub attempt_count: Option<OptionalHeader>,
    /// `x-envoy-…` about times and clusters.
    pub envoy_debug_headers: Option<OptionalHeader>,
    /// `x-envoy-peer-metadata`.
    pub metadata_exchange_headers: Option<MetadataExchangeHeaders>,
    /// What becomes of X-Forwarded-Client-Cert.
    pub forwarded_client_cert: ForwardClientCertDetails,
    /// What X-Forwarded-Client-Cert says of the client's certificate.
    pub set_current_client_cert_details: Option<SetCurrentClientCertDetails>,
    /// Whether names of headers keep their case in HTTP/1; absent means false.
    pub preserve_http1_header_case: Option<bool>,
    /// `x-forwarded-host`.
    pub x_forwarded_host: Option<EnabledHeader>,
    /// `x-forwarded-port`.
    pub x_forwarded_port: Option<EnabledHeader>,
}

/// The header `server`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerHeader {
    /// Whether it is left as the service set it; absent means false.
    pub disabled: Option<bool>,
    /// Its value; empty means `istio-envoy`.
    pub value: String,
}

/// A header that can be turned off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OptionalHeader {
    /// Whether it is left away; absent means false.
    pub disabled: Option<bool>,
}

/// A header that can be turned on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnabledHeader {
    /// Whether it is added; absent means false.
    pub enabled: Option<bool>,
}

/// The header `x-envoy-peer-metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetadataExchangeHeaders {
    /// To whom it is sent.
    pub mode: MetadataExchangeMode,
}

/// To whom `x-envoy-peer-metadata` is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MetadataExchangeMode {
    /// To all.
    #[default]
    Undefined,
    /// To services of the mesh only.
    InMesh,
}

/// What X-Forwarded-Client-Cert says of the client's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetCurrentClientCertDetails {
    /// Its subject; absent means true.
    pub subject: Option<bool>,
    /// All of it; absent means false.
    pub cert: Option<bool>,
    /// Its whole chain; absent means false.
    pub chain: Option<bool>,
    /// Its DNS names; absent means true.
    pub dns: Option<bool>,
    /// Its URI; absent means true.
    pub uri: Option<bool>,
}

/// More statistics than the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyStatsMatcher {
    /// How their names begin.
    pub inclusion_prefixes: Vec<String>,
    /// How their names end.
    pub inclusion_suffixes: Vec<String>,
    /// Expressions for their names.
    pub inclusion_regexps: Vec<String>,
}

/// Buffers, times and limits of clients' connections. What is absent is as the profile says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionSettings {
    /// What kind of place the proxy stands in.
    pub profile: ConnectionProfile,
    /// How much of a client's connection is buffered, in bytes.
    pub listener_per_connection_buffer_limit_bytes: Option<i32>,
    /// How much of an endpoint's connection is buffered, in bytes.
    pub cluster_per_connection_buffer_limit_bytes: Option<i32>,
    /// How many connections a listener takes.
    pub listener_connection_limit: Option<i32>,
    /// How many connections the proxy takes.
    pub global_downstream_connection_limit: Option<i32>,
    /// How long a connection may be without a request.
    pub http_idle_timeout: Option<Duration>,
    /// How long a connection may live.
    pub http_max_connection_duration: Option<Duration>,
    /// How long a request and its response may last.
    pub http_max_stream_duration: Option<Duration>,
    /// How long nothing may happen within a request or its response.
    pub http_stream_idle_timeout: Option<Duration>,
    /// How long a whole request may take to arrive.
    pub http_request_timeout: Option<Duration>,
    /// How long a request's headers may take to arrive.
    pub http_request_headers_timeout: Option<Duration>,
    /// How long a connection of HTTP/2 is drained before it is closed.
    pub http_drain_timeout: Option<Duration>,
    /// How many streams of HTTP/2 there may be on a connection.
    pub http_max_concurrent_streams: Option<i32>,
    /// The window of a stream of HTTP/2, in bytes.
    pub http2_initial_stream_window_size: Option<i32>,
    /// The window of a connection of HTTP/2, in bytes.
    pub http2_initial_connection_window_size: Option<i32>,
    /// What becomes of headers with an underscore in their name.
    pub http_headers_with_underscores_action: HeadersWithUnderscoresAction,
    /// Whether several slashes in a path are one.
    pub http_merge_slashes: Option<bool>,
    /// What becomes of `%2F` and `%5C` in a path.
    pub http_path_with_escaped_slashes_action: PathWithEscapedSlashesAction,
}

/// What kind of place a proxy stands in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionProfile {
    /// Among friends.
    #[default]
    Sidecar,
    /// At the edge: gateways get limits fit for strangers.
    Edge,
}

/// What becomes of headers with an underscore in their name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum HeadersWithUnderscoresAction {
    /// As the profile says.
    #[default]
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED")]
    Unspecified,
    /// They pass.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_ALLOW")]
    Allow,
    /// The request is refused.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST")]
    RejectRequest,
    /// They are removed.
    #[serde(rename = "HEADERS_WITH_UNDERSCORES_DROP_HEADER")]
    DropHeader,
}

/// What becomes of `%2F` and `%5C` in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathWithEscapedSlashesAction {
    /// As the profile says.
    #[default]
    #[serde(rename = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED")]
    Unspecified,
    /// They stay.
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// The client is redirected to the path with slashes.
    UnescapeAndRedirect,
    /// They become slashes.
    UnescapeAndForward,
}
