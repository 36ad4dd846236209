//! A clock that all workers share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time since a moment that is the same for all workers.
pub fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
