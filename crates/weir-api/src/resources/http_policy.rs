//! What a VirtualService's HTTP rule does besides forwarding: redirects, rewrites, retries, faults, CORS, headers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::destination::Destination;
use super::{Duration, StringMatch};

/// A share in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Percent {
    /// 0 to 100; the smallest share is 0.0001.
    pub value: f64,
}

/// Changes to headers in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Headers {
    /// Before the request is forwarded.
    pub request: Option<HeaderOperations>,
    /// Before the response is passed back.
    pub response: Option<HeaderOperations>,
}

/// Changes to headers. Values may hold Envoy's `%COMMANDS%`; a `%` of their own is written `%%`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderOperations {
    /// Headers that get just this value.
    pub set: BTreeMap<String, String>,
    /// Headers that get one more value.
    pub add: BTreeMap<String, String>,
    /// Headers that are removed.
    pub remove: Vec<String>,
}

/// A redirect. What is not given stays as it was in the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRedirect {
    /// The new path, whole.
    pub uri: String,
    /// The new host.
    pub authority: String,
    /// The new port; excludes `derivePort`.
    pub port: Option<u32>,
    /// Where the new port comes from.
    pub derive_port: Option<RedirectPortSelection>,
    /// `http` or `https`.
    pub scheme: String,
    /// The status, 301 by default.
    pub redirect_code: u32,
    /// What takes the place of the matched prefix; excludes `uri`.
    pub prefix_rewrite: Option<String>,
}

/// Where a redirect's port comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedirectPortSelection {
    /// 80 for http, 443 for https.
    #[default]
    FromProtocolDefault,
    /// The port that the request came to.
    FromRequestPort,
}

/// A fixed response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpDirectResponse {
    /// Its status.
    pub status: u32,
    /// Its body, at most 1 MiB; absent means empty.
    pub body: Option<HttpBody>,
}

/// A body: one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpBody {
    /// As text.
    pub string: Option<String>,
    /// As base64.
    pub bytes: Option<String>,
}

/// Changes to path and authority before forwarding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRewrite {
    /// What takes the place of the matched prefix, or of the whole path if that was matched otherwise.
    pub uri: String,
    /// The new Host header.
    pub authority: String,
    /// A substitution in the path; excludes `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A substitution by regular expression; every occurrence is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegexRewrite {
    /// An RE2 expression.
    pub r#match: String,
    /// What takes its place; `\1` is the first group.
    pub rewrite: String,
}

/// When and how often a request is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRetry {
    /// How many retries at most; 0 means none.
    pub attempts: i32,
    /// The time for each try; absent means the rule's timeout.
    pub per_try_timeout: Option<Duration>,
    /// What is retried: Envoy's words and status codes, separated by commas; empty means the mesh's default.
    pub retry_on: String,
    /// Whether retries may go to other localities; absent means false.
    pub retry_remote_localities: Option<bool>,
    /// Whether retries avoid hosts that were tried already; absent means true.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The least time between retries; it doubles, with jitter. Absent means 25 ms.
    pub backoff: Option<Duration>,
}

/// Faults that are injected on purpose; each falls on its own share of the requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpFaultInjection {
    /// A delay before the request is forwarded.
    pub delay: Option<Delay>,
    /// An answer in the request's stead.
    pub abort: Option<Abort>,
}

/// A delay.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Delay {
    /// Deprecated: `percentage` in whole percent.
    pub percent: i32,
    /// How long, at least 1 ms.
    pub fixed_delay: Option<Duration>,
    /// Neither Istio nor Weir carries it out.
    pub exponential_delay: Option<Duration>,
    /// The share of requests; absent means none.
    pub percentage: Option<Percent>,
}

/// An abort: one of the statuses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Abort {
    /// The HTTP status.
    pub http_status: Option<i32>,
    /// The gRPC status by name, such as `UNAVAILABLE`.
    pub grpc_status: Option<String>,
    /// Neither Istio nor Weir carries it out.
    pub http2_error: Option<String>,
    /// The share of requests; absent means none.
    pub percentage: Option<Percent>,
}

/// A destination that gets a copy of the requests; its answers are thrown away.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpMirrorPolicy {
    /// The service.
    pub destination: Option<Destination>,
    /// The share of requests; absent means all.
    pub percentage: Option<Percent>,
}

/// Answers to requests from other origins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Deprecated: `allowOrigins`, each of them exact.
    pub allow_origin: Vec<String>,
    /// The origins that may ask.
    pub allow_origins: Vec<StringMatch>,
    /// The methods that they may use.
    pub allow_methods: Vec<String>,
    /// The request headers that they may send.
    pub allow_headers: Vec<String>,
    /// The response headers that they may see.
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight, in whole seconds.
    pub max_age: Option<Duration>,
    /// Whether they may send credentials; absent means no word about it.
    pub allow_credentials: Option<bool>,
    /// What becomes of a preflight from an origin that may not ask.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What becomes of a preflight from an origin that may not ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As `Forward`.
    #[default]
    Unspecified,
    /// It goes to the service.
    Forward,
    /// It is answered here, without permission.
    Ignore,
}
