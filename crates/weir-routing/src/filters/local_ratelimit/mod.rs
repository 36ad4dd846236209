//! Limits that this proxy counts alone: Envoy's local rate limit filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter>).
//!
//! A route's policy takes the place of the filter's, with buckets of its own.

use std::collections::HashSet;
use std::sync::Arc;

use weir_xds::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry as XdsEntry;
use weir_xds::envoy::extensions::common::ratelimit::v3::{LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion};
use weir_xds::local_ratelimit::LocalRateLimit;

use super::counters::counters;
use super::{Policy, Share};
use crate::error::CompileError;
use crate::header_changes::HeaderChanges;
use crate::rate_limits::{self, Counted, Descriptor, Entry, Owner, RateLimit};

mod bucket;
mod buckets;

pub use bucket::{Level, TokenBucket};
pub use buckets::{Buckets, Left};

counters! {
    /// Requests, and whether they were within the limits.
    RateLimitCounters: enabled ok rate_limited enforced
}

/// How requests are limited.
#[derive(Debug, Clone)]
pub struct RateLimitPolicy {
    /// Names it in statistics.
    pub stat_prefix: Box<str>,
    /// The status of the answer to a request that is too many.
    pub status: u16,
    /// The gRPC status of the answer to a call, where it does not follow from the status.
    pub grpc_status: Option<u32>,
    /// For requests that count towards nothing else; without it they are not limited.
    pub bucket: Option<TokenBucket>,
    /// For requests with such descriptors.
    pub rules: Box<[Rule]>,
    /// Which requests are counted.
    pub enabled: Share,
    /// To which of those that are too many it matters.
    pub enforced: Share,
    /// Changes to those to which it does not.
    pub request_headers: HeaderChanges,
    /// Changes to the answers to those to which it does.
    pub response_headers: HeaderChanges,
    /// Whether each connection has buckets of its own. As in Envoy one set of buckets serves a connection, that of the first
    /// policy that needs it.
    pub per_connection: bool,
    /// Whether the client is told what is left (`x-ratelimit-limit`, `-remaining` and `-reset`).
    pub tell: bool,
    /// Whether `retry-after` is set on an answer with status 429, unless it is there.
    pub retry_after: bool,
    /// What is in the buckets, for all who hold this policy.
    pub buckets: Arc<Buckets>,
    /// What is counted by those who hold this policy.
    pub counted: Arc<RateLimitCounters>,
    rate_limits: Box<[RateLimit]>,
    stage: u32,
    of_virtual_host: OfVirtualHost,
    always_default: bool,
}

/// What a route says of it: the same, but with a bucket.
#[derive(Debug, Clone)]
pub struct RateLimitOverride(pub RateLimitPolicy);

/// A bucket for requests that have exactly this descriptor.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    entries: Box<[Entry]>,
    /// What is in it.
    pub bucket: TokenBucket,
    /// Whether requests pass when it is empty.
    pub shadow: bool,
}

/// Whether a virtual host's rate limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfVirtualHost {
    IfRouteHasNone,
    Always,
    Never,
}

/// The rate limits that a request's route and virtual host have.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteLimits<'r> {
    /// The route's.
    pub route: &'r [RateLimit],
    /// The virtual host's.
    pub virtual_host: &'r [RateLimit],
    /// Whether the route says that the virtual host's count in any case.
    pub include_virtual_host: bool,
}

/// One of a policy's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// The one for all.
    Default,
    /// That of a rule, by its position.
    OfRule(usize),
}

/// Whether a request is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is within the limits.
    pub allowed: bool,
    /// The bucket that the client is told of.
    pub bucket: Option<Bucket>,
    /// Whether it is.
    pub tell: bool,
}

impl Policy for RateLimitPolicy {
    type Message = LocalRateLimit;

