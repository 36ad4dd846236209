//! Services that policies name: MeshConfig's `extensionProviders`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Duration;

/// A service that is asked about requests, or told of them. What it is for is said by the one field that it has besides its name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtensionProvider {
    /// The name by which policies speak of it.
    pub name: String,
    /// It decides about requests, by HTTP.
    pub envoy_ext_authz_http: Option<ExtAuthzHttpProvider>,
    /// It decides about requests, by gRPC.
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpcProvider>,
    #[serde(rename = "zipkin")]
    _zipkin: Option<IgnoredAny>,
    #[serde(rename = "lightstep")]
    _lightstep: Option<IgnoredAny>,
    #[serde(rename = "datadog")]
    _datadog: Option<IgnoredAny>,
    #[serde(rename = "stackdriver")]
    _stackdriver: Option<IgnoredAny>,
    #[serde(rename = "opencensus")]
    _opencensus: Option<IgnoredAny>,
    #[serde(rename = "skywalking")]
    _skywalking: Option<IgnoredAny>,
    #[serde(rename = "opentelemetry")]
    _opentelemetry: Option<IgnoredAny>,
    #[serde(rename = "prometheus")]
    _prometheus: Option<IgnoredAny>,
    #[serde(rename = "envoyFileAccessLog")]
    _envoy_file_access_log: Option<IgnoredAny>,
    #[serde(rename = "envoyHttpAls")]
    _envoy_http_als: Option<IgnoredAny>,
    #[serde(rename = "envoyTcpAls")]
    _envoy_tcp_als: Option<IgnoredAny>,
    #[serde(rename = "envoyOtelAls")]
    _envoy_otel_als: Option<IgnoredAny>,
    #[serde(rename = "sds")]
    _sds: Option<IgnoredAny>,
}

/// A service that decides about requests, by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtAuthzHttpProvider {
    /// Its host, or `NAMESPACE/HOST`.
    pub service: String,
    /// Its port.
    pub port: u32,
    /// How long it may take; 600 s where nothing is said.
    pub timeout: Option<Duration>,
    /// What stands before the path that it is asked for.
    pub path_prefix: String,
    /// Whether requests pass where it fails.
    pub fail_open: bool,
    /// Whether the route is found anew after it has answered.
    pub clear_route_cache: bool,
    /// The status of the answer where it fails, 403.
    pub status_on_error: String,
    /// The older name of `include_request_headers_in_check`.
    pub include_headers_in_check: Vec<String>,
    /// The headers that it gets besides the usual ones.
    pub include_request_headers_in_check: Vec<String>,
    /// Headers that it gets besides the request's own.
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    /// How much of the body it gets; absent means none.
    pub include_request_body_in_check: Option<ExtAuthzRequestBody>,
    /// Headers of its answer that the workload gets.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of its answer that the client gets with a refusal.
    pub headers_to_downstream_on_deny: Vec<String>,
    /// Headers of its answer that the client gets otherwise.
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// A service that decides about requests, by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtAuthzGrpcProvider {
    /// Its host, or `NAMESPACE/HOST`.
    pub service: String,
    /// Its port.
    pub port: u32,
    /// How long it may take; 600 s where nothing is said.
    pub timeout: Option<Duration>,
    /// Whether requests pass where it fails.
    pub fail_open: bool,
    /// Whether the route is found anew after it has answered.
    pub clear_route_cache: bool,
    /// The status of the answer where it fails, 403.
    pub status_on_error: String,
    /// How much of the body it gets; absent means none.
    pub include_request_body_in_check: Option<ExtAuthzRequestBody>,
}

/// How much of a body a service gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtAuthzRequestBody {
    /// So many bytes.
    pub max_request_bytes: u32,
    /// Whether it gets the beginning of a longer one, which is refused otherwise.
    pub allow_partial_message: bool,
    /// Whether it gets it as bytes, and not as a text.
    pub pack_as_bytes: bool,
}
