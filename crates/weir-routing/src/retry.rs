//! When a failed attempt is made again: Envoy's `RetryPolicy`, compiled.

use std::time::Duration;

use weir_http1::{HeaderName, Headers};
use weir_xds::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use weir_xds::prost_types::Duration as XdsDuration;
use weir_xds::route::HeaderMatcher;
use weir_xds::route::RetryPolicy as Policy;
use weir_xds::route::retry_policy::retry_priority::ConfigType;
use weir_xds::route::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
};
use weir_xds::values::std_duration;

use crate::condition::HeaderCondition;
use crate::error::CompileError;

/// The words of `retry_on`.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(u32);

macro_rules! words {
    ($($name:ident = $bit:expr, $word:literal, $doc:literal;)*) => {
        impl RetryOn {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*

            fn word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
    SERVER_ERROR = 0, "5xx", "Any 5xx answer, and no answer at all.";
    GATEWAY_ERROR = 1, "gateway-error", "502, 503 or 504, and no answer at all.";
    RESET = 2, "reset", "No answer at all: a reset, a closed connection, a timeout of the attempt.";
    RESET_BEFORE_REQUEST = 3, "reset-before-request", "No answer, and nothing of the request was sent.";
    CONNECT_FAILURE = 4, "connect-failure", "No connection could be made.";
    ENVOY_RATELIMITED = 5, "envoy-ratelimited", "The answer says that a rate limit of the mesh refused.";
    RETRIABLE_4XX = 6, "retriable-4xx", "409.";
    REFUSED_STREAM = 7, "refused-stream", "The other side refused the HTTP/2 stream.";
    RETRIABLE_STATUS_CODES = 8, "retriable-status-codes", "One of the listed codes.";
    RETRIABLE_HEADERS = 9, "retriable-headers", "One of the listed response headers.";
    HTTP3_POST_CONNECT_FAILURE = 10, "http3-post-connect-failure", "Only for HTTP/3.";
    CANCELLED = 11, "cancelled", "gRPC status 1.";
    DEADLINE_EXCEEDED = 12, "deadline-exceeded", "gRPC status 4.";
    INTERNAL = 13, "internal", "gRPC status 13.";
    RESOURCE_EXHAUSTED = 14, "resource-exhausted", "gRPC status 8.";
    UNAVAILABLE = 15, "unavailable", "gRPC status 14.";
}

impl RetryOn {
    /// Reads a comma-separated list; what is not a word is passed over, as Envoy does.
    pub fn parse(words: &str) -> Self {
        words.split(',').filter_map(|word| Self::word(word.trim())).fold(Self::default(), |all, word| Self(all.0 | word.0))
    }

    /// Whether any of `words` is among these.
    pub fn has(self, words: Self) -> bool {
        self.0 & words.0 != 0
    }

    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the answer's gRPC status is one of these.
    pub fn has_grpc_status(self, status: u32) -> bool {
        match status {
            1 => self.has(Self::CANCELLED),
            4 => self.has(Self::DEADLINE_EXCEEDED),
            8 => self.has(Self::RESOURCE_EXHAUSTED),
            13 => self.has(Self::INTERNAL),
            14 => self.has(Self::UNAVAILABLE),
            _ => false,
        }
    }
}

/// A compiled retry policy.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// What is tried again.
    pub on: RetryOn,
    /// How often, after the first attempt.
    pub retries: u32,
    /// How long one attempt may take to its response headers.
    pub per_try_timeout: Option<Duration>,
    /// How long one attempt may bring nothing.
    pub per_try_idle_timeout: Option<Duration>,
    /// The headers of answers that are meant by `retriable-headers`.
    pub headers: Vec<HeaderCondition>,
    /// If there are any, only requests with one of these headers are tried again.
    pub request_headers: Vec<HeaderCondition>,
    /// The pause after an answer that says how long to wait.
    pub rate_limited: Option<RateLimited>,
    /// The codes of `retriable-status-codes`.
    pub status_codes: Vec<u16>,
    /// The first pause is somewhere between zero and this; each further one may be twice as long.
    pub base_interval: Duration,
    /// No pause is longer.
    pub max_interval: Duration,
    /// Whether an attempt avoids the instances that earlier ones used.
    pub other_hosts: bool,
    /// How often an instance is chosen anew to avoid those.
    pub host_selection_attempts: u32,
    /// Whether an attempt avoids the priorities of earlier ones, and after how many attempts each time: Envoy's
    /// `previous_priorities`.
    pub other_priorities: Option<usize>,
}

/// How an answer says how long to wait before another attempt.
#[derive(Debug, Clone)]
pub struct RateLimited {
    /// The headers that may say it, the first that does counts; and whether as a point in time.
    headers: Vec<(HeaderName, ResetHeaderFormat)>,
    /// What says more than this does not count.
    max_interval: Duration,
}

/// Envoy's limit where none is given.
const MAX_RESET: Duration = Duration::from_secs(300);

impl RateLimited {
    fn compile(back_off: &RateLimitedRetryBackOff) -> Result<Self, CompileError> {
        let RateLimitedRetryBackOff { reset_headers, max_interval } = back_off;
        if reset_headers.is_empty() {
            return Err(CompileError::missing("rate_limited_retry_back_off.reset_headers"));
        }
        let mut headers = vec![];
        for header in reset_headers {
            let ResetHeader { name, format: _ } = header;
            let parsed = HeaderName::try_from(name.as_str());
            let parsed = parsed.map_err(|_| CompileError::new("reset_headers", format!("`{name}` is no name of a header")))?;
            headers.push((parsed, header.format()));
        }
        Ok(Self { headers, max_interval: max_interval.as_ref().map_or(MAX_RESET, std_duration) })
    }

    /// How long an answer with these headers asks to wait, at this time since 1970.
    pub fn wait(&self, headers: &Headers, now: Duration) -> Option<Duration> {
        self.headers.iter().find_map(|(name, format)| {
            let number: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            let wait = match format {
                ResetHeaderFormat::Seconds => Duration::from_secs(number),
                ResetHeaderFormat::UnixTimestamp => Duration::from_secs(number.checked_sub(now.as_secs())?),
            };
            // Next to nothing is no request to wait.
            Some(wait).filter(|wait| *wait > Duration::from_millis(1) && *wait <= self.max_interval)
        })
    }
}

const DEFAULT_BASE: Duration = Duration::from_millis(25);

impl RetryPolicy {
    /// Compiles Envoy's policy.
    ///
    /// # Errors
    /// If it names a predicate that is not known.
    pub fn compile(policy: &Policy) -> Result<Self, CompileError> {
        let Policy {
            retry_on,
            num_retries,
            per_try_timeout,
            per_try_idle_timeout,
            retry_priority,
            retry_host_predicate,
            retry_options_predicates,
            host_selection_retry_max_attempts,
            retriable_status_codes,
            retry_back_off,
            rate_limited_retry_back_off,
            retriable_headers,
            retriable_request_headers,
            // It is reported as not carried out.
            refresh_cluster_on_retry: _,
        } = policy;
        if !retry_options_predicates.is_empty() {
            return Err(CompileError::unsupported("retry_options_predicates"));
        }
        let (base_interval, max_interval) = intervals(retry_back_off.as_ref()).map_err(|error| error.within("retry_back_off"))?;
        Ok(Self {
            on: RetryOn::parse(retry_on),
            retries: num_retries.unwrap_or(1),
            per_try_timeout: per_try_timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero()),
            per_try_idle_timeout: per_try_idle_timeout.as_ref().map(std_duration).filter(|timeout| !timeout.is_zero()),
            headers: conditions(retriable_headers).map_err(|error| error.within("retriable_headers"))?,
            request_headers: conditions(retriable_request_headers).map_err(|error| error.within("retriable_request_headers"))?,
            rate_limited: rate_limited_retry_back_off.as_ref().map(RateLimited::compile).transpose()?,
            status_codes: retriable_status_codes.iter().filter_map(|code| u16::try_from(*code).ok()).collect(),
            base_interval,
            max_interval,
            other_hosts: avoids_hosts(retry_host_predicate)?,
            host_selection_attempts: u32::try_from(*host_selection_retry_max_attempts).unwrap_or(0).max(1),
            other_priorities: retry_priority.as_ref().map(other_priorities).transpose()?,
        })
    }
}

