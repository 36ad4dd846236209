//! Providers: whose tokens are accepted, by which keys, and what is made of a good one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weir_http1::HeaderName;
use weir_xds::core::http_uri::HttpUpstreamType;
use weir_xds::core::{BackoffStrategy, HttpUri, RetryPolicy};
use weir_xds::jwt_authn::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use weir_xds::jwt_authn::{JwksAsyncFetch, JwtProvider, RemoteJwks};
use weir_xds::prost_types::Duration as XdsDuration;
use weir_xds::values::std_duration;

use super::claims::ClaimHeader;
use super::keys::KeySet;
use super::own_header::own_header;
use super::places::Places;
use super::status::Status;
use super::token::Token;
use crate::error::CompileError;
use crate::source::text_of;
use crate::text_match::TextMatch;

/// By so much clocks may differ, where nothing is said.
const LEEWAY: u32 = 60;
/// So long fetched keys are good, where nothing is said.
const CACHED: Duration = Duration::from_secs(600);
/// After so long a fetch that failed is tried again, where nothing is said.
const REFETCH: Duration = Duration::from_secs(1);
/// No fetch follows another one sooner: whoever serves the keys is not asked by each request.
const SOONEST: Duration = Duration::from_secs(1);
/// Longer times are as good as this one; clocks cannot count all of them.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The usual times between attempts to fetch keys.
const BACKOFF: Duration = Duration::from_secs(1);

/// Who issues tokens, and how they are accepted.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: Box<str>,
    /// Where its keys are.
    pub keys: KeySource,
    pub(super) issuer: String,
    pub(super) audiences: Audiences,
    subjects: Option<TextMatch>,
    lifetime: Option<Lifetime>,
    leeway: u64,
    pub(super) places: Places,
    pub(super) forwards: bool,
    pub(super) payload_header: Option<HeaderName>,
    pub(super) pads_payload: bool,
    pub(super) claims: Box<[ClaimHeader]>,
    /// The keys of metadata under which the payload, the header, and why a token is refused, are left; empty for nowhere.
    pub(super) payload_in: String,
    pub(super) header_in: String,
    pub(super) failure_in: String,
    /// Claims that are lists written as one text.
    pub(super) lists: Box<[String]>,
    pub(super) clears_route: bool,
}

/// Where the keys of a provider are.
#[derive(Debug)]
pub enum KeySource {
    /// In the configuration.
    Known(Arc<KeySet>),
    /// What stands in the configuration is no set of keys: no token can be verified, and all are refused. The listener that it
    /// stands in serves others too, so that it is not refused for this.
    Unusable(Status),
    /// They are fetched.
    Remote(Box<RemoteKeys>),
}

/// Keys that are fetched.
#[derive(Debug)]
pub struct RemoteKeys {
    /// The cluster that is asked.
    pub cluster: Box<str>,
    /// The host that it is asked as.
    pub authority: Box<str>,
    /// The path.
    pub path: Box<str>,
    /// How long the answer may take.
    pub timeout: Option<Duration>,
    /// How long keys are good.
    pub cached: Duration,
    /// Whether the last keys stay good as long as no newer ones can be had.
    pub keeps_last: bool,
    /// After what time a fetch that failed is tried again.
    pub refetch: Duration,
    /// So often a fetch that failed is tried again.
    pub retries: u32,
    /// The first time between two attempts; the later ones are longer.
    pub backoff: Duration,
    /// The longest time between them.
    pub longest_backoff: Duration,
}

/// How long a token may be valid yet.
#[derive(Debug, Clone, Copy)]
enum Lifetime {
    /// It must have an end.
    Any,
    /// Less than this.
    Below(Duration),
}

/// For whom tokens are accepted: anybody if there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Audiences(BTreeSet<String>);

impl Audiences {
    pub fn new(audiences: &[String]) -> Self {
        Self(audiences.iter().map(|audience| bare(audience).to_owned()).collect())
    }

    fn allow(&self, audiences: &[String]) -> bool {
        self.0.is_empty() || audiences.iter().any(|audience| self.0.contains(bare(audience)))
    }
}

/// An audience without scheme and last slash, which do not count.
fn bare(audience: &str) -> &str {
    let bare = audience.strip_prefix("http://").or_else(|| audience.strip_prefix("https://")).unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}

impl Provider {
    pub(super) fn compile(name: &str, message: &JwtProvider) -> Result<Self, CompileError> {
        let JwtProvider {
            issuer,
            audiences,
            subjects,
            require_expiration,
            max_lifetime,
            jwks_source_specifier,
            forward,
            // Places are read below.
            from_headers: _,
            from_params: _,
            from_cookies: _,
            forward_payload_header,
            pad_forward_payload_header,
            payload_in_metadata,
            normalize_payload_in_metadata,
            header_in_metadata,
            failed_status_in_metadata,
            clock_skew_seconds,
            // A token is verified anew with each request: what it costs is all that could be seen of that.
            jwt_cache_config: _,
            claim_to_headers,
            clear_route_cache,
        } = message;
        let mut places = Places::default();
        places.add(message)?;
        let header = |name: &str| match name {
            "" => Ok(None),
            name => own_header("forward_payload_header", name).map(Some),
        };
        let claim = |(i, claim)| ClaimHeader::compile(claim).map_err(|error| error.within(&format!("claim_to_headers[{i}]")));
        let lists =
            normalize_payload_in_metadata.as_ref().map(|NormalizePayload { space_delimited_claims }| space_delimited_claims.clone());
        Ok(Self {
            name: name.into(),
            keys: KeySource::compile(jwks_source_specifier.as_ref())?,
            issuer: issuer.clone(),
            audiences: Audiences::new(audiences),
            subjects: subjects.as_ref().map(TextMatch::compile).transpose().map_err(|error| error.within("subjects"))?,
            lifetime: match max_lifetime {
                Some(most) => Some(Lifetime::Below(std_duration(most))),
                None => require_expiration.then_some(Lifetime::Any),
            },
            leeway: u64::from(if *clock_skew_seconds == 0 { LEEWAY } else { *clock_skew_seconds }),
            places,
            forwards: *forward,
            payload_header: header(forward_payload_header)?,
            pads_payload: *pad_forward_payload_header,
            claims: claim_to_headers.iter().enumerate().map(claim).collect::<Result<_, _>>()?,
            payload_in: payload_in_metadata.clone(),
            header_in: header_in_metadata.clone(),
            failure_in: failed_status_in_metadata.clone(),
            lists: lists.unwrap_or_default().into(),
            clears_route: *clear_route_cache,
        })
    }

