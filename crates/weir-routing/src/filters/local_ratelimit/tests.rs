use weir_http1::Headers;
use weir_xds::core::{HeaderValue, HeaderValueOption, RuntimeFractionalPercent};
use weir_xds::route::RateLimit as XdsRateLimit;
use weir_xds::route::rate_limit::action::{ActionSpecifier, GenericKey};
use weir_xds::route::rate_limit::{Action, HitsAddend, XRateLimitOption};
use weir_xds::types::{FractionalPercent, HttpStatus, TokenBucket as XdsBucket};

use super::*;
use crate::request::RequestHead;

fn tokens(max_tokens: u32, seconds: i64) -> Option<XdsBucket> {
    let fill_interval = Some(weir_xds::prost_types::Duration { seconds, nanos: 0 });
    Some(XdsBucket { max_tokens, tokens_per_fill: None, fill_interval })
}

fn rule(value: &str, max_tokens: u32, seconds: i64) -> LocalRateLimitDescriptor {
    let entries = vec![XdsEntry { key: "generic_key".into(), value: value.into() }];
    LocalRateLimitDescriptor { entries, token_bucket: tokens(max_tokens, seconds), shadow_mode: false }
}

fn limit(value: &str) -> XdsRateLimit {
    let key = GenericKey { descriptor_value: value.into(), ..Default::default() };
    let action = Action { action_specifier: Some(ActionSpecifier::GenericKey(key)) };
    XdsRateLimit { actions: vec![action], ..Default::default() }
}

fn message(max_tokens: u32, rules: Vec<LocalRateLimitDescriptor>, limits: Vec<XdsRateLimit>) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: "s".into(),
        token_bucket: tokens(max_tokens, 10),
        descriptors: rules,
        rate_limits: limits,
        ..Default::default()
    }
}

fn compile(message: &LocalRateLimit) -> RateLimitPolicy {
    RateLimitPolicy::compile(message).expect("valid")
}

fn descriptors(policy: &RateLimitPolicy, limits: &RouteLimits<'_>) -> Vec<Descriptor> {
    let headers = Headers::new();
    let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random: 0 };
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    policy.descriptors(&Counted { head: &head, client, cluster: None, own_cluster: "", known: &Default::default(), route: None }, limits)
}

/// Which buckets a request asks, and what comes of it, if those with these tokens have them: the default, and each rule's.
fn judge(message: &LocalRateLimit, left: &[u64]) -> (Vec<(Bucket, u64)>, Verdict) {
    let policy = compile(message);
    let mut asked = vec![];
    let verdict = policy.judge(&descriptors(&policy, &RouteLimits::default()), |bucket, tokens| {
        asked.push((bucket, tokens));
        let position = match bucket {
            Bucket::Default => 0,
            Bucket::OfRule(position) => position + 1,
        };
        left[position] >= tokens
    });
    (asked, verdict)
}

const FIRST: Bucket = Bucket::OfRule(0);
const SECOND: Bucket = Bucket::OfRule(1);

fn verdict(allowed: bool, bucket: Option<Bucket>) -> Verdict {
    Verdict { allowed, bucket, tell: false }
}

