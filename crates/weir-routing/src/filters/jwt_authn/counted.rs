//! What is counted of a filter, by all workers together, under Envoy's names.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is Envoy's statistic `http.PREFIX.jwt_authn.…`.
pub enum Count {
    Allowed,
    Denied,
    CorsPreflightBypassed,
    JwksFetchSuccess,
    JwksFetchFailed,
}

/// All of them, with their names.
pub const NAMES: [(&str, Count); 5] = [
    ("allowed", Count::Allowed),
    ("denied", Count::Denied),
    ("cors_preflight_bypassed", Count::CorsPreflightBypassed),
    ("jwks_fetch_success", Count::JwksFetchSuccess),
    ("jwks_fetch_failed", Count::JwksFetchFailed),
];

/// How often each happened.
#[derive(Debug, Default)]
pub struct Counted([AtomicU64; NAMES.len()]);

impl Counted {
    /// Counts one.
    pub fn count(&self, what: Count) {
        if let Some(count) = self.0.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it happened.
    pub fn get(&self, what: Count) -> u64 {
        self.0.get(what as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
