//! DestinationRule: how a client speaks to a service, and into which subsets the service is divided.

use serde::Deserialize;

use super::Duration;
use super::load_balancer::LoadBalancerSettings;
use super::meta::Labels;
use super::virtual_service::PortSelector;

/// A client's policies for a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRule {
    /// The service: a name, a short name of the own namespace, or `*.suffix`.
    pub host: String,
    /// What holds for the whole service.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named parts of the service.
    pub subsets: Vec<Subset>,
    /// The namespaces that may see it: `*`, `.` or names; none means the mesh's default.
    pub export_to: Vec<String>,
    /// The clients that it is for; absent means all.
    pub workload_selector: Option<MatchLabelsSelector>,
}

/// A selector of workloads, in the form with `matchLabels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchLabelsSelector {
    /// The labels that a workload must have.
    pub match_labels: Labels,
}

/// A named part of a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// The labels of its endpoints; none means all endpoints.
    pub labels: Labels,
    /// Policies of its own; each block takes the place of the service's.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// How a client speaks to a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and times of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service; absent lets the mesh decide.
    pub tls: Option<ClientTlsSettings>,
    /// Policies for single ports; they take the place of the blocks above, also of those that they leave out.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// A tunnel through which the service is reached.
    pub tunnel: Option<TunnelSettings>,
    /// The PROXY protocol header that connections begin with.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How many retries there may be at a time.
    pub retry_budget: Option<RetryBudget>,
}

/// Policies for one port of a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The service's port.
    pub port: Option<PortSelector>,
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits and times of connections.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When an endpoint is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<ClientTlsSettings>,
}

/// A tunnel through which a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TunnelSettings {
    /// `CONNECT` (the default) or `POST`.
    pub protocol: String,
    /// The host that the tunnel leads to.
    pub target_host: String,
    /// The port that the tunnel leads to.
    pub target_port: u32,
}

/// The PROXY protocol header that connections begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Its version.
    pub version: ProxyProtocolVersion,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// How many retries there may be at a time, relative to the requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryBudget {
    /// The share of requests, in percent; absent means 20.
    pub percent: Option<f64>,
    /// As many are always allowed; absent means 3.
    pub min_retry_concurrency: Option<u32>,
    /// The time over which requests count; absent or 0 means those in flight.
    pub budget_interval: Option<Duration>,
}

/// Limits and times of connections to a service, in each proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConnectionPoolSettings {
    /// For all connections.
    pub tcp: Option<TcpSettings>,
    /// For HTTP.
    pub http: Option<HttpSettings>,
}

/// Limits and times of TCP connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpSettings {
    /// How many connections at most; 0 means no limit.
    pub max_connections: i32,
    /// The time to connect; absent means the mesh's, 10 s.
    pub connect_timeout: Option<Duration>,
    /// Probes on idle connections; absent means none.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection may live; absent means for ever.
    pub max_connection_duration: Option<Duration>,
    /// How long a connection may be idle; absent means 1 h, 0 for ever.
    pub idle_timeout: Option<Duration>,
}

/// TCP keep-alive. What is absent is left to the operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// How many probes go unanswered before the connection is dead; 0 means the system's number.
    pub probes: u32,
    /// How long a connection is idle before the first probe.
    pub time: Option<Duration>,
    /// The time between probes.
    pub interval: Option<Duration>,
}

/// Limits and times of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpSettings {
    /// How many requests may wait for a connection; 0 means no limit.
    pub http1_max_pending_requests: i32,
    /// How many requests there may be at a time, of any version of HTTP; 0 means no limit.
    pub http2_max_requests: i32,
    /// After how many requests a connection is closed; 0 means never, 1 turns keep-alive off.
    pub max_requests_per_connection: i32,
    /// How many retries there may be at a time; 0 means no limit.
    pub max_retries: i32,
    /// How long a connection may be without a request; absent means 1 h.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 requests are forwarded as HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Whether the client's version of HTTP is kept.
    pub use_client_protocol: bool,
    /// How many streams of HTTP/2 there may be on a connection; 0 means 2147483647.
    pub max_concurrent_streams: i32,
    /// PINGs on connections of HTTP/2; absent means none.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// PINGs on connections of HTTP/2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Http2KeepAlive {
    /// The time between PINGs.
    pub interval: Option<Duration>,
    /// How long the answer may take before the connection is closed.
    pub timeout: Option<Duration>,
}

/// Whether HTTP/1.1 requests are forwarded as HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says.
    #[default]
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// When an endpoint is left out for a while. An empty block is in force, with the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Deprecated and without effect: `consecutiveGatewayErrors` or `consecutive5xxErrors` take its place.
    pub consecutive_errors: i32,
    /// Whether errors of connecting are counted apart from the endpoint's answers.
    pub split_external_local_origin_errors: bool,
    /// How many such errors in a row, if they are counted apart; absent means 5.
    pub consecutive_local_origin_failures: Option<u32>,
    /// How many answers 502, 503 or 504 in a row; absent or 0 means they do not count by themselves.
    pub consecutive_gateway_errors: Option<u32>,
    /// How many answers 5xx in a row; absent means 5, 0 turns it off.
    pub consecutive_5xx_errors: Option<u32>,
    /// The time between looks; absent means 10 s.
    pub interval: Option<Duration>,
    /// How long an endpoint is left out the first time; absent means 30 s.
    pub base_ejection_time: Option<Duration>,
    /// How many endpoints may be left out, in percent; 0 means 10.
    pub max_ejection_percent: i32,
    /// Below this share of healthy endpoints, in percent, all are used; 0 means never.
    pub min_health_percent: i32,
    /// The statuses that count as errors; none means 5xx.
    pub outlier_detection_http_error_codes: Vec<u32>,
}

/// TLS as a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientTlsSettings {
    /// Whether and how.
    pub mode: ClientTlsMode,
    /// The file of the client's certificate.
    pub client_certificate: String,
    /// The file of the client's private key.
    pub private_key: String,
    /// The file of the authorities that may sign the server's certificate; empty means the system's.
    pub ca_certificates: String,
    /// The Secret that holds certificates, key and authorities; excludes the files.
    pub credential_name: String,
    /// The names of which the server's certificate must have one; none means the name that was asked for.
    pub subject_alt_names: Vec<String>,
    /// The server name to ask for; empty means the request's host.
    pub sni: String,
    /// Whether the server's certificate goes unchecked; absent means false.
    pub insecure_skip_verify: Option<bool>,
    /// The file of revoked certificates.
    pub ca_crl: String,
}

/// Whether and how a client uses TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// TLS with the client certificate that is named.
    Mutual,
    /// TLS with the workload's own certificate.
    IstioMutual,
}