    /// Whether a token may be accepted at this moment, if it is signed as it should be; `audiences` may take the place of the
    /// provider's own.
    pub(super) fn check(&self, token: &Token<'_>, audiences: Option<&Audiences>, now: u64) -> Result<(), Status> {
        if self.subjects.as_ref().is_some_and(|subjects| !subjects.matches(token.subject.as_bytes())) {
            return Err(Status::VerificationFails);
        }
        let is_allowed = match self.lifetime {
            None => true,
            Some(_) if token.expires == 0 => false,
            Some(Lifetime::Any) => true,
            Some(Lifetime::Below(most)) => Duration::from_secs(token.expires.saturating_sub(now)) < most,
        };
        if !is_allowed {
            return Err(Status::VerificationFails);
        }
        token.check_time(now, self.leeway)?;
        if !audiences.unwrap_or(&self.audiences).allow(&token.audiences) {
            return Err(Status::AudienceNotAllowed);
        }
        Ok(())
    }

    /// The headers that only this filter may set.
    pub(super) fn own_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.payload_header.iter().chain(self.claims.iter().map(|claim| &claim.header))
    }
}

impl KeySource {
    fn compile(source: Option<&JwksSourceSpecifier>) -> Result<Self, CompileError> {
        match source {
            Some(JwksSourceSpecifier::LocalJwks(source)) => {
                let text = text_of(source).map_err(|error| error.within("local_jwks"))?;
                Ok(KeySet::parse(&text).map_or_else(Self::Unusable, |keys| Self::Known(Arc::new(keys))))
            }
            Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
                RemoteKeys::compile(remote).map(Box::new).map(Self::Remote).map_err(|error| error.within("remote_jwks"))
            }
            None => Err(CompileError::missing("remote_jwks")),
        }
    }
}

impl RemoteKeys {
    fn compile(message: &RemoteJwks) -> Result<Self, CompileError> {
        let RemoteJwks { http_uri, cache_duration, async_fetch, retry_policy } = message;
        let HttpUri { uri, timeout, http_upstream_type } = http_uri.as_ref().ok_or_else(|| CompileError::missing("http_uri"))?;
        let Some(HttpUpstreamType::Cluster(cluster)) =
            http_upstream_type.as_ref().filter(|HttpUpstreamType::Cluster(name)| !name.is_empty())
        else {
            return Err(CompileError::missing("http_uri.cluster"));
        };
        let (authority, path) = parts(uri).ok_or_else(|| CompileError::new("http_uri.uri", format!("`{uri}` is no address of keys")))?;
        // Which of the listener and the keys comes first nobody sees: a request waits for the keys.
        let keeps_last = async_fetch.as_ref().map(|JwksAsyncFetch { fast_listener: _, failed_refetch_duration }| {
            failed_refetch_duration.as_ref().map_or(REFETCH, std_duration).clamp(SOONEST, LONGEST)
        });
        let (retries, backoff, longest_backoff) = retry_policy.as_ref().map_or(Ok((0, BACKOFF, BACKOFF)), retries)?;
        Ok(Self {
            cluster: cluster.as_str().into(),
            authority: authority.into(),
            path: path.into(),
            timeout: timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero()),
            cached: cache_duration
                .as_ref()
                .map_or(CACHED, |cached| Duration::from_secs(std_duration(cached).as_secs()))
                .clamp(SOONEST, LONGEST),
            refetch: keeps_last.unwrap_or(REFETCH),
            keeps_last: keeps_last.is_some(),
            retries,
            backoff,
            longest_backoff,
        })
    }
}

/// The host and the path of an address.
fn parts(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    (!authority.is_empty()).then_some((authority, if path.is_empty() { "/" } else { path }))
}

/// How often it is tried again, and after what times.
fn retries(policy: &RetryPolicy) -> Result<(u32, Duration, Duration), CompileError> {
    let RetryPolicy {
        retry_back_off,
        num_retries,
        // What is tried again is what Envoy tries again of this: answers of 5xx, and none at all. The rest is reported.
        retry_on: _,
        retry_priority: _,
        retry_host_predicate: _,
        host_selection_retry_max_attempts: _,
    } = policy;
    let (base, longest) = match retry_back_off {
        None => (BACKOFF, None),
        Some(BackoffStrategy { base_interval, max_interval }) => {
            (base_interval.as_ref().map_or(BACKOFF, std_duration), max_interval.as_ref())
        }
    };
    let longest = longest.map_or(base.saturating_mul(10), |longest: &XdsDuration| std_duration(longest));
    if longest < base {
        return Err(CompileError::new("retry_policy.retry_back_off.max_interval", "must not be shorter than `base_interval`"));
    }
    Ok((num_retries.unwrap_or(1), base, longest))
}
