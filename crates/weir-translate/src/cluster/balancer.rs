//! How instances of a cluster are chosen, and when one is left out.

use weir_api::resources::destination_rule::OutlierDetection as WrittenOutlier;
use weir_api::resources::load_balancer::{LoadBalancerSettings, SimpleLb};
use weir_xds::cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use weir_xds::cluster::{Cluster, OutlierDetection};
use weir_xds::core::{HealthStatus, HealthStatusSet, RuntimeDouble};
use weir_xds::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use weir_xds::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use weir_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use weir_xds::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use weir_xds::types::Percent;
use weir_xds::upstream_http::http_protocol_options::OutlierDetection as HttpFailures;
use weir_xds::values::duration;

use super::pool;

/// How many points a ring has at least.
const RING_SIZE: u64 = 1024;
/// How many percent of its share a new instance gets at first.
const WARMUP_PERCENT: f64 = 10.0;

/// Envoy wants a key, under which an operator could override a value at run time. Istio gives one that nobody uses.
const NO_KEY: &str = "(";

/// Whether requests go to where the client connected to.
pub(super) fn is_passthrough(settings: Option<&LoadBalancerSettings>) -> bool {
    settings.is_some_and(|settings| settings.simple == Some(SimpleLb::Passthrough))
}

/// Applies a load balancer; without one, of two instances the one with fewer requests gets the next.
pub(super) fn apply(cluster: &mut Cluster, settings: Option<&LoadBalancerSettings>) {
    // All instances may be out: those that are known to fail are not better than none.
    cluster.common_lb_config = Some(CommonLbConfig { healthy_panic_threshold: Some(Percent::default()), ..Default::default() });
    let (policy, config) = match settings {
        Some(settings) => hash(settings).unwrap_or_else(|| simple(settings)),
        None => (LbPolicy::LeastRequest, None),
    };
    cluster.lb_policy = policy.into();
    cluster.lb_config = config;
}

fn simple(settings: &LoadBalancerSettings) -> (LbPolicy, Option<LbConfig>) {
    let slow_start = slow_start(settings);
    match settings.simple {
        Some(SimpleLb::Random) => (LbPolicy::Random, None),
        Some(SimpleLb::RoundRobin) => {
            let config = slow_start.map(|start| LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(start) }));
            (LbPolicy::RoundRobin, config)
        }
        Some(SimpleLb::Passthrough) => (LbPolicy::ClusterProvided, None),
        Some(SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest) | None => {
            let config = slow_start
                .map(|start| LbConfig::LeastRequestLbConfig(LeastRequestLbConfig { slow_start_config: Some(start), ..Default::default() }));
            (LbPolicy::LeastRequest, config)
        }
    }
}

fn hash(settings: &LoadBalancerSettings) -> Option<(LbPolicy, Option<LbConfig>)> {
    let hash = settings.consistent_hash.as_ref()?;
    if let Some(maglev) = &hash.maglev {
        let table_size = (maglev.table_size > 0).then_some(maglev.table_size);
        return Some((LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size }))));
    }
    let written = hash.ring_hash.as_ref().map_or(hash.minimum_ring_size, |ring| ring.minimum_ring_size);
    let minimum_ring_size = Some(if written > 0 { written } else { RING_SIZE });
    Some((LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(RingHashLbConfig { minimum_ring_size, ..Default::default() }))))
}

fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let Some(warmup) = &settings.warmup else {
        let window = settings.warmup_duration_secs?;
        return Some(SlowStartConfig { slow_start_window: Some(duration(window.to_std())), ..Default::default() });
    };
    Some(SlowStartConfig {
        slow_start_window: warmup.duration.map(|window| duration(window.to_std())),
        aggression: Some(RuntimeDouble { default_value: warmup.aggression.unwrap_or(1.0), runtime_key: NO_KEY.to_owned() }),
        min_weight_percent: Some(Percent { value: warmup.minimum_percent.unwrap_or(WARMUP_PERCENT) }),
    })
}

/// Leaves out instances that fail again and again.
pub(super) fn apply_outlier_detection(cluster: &mut Cluster, written: &WrittenOutlier) {
    let enforcing = |limit: u32| if limit > 0 { 100 } else { 0 };
    let mut detection = OutlierDetection {
        consecutive_5xx: written.consecutive_5xx_errors,
        enforcing_consecutive_5xx: written.consecutive_5xx_errors.map(enforcing),
        consecutive_gateway_failure: written.consecutive_gateway_errors,
        enforcing_consecutive_gateway_failure: written.consecutive_gateway_errors.map(enforcing),
        interval: written.interval.map(|interval| duration(interval.to_std())),
        base_ejection_time: written.base_ejection_time.map(|time| duration(time.to_std())),
        max_ejection_percent: u32::try_from(written.max_ejection_percent).ok().filter(|percent| *percent > 0),
        enforcing_success_rate: Some(0),
        split_external_local_origin_errors: written.split_external_local_origin_errors,
        ..Default::default()
    };
    if written.split_external_local_origin_errors {
        detection.enforcing_local_origin_success_rate = Some(0);
        if let Some(limit) = written.consecutive_local_origin_failures.filter(|limit| *limit > 0) {
            detection.consecutive_local_origin_failure = Some(limit);
            detection.enforcing_consecutive_local_origin_failure = Some(100);
        }
    }
    cluster.outlier_detection = Some(detection);
    if !written.outlier_detection_http_error_codes.is_empty() {
        let failures = failures(&written.outlier_detection_http_error_codes);
        pool::change_http_options(cluster, |options| {
            options.outlier_detection = Some(HttpFailures { error_matcher: Some(failures) });
        });
    }
    let threshold = Percent { value: f64::from(written.min_health_percent.max(0)) };
    cluster.common_lb_config.get_or_insert_default().healthy_panic_threshold = Some(threshold);
}

/// Lets clients that know an instance keep to it while it drains.
pub(super) fn keep_sessions(cluster: &mut Cluster) {
    let statuses = [HealthStatus::Healthy, HealthStatus::Draining, HealthStatus::Unknown, HealthStatus::Degraded];
    let set = HealthStatusSet { statuses: statuses.map(Into::into).to_vec() };
    cluster.common_lb_config.get_or_insert_default().override_host_status = Some(set);
}

/// The answers that count as failures, in place of those with 5xx: those with one of these statuses.
fn failures(codes: &[u32]) -> MatchPredicate {
    let of_status = |code: &u32| {
        let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact(code.to_string())), ..Default::default() };
        let status = HeaderMatcher {
            name: ":status".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
            ..Default::default()
        };
        MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers: vec![status] })) }
    };
    // Envoy wants two at least in a set.
    match codes {
        [only] => of_status(only),
        several => MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules: several.iter().map(of_status).collect() })) },
    }
}
