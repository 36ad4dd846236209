//! What a rule asks of HTTP filters: faults and CORS, as configuration of the filter for one route.

use std::collections::BTreeMap;

use weir_api::resources::http_policy::{Abort, CorsPolicy as WrittenCors, Delay, HttpFaultInjection, Percent, UnmatchedPreflights};
use weir_api::resources::virtual_service::HttpRoute;
use weir_xds::Any;
use weir_xds::core::RuntimeFractionalPercent;
use weir_xds::cors::CorsPolicy;
use weir_xds::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use weir_xds::fault::{FaultAbort, HttpFault, fault_abort::ErrorType};
use weir_xds::matcher::{StringMatcher, string_matcher};
use weir_xds::types::FractionalPercent;
use weir_xds::types::fractional_percent::DenominatorType;
use weir_xds::values::duration;

use super::condition;

/// The name of the filter for faults.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// The name of the filter for CORS.
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// gRPC's status codes, by their names.
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The filters' configuration for a rule, by the filters' names.
pub(super) fn translate(rule: &HttpRoute) -> BTreeMap<String, Any> {
    let fault = rule.fault.as_ref().and_then(fault).map(|fault| (FAULT.to_owned(), Any::pack(&fault)));
    let cors = rule.cors_policy.as_ref().map(|policy| (CORS.to_owned(), Any::pack(&cors(policy))));
    fault.into_iter().chain(cors).collect()
}

/// A share of requests with six digits.
pub(super) fn percent(percent: &Percent) -> FractionalPercent {
    FractionalPercent { numerator: (percent.value * 10_000.0) as u32, denominator: DenominatorType::Million.into() }
}

/// A share of requests in whole percent.
pub(super) fn whole_percent(percent: u32) -> FractionalPercent {
    FractionalPercent { numerator: percent, denominator: DenominatorType::Hundred.into() }
}

fn fault(written: &HttpFaultInjection) -> Option<HttpFault> {
    let delay = written.delay.as_ref().and_then(delay);
    let abort = written.abort.as_ref().and_then(abort);
    (delay.is_some() || abort.is_some()).then(|| HttpFault { delay, abort, ..Default::default() })
}

fn delay(written: &Delay) -> Option<FaultDelay> {
    let fixed = written.fixed_delay?;
    let whole = || whole_percent(u32::try_from(written.percent).unwrap_or(0));
    Some(FaultDelay {
        percentage: Some(written.percentage.as_ref().map_or_else(whole, percent)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(fixed.to_std()))),
    })
}

fn abort(written: &Abort) -> Option<FaultAbort> {
    let http = written.http_status.and_then(|status| u32::try_from(status).ok()).map(ErrorType::HttpStatus);
    let grpc = written.grpc_status.as_ref().and_then(|name| grpc_status(name)).map(ErrorType::GrpcStatus);
    Some(FaultAbort { percentage: written.percentage.as_ref().map(percent), error_type: Some(http.or(grpc)?), ..Default::default() })
}

fn grpc_status(name: &str) -> Option<u32> {
    GRPC_STATUS.iter().position(|known| *known == name).and_then(|code| u32::try_from(code).ok())
}

fn cors(written: &WrittenCors) -> CorsPolicy {
    let exact =
        |origin: &String| StringMatcher { match_pattern: Some(string_matcher::MatchPattern::Exact(origin.clone())), ..Default::default() };
    let origins: Vec<StringMatcher> = match written.allow_origins.as_slice() {
        [] => written.allow_origin.iter().map(exact).collect(),
        origins => origins.iter().filter_map(condition::text).collect(),
    };
    CorsPolicy {
        allow_origin_string_match: origins,
        allow_methods: written.allow_methods.join(","),
        allow_headers: written.allow_headers.join(","),
        expose_headers: written.expose_headers.join(","),
        max_age: written.max_age.map(|age| age.to_std().as_secs().to_string()).unwrap_or_default(),
        allow_credentials: written.allow_credentials,
        filter_enabled: Some(RuntimeFractionalPercent { default_value: Some(whole_percent(100)), ..Default::default() }),
        forward_not_matching_preflights: Some(written.unmatched_preflights != UnmatchedPreflights::Ignore),
        ..Default::default()
    }
}