#[test]
fn a_request_takes_of_the_buckets_that_it_matches_and_the_default() {
    let both = || vec![limit("a"), limit("b")];
    let two = || vec![rule("a", 5, 10), rule("b", 5, 30)];
    let own_only = |mut message: LocalRateLimit| {
        message.always_consume_default_token_bucket = Some(false);
        message
    };
    let shadow = |mut message: LocalRateLimit| {
        message.descriptors[0].shadow_mode = true;
        message
    };
    let default = Bucket::Default;
    let cases = [
        (message(5, vec![], vec![]), vec![1], vec![(default, 1)], verdict(true, Some(default))),
        (message(5, vec![], vec![]), vec![0], vec![(default, 1)], verdict(false, Some(default))),
        (message(5, two(), vec![limit("c")]), vec![1, 0, 0], vec![(default, 1)], verdict(true, Some(default))),
        (message(5, two(), vec![limit("a")]), vec![1, 1, 0], vec![(FIRST, 1), (default, 1)], verdict(true, Some(FIRST))),
        (message(5, two(), vec![limit("a")]), vec![1, 0, 0], vec![(FIRST, 1)], verdict(false, Some(FIRST))),
        (message(5, two(), vec![limit("a")]), vec![0, 1, 0], vec![(FIRST, 1), (default, 1)], verdict(false, Some(default))),
        (own_only(message(5, two(), vec![limit("a")])), vec![0, 1, 0], vec![(FIRST, 1)], verdict(true, Some(FIRST))),
        // The slower one comes first, and what refuses leaves the others as they are.
        (message(5, two(), both()), vec![1, 1, 1], vec![(SECOND, 1), (FIRST, 1), (default, 1)], verdict(true, Some(SECOND))),
        (message(5, two(), both()), vec![1, 1, 0], vec![(SECOND, 1)], verdict(false, Some(SECOND))),
        (shadow(message(5, two(), vec![limit("a")])), vec![1, 0, 0], vec![(FIRST, 1), (default, 1)], verdict(true, Some(FIRST))),
        // A default of nothing refuses all that reaches it, and says nothing.
        (message(0, vec![], vec![]), vec![9], vec![], verdict(false, None)),
        (own_only(message(0, two(), vec![limit("a")])), vec![0, 1, 0], vec![(FIRST, 1)], verdict(true, Some(FIRST))),
        (LocalRateLimit { token_bucket: None, ..message(0, vec![], vec![]) }, vec![0], vec![], verdict(true, None)),
    ];
    for (message, left, asked, expected) in cases {
        assert_eq!(judge(&message, &left), (asked, expected), "{message:?}");
    }
}

#[test]
fn a_rate_limit_says_how_often_it_counts_and_what_is_told() {
    let hits_addend = Some(HitsAddend { number: Some(2), ..Default::default() });
    for (filter, option, told) in [
        (XRateLimitHeadersRfcVersion::Off, XRateLimitOption::Unspecified, false),
        (XRateLimitHeadersRfcVersion::Off, XRateLimitOption::DraftVersion03, true),
        (XRateLimitHeadersRfcVersion::DraftVersion03, XRateLimitOption::Unspecified, true),
        (XRateLimitHeadersRfcVersion::DraftVersion03, XRateLimitOption::Off, false),
    ] {
        let limit = XdsRateLimit { hits_addend: hits_addend.clone(), x_ratelimit_option: option.into(), ..limit("a") };
        let mut message = message(5, vec![rule("a", 3, 10)], vec![limit]);
        message.enable_x_ratelimit_headers = filter.into();
        assert_eq!(
            judge(&message, &[1, 3]),
            (vec![(FIRST, 2), (Bucket::Default, 1)], Verdict { tell: told, ..verdict(true, Some(FIRST)) })
        );
    }
}

