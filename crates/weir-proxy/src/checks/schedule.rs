//! What follows from the results of an instance's checks: whether it is healthy, and when it is checked again.

use super::failure::{CheckFailureKind, Result};
use weir_config::health_check::HealthCheckPolicy;

/// The results of an instance so far.
#[derive(Debug, Default)]
pub struct CheckSchedule {
    /// Whether there was any.
    has_begun: bool,
    /// So many in a row spoke against what the instance counts as.
    against: u32,
    /// Of a probe: the last result, and how many in a row were the same.
    run: (bool, u32),
    /// Of a probe: what was decided last.
    decided: Option<bool>,
}

/// What follows from a result.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether the instance passes.
    pub passes: bool,
    /// Whether one more such result may change that.
    pub is_pending: bool,
    /// Whether the results are enough to tell others.
    pub is_decided: bool,
}

impl CheckSchedule {
    /// Takes a result of an instance that counts as failing or not until now.
    pub fn take(&mut self, policy: &HealthCheckPolicy, failing: bool, result: &Result) -> Step {
        if policy.probe.is_some() {
            return self.take_probe(policy, result.is_ok());
        }
        let first = !std::mem::replace(&mut self.has_begun, true);
        let (speaks_for, enough, threshold) = match result {
            Ok(()) => (!failing, first, policy.healthy_threshold),
            Err(failure) => (failing, failure.kind == CheckFailureKind::Answer, policy.unhealthy_threshold),
        };
        if speaks_for {
            self.against = 0;
            return Step { passes: !failing, is_pending: false, is_decided: true };
        }
        self.against += 1;
        if enough || self.against >= threshold {
            self.against = 0;
            return Step { passes: failing, is_pending: false, is_decided: true };
        }
        Step { passes: !failing, is_pending: true, is_decided: true }
    }

    /// A probe's rules are those of Kubernetes: so many equal results in a row decide, whatever they are and whichever was
    /// first.
    fn take_probe(&mut self, policy: &HealthCheckPolicy, success: bool) -> Step {
        let (last, count) = self.run;
        let count = if last == success { count.saturating_add(1) } else { 1 };
        self.run = (success, count);
        let threshold = if success { policy.healthy_threshold } else { policy.unhealthy_threshold };
        if count >= threshold {
            self.decided = Some(success);
        }
        Step { passes: self.decided.unwrap_or(false), is_pending: false, is_decided: self.decided.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_config::health_check::Pauses;

    use super::super::failure::CheckFailure;
    use super::*;
    use weir_config::health_check::{Method, TcpMethodPolicy};

    fn policy() -> HealthCheckPolicy {
        let pauses = Pauses {
            healthy: Duration::from_secs(1),
            healthy_edge: Duration::from_secs(2),
            unhealthy: Duration::from_secs(3),
            unhealthy_edge: Duration::from_secs(4),
            no_traffic: Duration::from_secs(60),
            no_traffic_healthy: Duration::from_secs(90),
            initial_jitter: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_percent: 0,
        };
        HealthCheckPolicy {
            timeout: Duration::from_secs(1),
            pauses,
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            reuse_connection: true,
            transport: None,
            alpn: vec![],
            method: Method::Tcp(TcpMethodPolicy { send: Default::default(), receive: vec![] }),
            probe: None,
        }
    }

    #[test]
    fn a_probe_decides_by_its_thresholds_from_the_first_result_on() {
        let policy = HealthCheckPolicy { probe: Some(weir_xds::health::Probe { initial_delay: 0.0 }), ..policy() };
        for (results, decided) in [("+", "."), ("++", ".+"), ("---+-++!!!", "..----+++-"), ("++---", ".+++-")] {
            let mut schedule = CheckSchedule::default();
            let step = |result: char| {
                let result = if result == '+' { Ok(()) } else { Err(CheckFailure::answer("503")) };
                let step = schedule.take(&policy, true, &result);
                match (step.is_decided, step.passes) {
                    (false, _) => '.',
                    (true, true) => '+',
                    (true, false) => '-',
                }
            };
            assert_eq!(results.chars().map(step).collect::<String>(), decided, "{results}");
        }
    }

    /// Plays results: `+` a success, `-` a failure to connect, `!` a bad answer. What the instance counts as after each
    /// (`+` or `-`, and `?` behind it if that may change soon), and how many seconds pass.
    fn play(results: &str) -> String {
        let (policy, mut schedule, mut failing) = (policy(), CheckSchedule::default(), true);
        let step = |result: char| {
            let result = match result {
                '+' => Ok(()),
                '-' => Err(CheckFailure::network("refused")),
                _ => Err(CheckFailure::answer("503")),
            };
            let step = schedule.take(&policy, failing, &result);
            failing = !step.passes;
            let pause = policy.pauses.after(result.is_ok(), step.is_pending, true, |_| 0);
            format!("{}{}{}", if step.passes { '+' } else { '-' }, if step.is_pending { "?" } else { "" }, pause.as_secs())
        };
        results.chars().map(step).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_first_result_decides_and_later_ones_need_the_threshold() {
        for (results, states) in [
            ("+", "+1"),
            ("-++", "-3 -?2 +1"),
            ("-+-++", "-3 -?2 -3 -?2 +1"),
            ("+---", "+1 +?4 +?4 -3"),
            ("+--+---", "+1 +?4 +?4 +1 +?4 +?4 -3"),
            // A bad answer is enough.
            ("+!", "+1 -3"),
            ("+!++", "+1 -3 -?2 +1"),
        ] {
            assert_eq!(play(results), states, "{results}");
        }
    }

    #[test]
    fn a_cluster_that_nobody_uses_is_checked_seldom() {
        let pauses = policy().pauses;
        let seconds = |success, pending| pauses.after(success, pending, false, |_| 0).as_secs();
        assert_eq!([seconds(true, false), seconds(true, true), seconds(false, false)], [90, 60, 60]);
    }

    #[test]
    fn pauses_are_longer_by_chance() {
        let pauses =
            Pauses { jitter: Duration::from_millis(100), jitter_percent: 50, initial_jitter: Duration::from_millis(10), ..policy().pauses };
        assert_eq!(pauses.after(true, false, true, |limit| limit - 1), Duration::from_millis(1000 + 499 + 99));
        assert_eq!(pauses.before_first(|limit| limit - 1), Duration::from_millis(9));
        assert_eq!(pauses.before_first(|_| 0), Duration::from_millis(1));
        assert_eq!(policy().pauses.before_first(|_| 0), Duration::ZERO);
    }
}