/// The first pause, and the longest.
fn intervals(back_off: Option<&RetryBackOff>) -> Result<(Duration, Duration), CompileError> {
    let Some(RetryBackOff { base_interval, max_interval }) = back_off else { return Ok((DEFAULT_BASE, DEFAULT_BASE * 10)) };
    let positive = |field: &str, interval: &XdsDuration| {
        let interval = std_duration(interval);
        if interval.is_zero() {
            return Err(CompileError::new(field, "must be greater than 0"));
        }
        // Envoy rounds.
        Ok(interval.max(Duration::from_millis(1)))
    };
    let base = base_interval.as_ref().ok_or_else(|| CompileError::missing("base_interval"))?;
    let base = positive("base_interval", base)?;
    let max = max_interval.as_ref().map_or(Ok(base * 10), |interval| positive("max_interval", interval))?;
    if max < base {
        return Err(CompileError::new("max_interval", "must not be less than base_interval"));
    }
    Ok((base, max))
}

/// Whether an attempt avoids the instances of earlier ones, which is the only predicate that is carried out.
fn avoids_hosts(predicates: &[RetryHostPredicate]) -> Result<bool, CompileError> {
    let mut other_hosts = false;
    for RetryHostPredicate { name, config_type: _ } in predicates {
        match name.as_str() {
            "envoy.retry_host_predicates.previous_hosts" => other_hosts = true,
            name => return Err(CompileError::new("retry_host_predicate", format!("`{name}` is not known"))),
        }
    }
    Ok(other_hosts)
}