#[test]
fn the_limits_of_routes_and_virtual_hosts_count_where_the_filter_has_none() {
    let compiled = |limits: &[XdsRateLimit]| rate_limits::compile(limits, Owner::Route).expect("valid");
    let staged = XdsRateLimit { stage: Some(1), ..limit("staged") };
    let (route, host) = (compiled(&[limit("r"), staged]), compiled(&[limit("h")]));
    let with_both = RouteLimits { route: &route, virtual_host: &host, include_virtual_host: false };
    let include = RouteLimits { include_virtual_host: true, ..with_both };
    let host_only = RouteLimits { route: &[], ..with_both };
    let (when_absent, always, never) = (VhRateLimitsOptions::Override, VhRateLimitsOptions::Include, VhRateLimitsOptions::Ignore);
    let cases: [(_, _, &RouteLimits<'_>, &[&str]); 8] = [
        (when_absent, 0, &with_both, &["r"]),
        (when_absent, 0, &host_only, &["h"]),
        (when_absent, 0, &include, &["r", "h"]),
        (when_absent, 1, &with_both, &["staged"]),
        (always, 0, &with_both, &["r", "h"]),
        (never, 0, &host_only, &[]),
        (never, 0, &include, &["r", "h"]),
        (always, 2, &with_both, &[]),
    ];
    for (option, stage, limits, expected) in cases {
        let message = LocalRateLimit { vh_rate_limits: option.into(), stage, ..message(5, vec![rule("x", 1, 10)], vec![]) };
        let found = descriptors(&compile(&message), limits);
        let values: Vec<_> = found.iter().map(|descriptor| String::from_utf8_lossy(&descriptor.entries[0].value)).collect();
        assert_eq!(values, expected, "{option:?} {stage}");
    }
    let own = compile(&message(5, vec![rule("x", 1, 10)], vec![limit("own")]));
    assert_eq!(descriptors(&own, &with_both).len(), 1);
    // Without rules nothing can match.
    assert_eq!(descriptors(&compile(&message(5, vec![], vec![])), &with_both), []);
}

#[test]
fn what_is_said_is_understood() {
    let all =
        RuntimeFractionalPercent { default_value: Some(FractionalPercent { numerator: 100, ..Default::default() }), ..Default::default() };
    let policy = compile(&message(5, vec![], vec![]));
    // By default no request is counted.
    assert_eq!((policy.enabled, policy.enforced, policy.status, policy.grpc_status), (Share::NONE, Share::NONE, 429, None));
    let mut message = message(5, vec![], vec![]);
    message.filter_enabled = Some(all);
    message.status = Some(HttpStatus { code: 503 });
    message.rate_limited_as_resource_exhausted = true;
    let policy = compile(&message);
    assert!(policy.enabled.takes(999_999));
    assert_eq!((policy.status, policy.grpc_status), (503, Some(8)));
    message.status = Some(HttpStatus { code: 200 });
    assert_eq!(compile(&message).status, 429);
}

#[test]
fn what_envoy_refuses_or_is_not_carried_out_is_refused() {
    let base = || message(5, vec![], vec![]);
    let header = |key: &str| {
        let header = HeaderValue { key: key.into(), value: "v".into(), ..Default::default() };
        HeaderValueOption { header: Some(header), ..Default::default() }
    };
    let mut no_bucket = rule("a", 1, 1);
    no_bucket.token_bucket = None;
    let cases = [
        (LocalRateLimit { stat_prefix: String::new(), ..base() }, "stat_prefix"),
        (LocalRateLimit { status: Some(HttpStatus { code: 999 }), ..base() }, "status.code"),
        (LocalRateLimit { stage: 11, ..base() }, "stage"),
        (LocalRateLimit { token_bucket: tokens(1, 0), ..base() }, "token_bucket.fill_interval"),
        (LocalRateLimit { local_cluster_rate_limit: Some(Default::default()), ..base() }, "local_cluster_rate_limit"),
        (LocalRateLimit { response_headers_to_add: vec![header("host")], ..base() }, "response_headers_to_add"),
        (LocalRateLimit { response_headers_to_add: vec![header(":x")], ..base() }, "response_headers_to_add"),
        (LocalRateLimit { response_headers_to_add: vec![header("x"); 11], ..base() }, "response_headers_to_add"),
        (LocalRateLimit { filter_enabled: Some(Default::default()), ..base() }, "filter_enabled.default_value"),
        (message(5, vec![rule("a", 1, 1), rule("a", 2, 2)], vec![]), "descriptors[1].entries"),
        (message(5, vec![rule("", 1, 1)], vec![]), "descriptors[0].entries[0].value"),
        (message(5, vec![LocalRateLimitDescriptor { entries: vec![], ..rule("a", 1, 1) }], vec![]), "descriptors[0].entries"),
        (message(5, vec![no_bucket], vec![]), "descriptors[0].token_bucket"),
        (message(5, vec![], vec![XdsRateLimit::default()]), "rate_limits[0].actions"),
    ];
    for (message, field) in cases {
        let path = RateLimitPolicy::compile(&message).expect_err(field).path;
        assert_eq!(path.trim_end_matches('.'), field, "{message:?}");
    }
    assert!(RateLimitOverride::compile(&LocalRateLimit { token_bucket: None, ..base() }).is_err());
    assert!(RateLimitOverride::compile(&base()).is_ok());
}