    fn compile(message: &LocalRateLimit) -> Result<Self, CompileError> {
        let LocalRateLimit {
            stat_prefix,
            status,
            token_bucket,
            filter_enabled,
            filter_enforced,
            request_headers_to_add_when_not_enforced,
            response_headers_to_add,
            descriptors,
            stage,
            local_rate_limit_per_downstream_connection,
            local_cluster_rate_limit,
            enable_x_ratelimit_headers: _,
            vh_rate_limits: _,
            always_consume_default_token_bucket,
            rate_limited_as_resource_exhausted,
            rate_limits,
            // Of descriptors with wildcards, which are refused.
            max_dynamic_descriptors: _,
            enable_retry_after_header,
        } = message;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        if local_cluster_rate_limit.is_some() {
            return Err(CompileError::unsupported("local_cluster_rate_limit"));
        }
        if *stage > 10 {
            return Err(CompileError::new("stage", "must be at most 10"));
        }
        let bucket = token_bucket.as_ref().map(TokenBucket::compile).transpose().map_err(|error| error.within("token_bucket"))?;
        let rules = rules(descriptors)?;
        Ok(Self {
            stat_prefix: stat_prefix.as_str().into(),
            status: self::status(status.as_ref().map_or(429, |status| status.code))?,
            grpc_status: rate_limited_as_resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            bucket: bucket.flatten(),
            buckets: Arc::new(Buckets::new(rules.len())),
            counted: Arc::default(),
            rules,
            enabled: Share::of_runtime(filter_enabled.as_ref(), "filter_enabled")?.unwrap_or(Share::NONE),
            enforced: Share::of_runtime(filter_enforced.as_ref(), "filter_enforced")?.unwrap_or(Share::NONE),
            request_headers: headers(request_headers_to_add_when_not_enforced, "request_headers_to_add_when_not_enforced")?,
            response_headers: headers(response_headers_to_add, "response_headers_to_add")?,
            per_connection: *local_rate_limit_per_downstream_connection,
            tell: message.enable_x_ratelimit_headers() == XRateLimitHeadersRfcVersion::DraftVersion03,
            retry_after: *enable_retry_after_header,
            rate_limits: rate_limits::compile(rate_limits, Owner::Filter)?,
            stage: *stage,
            of_virtual_host: match message.vh_rate_limits() {
                VhRateLimitsOptions::Override => OfVirtualHost::IfRouteHasNone,
                VhRateLimitsOptions::Include => OfVirtualHost::Always,
                VhRateLimitsOptions::Ignore => OfVirtualHost::Never,
            },
            always_default: always_consume_default_token_bucket.unwrap_or(true),
        })
    }
}

impl Policy for RateLimitOverride {
    type Message = LocalRateLimit;

    fn compile(message: &LocalRateLimit) -> Result<Self, CompileError> {
        if message.token_bucket.is_none() {
            return Err(CompileError::missing("token_bucket"));
        }
        RateLimitPolicy::compile(message).map(Self)
    }
}

const RESOURCE_EXHAUSTED: u32 = 8;

/// What is no error becomes 429.
fn status(code: i32) -> Result<u16, CompileError> {
    match u16::try_from(code) {
        Ok(code @ 400..600) => Ok(code),
        Ok(100..400) => Ok(429),
        _ => Err(CompileError::new("status.code", format!("{code} is no status"))),
    }
}

fn headers(add: &[weir_xds::core::HeaderValueOption], field: &str) -> Result<HeaderChanges, CompileError> {
    if add.len() > 10 {
        return Err(CompileError::new(field, "has more than 10 headers"));
    }
    HeaderChanges::compile(add, &[]).and_then(HeaderChanges::without_authority).map_err(|error| error.within(field))
}

fn rules(descriptors: &[LocalRateLimitDescriptor]) -> Result<Box<[Rule]>, CompileError> {
    let mut known = HashSet::new();
    let mut rules = vec![];
    for (i, descriptor) in descriptors.iter().enumerate() {
        let within = |error: CompileError| error.within(&format!("descriptors[{i}]"));
        let rule = Rule::compile(descriptor).map_err(within)?;
        if !known.insert(rule.entries.clone()) {
            return Err(within(CompileError::new("entries", "are those of a descriptor before it")));
        }
        rules.push(rule);
    }
    Ok(rules.into())
}

