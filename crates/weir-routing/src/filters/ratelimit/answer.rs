//! What the service has answered.

use bytes::Bytes;
use weir_http1::header::RETRY_AFTER;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::core::HeaderValue as XdsHeaderValue;
use weir_xds::prost_types::Struct;
use weir_xds::ratelimit_service::RateLimitResponse;
use weir_xds::ratelimit_service::rate_limit_response::rate_limit::Unit;
use weir_xds::ratelimit_service::rate_limit_response::{Code, DescriptorStatus};

use super::GlobalLimitPolicy;

const LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Whether it is one too many.
    pub is_over: bool,
    /// Headers that the request gets if it goes on.
    pub request: Headers,
    /// Headers that its answer gets, whoever gives it.
    pub answer: Headers,
    /// The body of a refusal.
    pub body: Bytes,
    /// What the service tells of the request, for other filters and logs.
    pub metadata: Struct,
    /// After how many seconds the client may come again, if the service says when.
    pub wait: Option<u64>,
}

impl GlobalLimitPolicy {
    /// What an answer of the service means.
    pub fn heard(&self, answer: RateLimitResponse) -> Heard {
        // Quotas are for those who keep them.
        let RateLimitResponse {
            overall_code,
            statuses,
            response_headers_to_add,
            request_headers_to_add,
            raw_body,
            dynamic_metadata,
            quota: _,
        } = answer;
        let is_over = overall_code == i32::from(Code::OverLimit);
        let mut answer = headers(&response_headers_to_add);
        if is_over && self.tell_limited {
            answer.insert(LIMITED, HeaderValue::from_static("true"));
        }
        if self.tell {
            tell(&statuses, &mut answer);
        }
        let metadata = dynamic_metadata.unwrap_or_default();
        Heard { is_over, request: headers(&request_headers_to_add), answer, body: raw_body, metadata, wait: wait(&statuses) }
    }

    /// The headers of a refusal, before those that the configuration adds.
    pub fn refusal(&self, heard: &Heard) -> Headers {
        let mut headers = heard.answer.clone();
        if let Some(seconds) = heard.wait.filter(|_| self.retry_after && self.status == 429) {
            headers.insert_if_absent(RETRY_AFTER, || seconds.into());
        }
        headers
    }
}

/// Headers as the service writes them, as far as they can be such.
fn headers(written: &[XdsHeaderValue]) -> Headers {
    let header = |header: &XdsHeaderValue| {
        let name = HeaderName::from_bytes(header.key.to_ascii_lowercase().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&header.value).ok()?))
    };
    written.iter().filter_map(header).collect()
}

/// What is left of the limit that is reached first, for the client
/// (<https://datatracker.ietf.org/doc/html/draft-polli-ratelimit-headers-03>).
fn tell(statuses: &[DescriptorStatus], headers: &mut Headers) {
    let mut limits = statuses.iter().filter_map(|status| Some((status, status.current_limit.as_ref()?)));
    let mut policies = String::new();
    for (_, limit) in limits.clone() {
        let Some(window) = window(limit.unit()) else { continue };
        policies.push_str(&format!(", {};w={window}", limit.requests_per_unit));
        if !limit.name.is_empty() {
            policies.push_str(&format!(";name=\"{}\"", limit.name));
        }
    }
    // Of those with as much left it is the first.
    let Some(first) = limits.next() else { return };
    let (status, limit) = limits.fold(first, |least, other| if other.0.limit_remaining < least.0.limit_remaining { other } else { least });
    let Ok(told) = HeaderValue::from_str(&format!("{}{policies}", limit.requests_per_unit)) else { return };
    headers.append(LIMIT, told);
    headers.append(REMAINING, HeaderValue::from(status.limit_remaining));
    headers.append(RESET, HeaderValue::from(seconds(status)));
}

fn seconds(status: &DescriptorStatus) -> u64 {
    status.duration_until_reset.as_ref().map_or(0, |until| u64::try_from(until.seconds).unwrap_or(0))
}

/// How many seconds a unit has; none if nobody knows it.
fn window(unit: Unit) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60;
    match unit {
        Unit::Unknown => None,
        Unit::Second => Some(1),
        Unit::Minute => Some(60),
        Unit::Hour => Some(60 * 60),
        Unit::Day => Some(DAY),
        Unit::Week => Some(7 * DAY),
        Unit::Month => Some(30 * DAY),
        Unit::Year => Some(365 * DAY),
    }
}

/// When the last of the limits that are exceeded begins anew.
fn wait(statuses: &[DescriptorStatus]) -> Option<u64> {
    let exceeded = statuses.iter().filter(|status| status.code() == Code::OverLimit);
    exceeded.map(seconds).max().map(|seconds| seconds.max(1))
}
