//! Retries: Istio's default, and what a rule says instead.
//!
//! Facts: pilot/pkg/networking/core/route/retry/retry.go of Istio.

use weir_api::resources::http_policy::HttpRetry;
use weir_xds::Any;
use weir_xds::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use weir_xds::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use weir_xds::route::RetryPolicy;
use weir_xds::route::retry_policy::{RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority};
use weir_xds::values::duration;

const DEFAULT_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const STATUS_CODES: &str = "retriable-status-codes";
/// How often a host is chosen anew because the one that was found had failed already.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// The policy of a rule; none where it wants no retries. With a consistent hash, a retry stays on its host unless
/// the rule says otherwise.
pub(crate) fn translate(written: Option<&HttpRetry>, has_hash: bool) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: Some(2),
        retry_host_predicate: if has_hash { vec![] } else { vec![other_hosts()] },
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..Default::default()
    };
    let Some(written) = written else { return Some(policy) };
    policy.num_retries = Some(u32::try_from(written.attempts).ok().filter(|attempts| *attempts > 0)?);
    if !written.retry_on.is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = retry_on(&written.retry_on);
    }
    policy.per_try_timeout = written.per_try_timeout.map(|timeout| duration(timeout.to_std()));
    match written.retry_ignore_previous_hosts {
        Some(true) => policy.retry_host_predicate = vec![other_hosts()],
        Some(false) => policy.retry_host_predicate.clear(),
        None => {}
    }
    if written.retry_remote_localities == Some(true) {
        policy.retry_priority = Some(other_localities());
    }
    policy.retry_back_off = written.backoff.map(|base| RetryBackOff { base_interval: Some(duration(base.to_std())), max_interval: None });
    Some(policy)
}

/// Words and status codes may stand together in `retryOn`.
fn retry_on(written: &str) -> (String, Vec<u32>) {
    let mut words: Vec<&str> = vec![];
    let mut codes = vec![];
    for word in written.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(code) => codes.push(code),
            Err(_) => words.push(word),
        }
    }
    if !codes.is_empty() && !words.contains(&STATUS_CODES) {
        words.push(STATUS_CODES);
    }
    (words.join(","), codes)
}

fn other_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(Any::pack(&PreviousHostsPredicate {}))),
    }
}

fn other_localities() -> RetryPriority {
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(Any::pack(&PreviousPrioritiesConfig { update_frequency: 2 }))),
    }
}