/// The only retry priority that Envoy knows.
fn other_priorities(priority: &RetryPriority) -> Result<usize, CompileError> {
    if priority.name != "envoy.retry_priorities.previous_priorities" {
        return Err(CompileError::new("retry_priority", format!("`{}` is not known", priority.name)));
    }
    let Some(ConfigType::TypedConfig(config)) = &priority.config_type else {
        return Err(CompileError::missing("retry_priority.typed_config"));
    };
    let config: PreviousPrioritiesConfig =
        config.unpack().map_err(|error| CompileError::new("retry_priority.typed_config", error.to_string()))?;
    match usize::try_from(config.update_frequency) {
        Ok(frequency) if frequency > 0 => Ok(frequency),
        _ => Err(CompileError::new("retry_priority.typed_config.update_frequency", "must be greater than 0")),
    }
}

fn conditions(matchers: &[HeaderMatcher]) -> Result<Vec<HeaderCondition>, CompileError> {
    matchers.iter().map(HeaderCondition::compile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_to_wait() {
        let header = |name: &str, format: ResetHeaderFormat| ResetHeader { name: name.into(), format: format.into() };
        let limited = RateLimited::compile(&RateLimitedRetryBackOff {
            reset_headers: vec![
                header("retry-after", ResetHeaderFormat::Seconds),
                header("x-ratelimit-reset", ResetHeaderFormat::UnixTimestamp),
            ],
            max_interval: Some(weir_xds::values::duration(Duration::from_secs(60))),
        });
        let limited = limited.expect("valid");
        let wait = |name: &'static str, value: &'static str| {
            let headers = Headers::from_iter([(HeaderName::from_static(name), weir_http1::HeaderValue::from_static(value))]);
            limited.wait(&headers, Duration::from_millis(1_000_500)).map(|wait| wait.as_secs())
        };
        assert_eq!((wait("retry-after", "7"), wait("x-ratelimit-reset", "1003")), (Some(7), Some(3)));
        // Too long, no number, in the past, and nothing at all.
        assert_eq!((wait("retry-after", "61"), wait("retry-after", "Fri, 31 Dec"), wait("x-ratelimit-reset", "999")), (None, None, None));
        assert_eq!((wait("retry-after", "0"), wait("other", "7")), (None, None));
    }

    #[test]
    fn words_are_read() {
        let on = RetryOn::parse("connect-failure, refused-stream,unavailable,nonsense,cancelled,retriable-status-codes");
        assert!(on.has(RetryOn::CONNECT_FAILURE) && on.has(RetryOn::REFUSED_STREAM) && !on.has(RetryOn::RESET));
        assert!(on.has_grpc_status(14) && on.has_grpc_status(1) && !on.has_grpc_status(4));
    }

    #[test]
    fn what_is_not_said_is_envoys_default() {
        let policy = RetryPolicy::compile(&Policy { retry_on: "reset".into(), ..Default::default() }).expect("valid");
        assert_eq!((policy.retries, policy.base_interval, policy.max_interval), (1, Duration::from_millis(25), Duration::from_millis(250)));
    }

    #[test]
    fn pauses_that_make_no_sense_are_refused() {
        let compile = |base: Option<u64>, max: Option<u64>| {
            let of = |millis: Option<u64>| millis.map(|millis| weir_xds::values::duration(Duration::from_millis(millis)));
            let back_off = RetryBackOff { base_interval: of(base), max_interval: of(max) };
            let policy = RetryPolicy::compile(&Policy { retry_back_off: Some(back_off), ..Default::default() });
            policy.ok().map(|policy| (policy.base_interval.as_millis(), policy.max_interval.as_millis()))
        };
        assert_eq!((compile(Some(2), None), compile(Some(2), Some(5))), (Some((2, 20)), Some((2, 5))));
        assert_eq!((compile(None, Some(5)), compile(Some(0), None), compile(Some(5), Some(2))), (None, None, None));
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        let predicate = |name: &str| vec![RetryHostPredicate { name: name.into(), config_type: None }];
        let of = |policy: Policy| RetryPolicy::compile(&policy).is_ok();
        assert!(of(Policy { retry_host_predicate: predicate("envoy.retry_host_predicates.previous_hosts"), ..Default::default() }));
        assert!(!of(Policy { retry_host_predicate: predicate("envoy.retry_host_predicates.omit_host_metadata"), ..Default::default() }));
        assert!(!of(Policy { retry_options_predicates: vec![Default::default()], ..Default::default() }));
        assert!(!of(Policy { rate_limited_retry_back_off: Some(RateLimitedRetryBackOff::default()), ..Default::default() }));
    }

    #[test]
    fn other_priorities_are_read_and_what_is_wrong_is_refused() {
        let compile = |name: &str, update_frequency| {
            let config = weir_xds::Any::pack(&PreviousPrioritiesConfig { update_frequency });
            let retry_priority = Some(RetryPriority { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) });
            RetryPolicy::compile(&Policy { retry_priority, ..Default::default() }).map(|policy| policy.other_priorities)
        };
        assert_eq!(compile("envoy.retry_priorities.previous_priorities", 2).expect("valid"), Some(2));
        assert!(compile("envoy.retry_priorities.previous_priorities", 0).is_err());
        assert!(compile("mine", 2).is_err());
    }
}
