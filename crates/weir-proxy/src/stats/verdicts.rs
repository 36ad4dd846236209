//! What services that filters ask have said of the requests to a cluster, under Envoy's names.

use std::sync::OnceLock;

use super::cells::Cell;

/// What a service has said, or that it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is Envoy's statistic `cluster.NAME.ext_authz.…` or `cluster.NAME.ratelimit.…`.
pub enum Verdict {
    ExtAuthzOk,
    ExtAuthzDenied,
    ExtAuthzError,
    ExtAuthzFailureModeAllowed,
    ExtAuthzInvalid,
    RateLimitOk,
    RateLimitOverLimit,
    RateLimitError,
    RateLimitFailureModeAllowed,
}

/// All of them, with the names by which the admin interface prints them.
pub const NAMES: [(&str, Verdict); 9] = [
    ("ext_authz_ok", Verdict::ExtAuthzOk),
    ("ext_authz_denied", Verdict::ExtAuthzDenied),
    ("ext_authz_error", Verdict::ExtAuthzError),
    ("ext_authz_failure_mode_allowed", Verdict::ExtAuthzFailureModeAllowed),
    ("ext_authz_invalid", Verdict::ExtAuthzInvalid),
    ("ratelimit_ok", Verdict::RateLimitOk),
    ("ratelimit_over_limit", Verdict::RateLimitOverLimit),
    ("ratelimit_error", Verdict::RateLimitError),
    ("ratelimit_failure_mode_allowed", Verdict::RateLimitFailureModeAllowed),
];

/// How often each was said. They have room only once one of them is.
#[derive(Debug, Default)]
pub struct Verdicts(OnceLock<Box<[Cell; NAMES.len()]>>);

impl Verdicts {
    /// Counts one.
    pub fn count(&self, verdict: Verdict) {
        if let Some(cell) = self.0.get_or_init(Box::default).get(verdict as usize) {
            cell.add(1);
        }
    }

    /// How often it was said; none if nothing was ever said.
    pub fn get(&self, verdict: Verdict) -> Option<u64> {
        self.0.get()?.get(verdict as usize).map(Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_counted_under_its_name() {
        let verdicts = Verdicts::default();
        assert_eq!(verdicts.get(Verdict::ExtAuthzOk), None);
        for (i, (_, verdict)) in NAMES.iter().enumerate() {
            assert_eq!(*verdict as usize, i);
            verdicts.count(*verdict);
            assert_eq!(verdicts.get(*verdict), Some(1));
        }
    }
}
