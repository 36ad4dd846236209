//! When instances are left out, and for how long: Envoy's `OutlierDetection`, compiled.

use std::time::Duration;

use weir_routing::CompileError;
use weir_xds::cluster::OutlierDetection;
use weir_xds::values::std_duration;

/// When instances are left out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierPolicy {
    limits: [Limit; 3],
    /// Whether failures to connect are counted apart from answers.
    pub split: bool,
    /// How often it is looked whose time is over.
    pub interval: Duration,
    base: Duration,
    longest: Duration,
    /// Up to so much longer, by chance, so that not all come back at once.
    pub jitter: Duration,
    /// So many percent of the instances may be left out at once.
    max_percent: u64,
    /// Whether one may be left out whatever that says.
    always_one: bool,
    /// Whether a passed active health check brings an instance back at once.
    pub returns_when_checked: bool,
}

/// So many in a row, and in how many of a hundred cases that has consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many; 0 is without a limit.
    pub in_a_row: u32,
    /// In how many of a hundred cases.
    pub percent: u32,
}

/// Why an instance is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// 5xx answers, and what counts as such.
    ServerErrors,
    /// 502, 503 and 504.
    GatewayErrors,
    /// Failures on the way to it, where they are counted apart.
    LocalFailures,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ServerErrors, Self::GatewayErrors, Self::LocalFailures];

    /// In Envoy's statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerErrors => "consecutive_5xx",
            Self::GatewayErrors => "consecutive_gateway_failure",
            Self::LocalFailures => "consecutive_local_origin_failure",
        }
    }
}

impl OutlierPolicy {
    /// Compiles Envoy's settings, with its defaults. Success rates and failure percentages are not looked at.
    ///
    /// # Errors
    /// If the longest time is shorter than the shortest; Envoy refuses that, too.
    pub fn compile(detection: &OutlierDetection) -> Result<Self, CompileError> {
        const LONGEST: Duration = Duration::from_secs(300);
        let OutlierDetection {
            consecutive_5xx,
            interval,
            base_ejection_time,
            max_ejection_percent,
            enforcing_consecutive_5xx,
            consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure,
            split_external_local_origin_errors,
            consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure,
            max_ejection_time,
            max_ejection_time_jitter,
            successful_active_health_check_uneject_host,
            always_eject_one_host,
            // Reported where they are to have consequences: success rates and shares of failures are not looked at.
            enforcing_success_rate: _,
            success_rate_minimum_hosts: _,
            success_rate_request_volume: _,
            success_rate_stdev_factor: _,
            enforcing_local_origin_success_rate: _,
            failure_percentage_threshold: _,
            enforcing_failure_percentage: _,
            enforcing_failure_percentage_local_origin: _,
            failure_percentage_minimum_hosts: _,
            failure_percentage_request_volume: _,
            monitors: _,
            detect_degraded_hosts: _,
        } = detection;
        let percents = [
            ("max_ejection_percent", max_ejection_percent),
            ("enforcing_consecutive_5xx", enforcing_consecutive_5xx),
            ("enforcing_consecutive_gateway_failure", enforcing_consecutive_gateway_failure),
            ("enforcing_consecutive_local_origin_failure", enforcing_consecutive_local_origin_failure),
        ];
        if let Some((field, _)) = percents.into_iter().find(|(_, percent)| percent.is_some_and(|percent| percent > 100)) {
            return Err(CompileError::new(field, "is more than a hundred percent"));
        }
        let time = |time: &Option<_>, usual| time.as_ref().map_or(usual, std_duration);
        let limit = |in_a_row: Option<u32>, percent: Option<u32>, usual| Limit {
            in_a_row: in_a_row.unwrap_or(5),
            percent: percent.unwrap_or(usual),
        };
        let base = time(base_ejection_time, Duration::from_secs(30));
        let longest = time(max_ejection_time, LONGEST.max(base));
        if longest < base {
            return Err(CompileError::new("max_ejection_time", "must not be smaller than base_ejection_time"));
        }
        Ok(Self {
            limits: [
                limit(*consecutive_5xx, *enforcing_consecutive_5xx, 100),
                limit(*consecutive_gateway_failure, *enforcing_consecutive_gateway_failure, 0),
                limit(*consecutive_local_origin_failure, *enforcing_consecutive_local_origin_failure, 100),
            ],
            split: *split_external_local_origin_errors,
            interval: time(interval, Duration::from_secs(10)).max(Duration::from_millis(1)),
            base,
            longest,
            jitter: time(max_ejection_time_jitter, Duration::ZERO),
            max_percent: u64::from(max_ejection_percent.unwrap_or(10).min(100)),
            always_one: always_eject_one_host.unwrap_or(false),
            returns_when_checked: successful_active_health_check_uneject_host.unwrap_or(true),
        })
    }

    /// The limit for a reason.
    pub fn limit(&self, reason: Reason) -> Limit {
        self.limits[reason as usize]
    }

    /// Whether one more may be left out, if so many of so many instances are.
    pub fn allows_one_more(&self, out: usize, all: usize) -> bool {
        (self.always_one && out == 0) || 100 * (out as u64 + 1) <= self.max_percent * all as u64
    }

    /// How long an instance is left out that was so many times lately.
    pub fn time_out(&self, times: u32) -> Duration {
        self.base.saturating_mul(times.max(1)).min(self.longest)
    }

    /// Whether being left out once more makes the next time longer.
    pub fn grows(&self, times: u32) -> bool {
        self.base.saturating_mul(times) < self.longest + self.base
    }
}
