//! Limits that a service counts for many proxies: Envoy's global rate limit filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter>).
//!
//! What the service answers is understood in [`answer`].

use std::time::Duration;

use weir_xds::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use weir_xds::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use weir_xds::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry as XdsEntry;
use weir_xds::ratelimit::RateLimit as Message;
use weir_xds::ratelimit::RateLimitPerRoute;
use weir_xds::ratelimit::rate_limit::XRateLimitHeadersRfcVersion;
use weir_xds::ratelimit::rate_limit_per_route::VhRateLimitsOptions;
use weir_xds::ratelimit_service::RateLimitRequest;

use super::local_ratelimit::RouteLimits;
use super::service::{GrpcService, check_version, limit, sanitized, status};
use super::{Policy, Share};
use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::rate_limits::{self, Counted, Descriptor, Owner, RateLimit};

pub mod answer;

/// How long the service may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(20);
const RESOURCE_EXHAUSTED: u32 = 8;
/// Where what a service tells is left, if nothing is said.
const NAMESPACE: &str = "envoy.filters.http.ratelimit";

/// How requests are limited.
#[derive(Debug, Clone)]
pub struct GlobalLimitPolicy {
    /// Who counts.
    pub service: GrpcService,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Which requests are counted.
    pub enabled: Share,
    /// To which of those that are too many it matters.
    pub enforced: Share,
    /// Which requests are refused where the service fails.
    pub denies_failure: Share,
    /// The status of the answer to a request that is too many.
    pub status: u16,
    /// The gRPC status of the answer to a call, where it does not follow from the status.
    pub grpc_status: Option<u32>,
    /// The status of the answer where the service fails.
    pub status_on_error: u16,
    /// Changes to the answers to requests that are too many.
    pub response_headers: HeaderChanges,
    /// Whether the client is told what is left (`x-ratelimit-limit`, `-remaining` and `-reset`).
    pub tell: bool,
    /// Whether it is told that it was too much (`x-envoy-ratelimited`).
    pub tell_limited: bool,
    /// Whether `retry-after` is set on an answer with status 429, unless the service sets it.
    pub retry_after: bool,
    /// The namespace of what the service tells of a request, for other filters and logs.
    pub metadata_namespace: Box<str>,
    domain: Box<str>,
    stage: u32,
    requests: Requests,
    rate_limits: Box<[RateLimit]>,
}

/// Which requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requests {
    All,
    Internal,
    External,
}

/// What a route says of it.
#[derive(Debug, Clone)]
pub struct GlobalLimitOverride {
    of_virtual_host: VhRateLimitsOptions,
    domain: Box<str>,
    rate_limits: Box<[RateLimit]>,
}

impl Policy for GlobalLimitPolicy {
    type Message = Message;

    fn compile(message: &Message) -> Result<Self, CompileError> {
        let Message {
            domain,
            stage,
            request_type,
            timeout,
            failure_mode_deny,
            rate_limited_as_resource_exhausted,
            rate_limit_service,
            enable_x_ratelimit_headers: _,
            disable_x_envoy_ratelimited_header,
            rate_limited_status,
            response_headers_to_add,
            status_on_error,
            stat_prefix: _,
            filter_enabled,
            filter_enforced,
            failure_mode_deny_percent,
            rate_limits,
            metadata_namespace,
            enable_retry_after_header,
        } = message;
        if domain.is_empty() {
            return Err(CompileError::missing("domain"));
        }
        if *stage > 10 {
            return Err(CompileError::new("stage", "must be at most 10"));
        }
        if response_headers_to_add.len() > 10 {
            return Err(CompileError::new("response_headers_to_add", "has more than 10 headers"));
        }
        let usual = if *failure_mode_deny { Share::ALL } else { Share::NONE };
        let of_runtime = |share: &Option<_>, field| Share::of_runtime(share.as_ref(), field);
        Ok(Self {
            service: self::service(rate_limit_service.as_ref()).map_err(|error| error.within("rate_limit_service"))?,
            timeout: limit(timeout.as_ref(), TIMEOUT),
            enabled: of_runtime(filter_enabled, "filter_enabled")?.unwrap_or(Share::ALL),
            enforced: of_runtime(filter_enforced, "filter_enforced")?.unwrap_or(Share::ALL),
            denies_failure: of_runtime(failure_mode_deny_percent, "failure_mode_deny_percent")?.unwrap_or(usual),
            status: status(rate_limited_status.as_ref(), 400, 429),
            grpc_status: rate_limited_as_resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            status_on_error: status(status_on_error.as_ref(), 200, 500),
            response_headers: HeaderChanges::compile(response_headers_to_add, &[])
                .and_then(HeaderChanges::without_authority)
                .map_err(|error| error.within("response_headers_to_add"))?,
            tell: message.enable_x_ratelimit_headers() == XRateLimitHeadersRfcVersion::DraftVersion03,
            tell_limited: !disable_x_envoy_ratelimited_header,
            retry_after: *enable_retry_after_header,
            metadata_namespace: if metadata_namespace.is_empty() { NAMESPACE } else { metadata_namespace.as_str() }.into(),
            domain: domain.as_str().into(),
            stage: *stage,
            requests: Requests::compile(request_type)?,
            rate_limits: rate_limits::compile(rate_limits, Owner::Filter)?,
        })
    }
}