impl Rule {
    fn compile(descriptor: &LocalRateLimitDescriptor) -> Result<Self, CompileError> {
        let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = descriptor;
        if entries.is_empty() {
            return Err(CompileError::missing("entries"));
        }
        let entry = |(i, XdsEntry { key, value }): (usize, &XdsEntry)| match (key.as_str(), value.as_str()) {
            ("", _) => Err(CompileError::missing(&format!("entries[{i}].key"))),
            // A bucket for each value that a client may send.
            (_, "") => Err(CompileError::new(format!("entries[{i}].value"), "is empty: wildcards are not supported")),
            (key, value) => Ok(Entry::new(key, value.as_bytes())),
        };
        let bucket = token_bucket.as_ref().ok_or_else(|| CompileError::missing("token_bucket"))?;
        let bucket = TokenBucket::compile(bucket).map_err(|error| error.within("token_bucket"))?;
        Ok(Self {
            entries: entries.iter().enumerate().map(entry).collect::<Result<_, _>>()?,
            bucket: bucket.ok_or_else(|| CompileError::new("token_bucket.fill_interval", "must be at least 50ms"))?,
            shadow: *shadow_mode,
        })
    }

    fn is_for(&self, descriptor: &Descriptor) -> bool {
        self.entries[..] == descriptor.entries[..]
    }
}

impl RateLimitPolicy {
    /// The descriptors of a request: by the filter's own rate limits, where it has some, else by those of the route and
    /// virtual host.
    pub fn descriptors(&self, counted: &Counted<'_>, limits: &RouteLimits<'_>) -> Vec<Descriptor> {
        if self.rules.is_empty() {
            return vec![];
        }
        if !self.rate_limits.is_empty() {
            return self.rate_limits.iter().filter_map(|limit| limit.descriptor(counted)).collect();
        }
        let with_host = match self.of_virtual_host {
            _ if limits.include_virtual_host => true,
            OfVirtualHost::Always => true,
            OfVirtualHost::Never => false,
            OfVirtualHost::IfRouteHasNone => limits.route.is_empty(),
        };
        let all = limits.route.iter().chain(limits.virtual_host.iter().filter(|_| with_host));
        // That there is a key is enough to switch one off, whatever it says, as in Envoy.
        all.filter(|limit| limit.stage == self.stage && !limit.has_key).filter_map(|limit| limit.descriptor(counted)).collect()
    }

    /// The rules of a bucket.
    pub fn bucket(&self, bucket: Bucket) -> Option<&TokenBucket> {
        match bucket {
            Bucket::Default => self.bucket.as_ref(),
            Bucket::OfRule(position) => self.rules.get(position).map(|rule| &rule.bucket),
        }
    }

    /// Full buckets, as many as this policy has.
    pub fn fresh_buckets(&self) -> Buckets {
        Buckets::new(self.rules.len())
    }

    /// Whether a request with these descriptors is one too many. `take` takes so many tokens out of a bucket, if they are there.
    ///
    /// The buckets that fill slowest come first. A bucket that refuses leaves those behind it as they are.
    pub fn judge(&self, descriptors: &[Descriptor], mut take: impl FnMut(Bucket, u64) -> bool) -> Verdict {
        let mut matched: Vec<(usize, &Rule, &Descriptor)> = vec![];
        for descriptor in descriptors {
            let rule = self.rules.iter().enumerate().find(|(_, rule)| rule.is_for(descriptor));
            matched.extend(rule.map(|(position, rule)| (position, rule, descriptor)));
        }
        matched.sort_by(|(_, one, _), (_, other, _)| one.bucket.rate().total_cmp(&other.bucket.rate()));
        let verdict = |allowed, told: Option<&(usize, &Rule, &Descriptor)>| Verdict {
            allowed,
            bucket: told.map(|(position, ..)| Bucket::OfRule(*position)),
            tell: told.and_then(|(.., descriptor)| descriptor.tell).unwrap_or(self.tell),
        };
        for one in &matched {
            let (position, rule, descriptor) = one;
            if !take(Bucket::OfRule(*position), descriptor.hits.unwrap_or(1)) && !rule.shadow {
                return verdict(false, Some(one));
            }
        }
        let first = matched.first();
        let Some(bucket) = self.bucket.as_ref().filter(|_| first.is_none() || self.always_default) else { return verdict(true, first) };
        // Of a bucket that never holds anything there is nothing to tell.
        let told = (bucket.max_tokens > 0).then_some(Bucket::Default);
        if told.is_none() || !take(Bucket::Default, 1) {
            return Verdict { allowed: false, bucket: told, tell: self.tell };
        }
        match first {
            Some(_) => verdict(true, first),
            None => Verdict { allowed: true, bucket: told, tell: self.tell },
        }
    }
}

#[cfg(test)]
mod tests;
