//! How often rules let somebody in, or did not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Rules let somebody in.
    Allowed,
    /// Rules refused somebody.
    Denied,
    /// Rules that are only tried would have let him in.
    ShadowAllowed,
    /// They would have refused him.
    ShadowDenied,
}

impl Count {
    /// All, with the ends of their names in statistics.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("allowed", Self::Allowed),
        ("denied", Self::Denied),
        ("shadow_allowed", Self::ShadowAllowed),
        ("shadow_denied", Self::ShadowDenied),
    ];

    /// What is counted where rules said this.
    pub fn of(allowed: bool, shadow: bool) -> Self {
        match (allowed, shadow) {
            (true, false) => Self::Allowed,
            (false, false) => Self::Denied,
            (true, true) => Self::ShadowAllowed,
            (false, true) => Self::ShadowDenied,
        }
    }
}

/// The counts of a filter, which all workers share.
#[derive(Debug, Clone, Default)]
pub struct Counted(Arc<[AtomicU64; 4]>);

impl Counted {
    /// Counts one more.
    pub fn add(&self, count: Count) {
        if let Some(number) = self.0.get(count as usize) {
            number.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).map_or(0, |number| number.load(Ordering::Relaxed))
    }
}