fn service(config: Option<&RateLimitServiceConfig>) -> Result<GrpcService, CompileError> {
    let config = config.ok_or_else(|| CompileError::missing(""))?;
    let RateLimitServiceConfig { grpc_service, transport_api_version: _ } = config;
    check_version(config.transport_api_version())?;
    let service = grpc_service.as_ref().ok_or_else(|| CompileError::missing("grpc_service"))?;
    // How long it may take the filter says.
    GrpcService::compile(service).map(|(service, _)| service).map_err(|error| error.within("grpc_service"))
}

impl Requests {
    fn compile(text: &str) -> Result<Self, CompileError> {
        match text {
            "" | "both" => Ok(Self::All),
            "internal" => Ok(Self::Internal),
            "external" => Ok(Self::External),
            other => Err(CompileError::new("request_type", format!("`{other}` is none of `internal`, `external` and `both`"))),
        }
    }

    fn are_with(self, counted: &Counted<'_>) -> bool {
        let is_internal = || counted.head.headers.get("x-envoy-internal").is_some_and(|internal| internal.as_bytes() == b"true");
        match self {
            Self::All => true,
            Self::Internal => is_internal(),
            Self::External => !is_internal(),
        }
    }
}

impl Policy for GlobalLimitOverride {
    type Message = RateLimitPerRoute;

    fn compile(message: &RateLimitPerRoute) -> Result<Self, CompileError> {
        // Envoy does not read `override_option`.
        let RateLimitPerRoute { vh_rate_limits: _, override_option: _, rate_limits, domain } = message;
        Ok(Self {
            of_virtual_host: message.vh_rate_limits(),
            domain: domain.as_str().into(),
            rate_limits: rate_limits::compile(rate_limits, Owner::Filter)?,
        })
    }
}

impl GlobalLimitPolicy {
    /// What the service is asked of a request, of whose route this is said; `None` if it counts towards nothing.
    pub fn question(
        &self,
        counted: &Counted<'_>,
        limits: &RouteLimits<'_>,
        said: Option<&GlobalLimitOverride>,
    ) -> Option<RateLimitRequest> {
        if !self.requests.are_with(counted) {
            return None;
        }
        let descriptors: Vec<_> = self.descriptors(counted, limits, said).iter().map(written).collect();
        let domain = said.map(|said| &said.domain).filter(|domain| !domain.is_empty()).unwrap_or(&self.domain);
        (!descriptors.is_empty()).then(|| RateLimitRequest { domain: domain.to_string(), descriptors, hits_addend: 0 })
    }

    /// By the route's rate limits for this filter, where it has some, else by the filter's own, else by those of the route and
    /// the virtual host.
    fn descriptors(&self, counted: &Counted<'_>, limits: &RouteLimits<'_>, said: Option<&GlobalLimitOverride>) -> Vec<Descriptor> {
        let all = |limits: &[RateLimit]| limits.iter().filter_map(|limit| limit.descriptor(counted)).collect();
        match said.map(|said| &said.rate_limits).filter(|own| !own.is_empty()) {
            Some(own) => return all(own),
            None if !self.rate_limits.is_empty() => return all(&self.rate_limits),
            None => {}
        }
        let with_host = limits.include_virtual_host
            || match said.map_or(VhRateLimitsOptions::Override, |said| said.of_virtual_host) {
                VhRateLimitsOptions::Override => limits.route.is_empty(),
                VhRateLimitsOptions::Include => true,
                VhRateLimitsOptions::Ignore => false,
            };
        let all = limits.route.iter().chain(limits.virtual_host.iter().filter(|_| with_host));
        let of_stage = all.filter(|limit| limit.stage == self.stage).filter_map(|limit| limit.descriptor(counted));
        // Only what is said for this filter may count more than once, as in Envoy.
        of_stage.map(|descriptor| Descriptor { hits: None, ..descriptor }).collect()
    }
}

fn written(descriptor: &Descriptor) -> RateLimitDescriptor {
    let entry = |entry: &rate_limits::Entry| XdsEntry { key: entry.key.to_string(), value: sanitized(&entry.value) };
    RateLimitDescriptor { entries: descriptor.entries.iter().map(entry).collect(), hits_addend: descriptor.hits, ..Default::default() }
}

#[cfg(test)]
mod tests;
