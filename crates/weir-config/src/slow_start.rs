//! Slow start: an instance that is new, or healthy again, gets more from moment to moment until it has warmed up
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start>).

use std::time::Duration;

use weir_xds::cluster::cluster::SlowStartConfig;
use weir_xds::values::std_duration;

/// How instances warm up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// 1 is a straight line; what is more is faster at the beginning.
    aggression: f64,
    /// It begins with this part of the weight.
    least: f64,
}

impl SlowStart {
    /// Compiles Envoy's settings; none if nothing warms up.
    pub fn compile(config: Option<&SlowStartConfig>) -> Option<Self> {
        const LEAST_PERCENT: f64 = 10.0;
        let config = config?;
        let window = config.slow_start_window.as_ref().map(std_duration).filter(|window| !window.is_zero())?;
        let aggression = config.aggression.as_ref().map_or(1.0, |aggression| aggression.default_value);
        let aggression = if aggression > 0.0 { aggression } else { 1.0 };
        let least = config.min_weight_percent.as_ref().map_or(LEAST_PERCENT, |percent| percent.value) / 100.0;
        Some(Self { window, aggression, least })
    }

    /// The part of its weight that an instance has which is healthy for so long.
    pub fn factor(&self, healthy_for: Duration) -> f64 {
        if healthy_for >= self.window {
            return 1.0;
        }
        let time = healthy_for.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        time.powf(1.0 / self.aggression).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::core::RuntimeDouble;
    use weir_xds::types::Percent;
    use weir_xds::values::duration;

    use super::*;

    fn slow_start(window: u64, aggression: Option<f64>, least: Option<f64>) -> Option<SlowStart> {
        SlowStart::compile(Some(&SlowStartConfig {
            slow_start_window: Some(duration(Duration::from_secs(window))),
            aggression: aggression.map(|default_value| RuntimeDouble { default_value, ..Default::default() }),
            min_weight_percent: least.map(|value| Percent { value }),
        }))
    }

    #[test]
    fn the_weight_grows_as_envoy_says() {
        let cases = [
            (None, None, [(0, 0.1), (1, 0.1), (5, 0.5), (9, 0.9), (10, 1.0), (99, 1.0)]),
            (Some(2.0), None, [(0, 0.1), (1, 0.316), (5, 0.707), (9, 0.949), (10, 1.0), (99, 1.0)]),
            (Some(0.5), Some(0.0), [(0, 0.0), (1, 0.01), (5, 0.25), (9, 0.81), (10, 1.0), (99, 1.0)]),
            (Some(-1.0), Some(30.0), [(0, 0.3), (1, 0.3), (5, 0.5), (9, 0.9), (10, 1.0), (99, 1.0)]),
        ];
        for (aggression, least, points) in cases {
            let slow = slow_start(10, aggression, least).expect("a window");
            for (seconds, wanted) in points {
                let factor = slow.factor(Duration::from_secs(seconds));
                assert!((factor - wanted).abs() < 0.001, "{aggression:?} {seconds} s: {factor}");
            }
        }
        assert_eq!(slow_start(0, None, None), None);
        assert_eq!(SlowStart::compile(None), None);
    }
}
