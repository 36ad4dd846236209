//! A Lease as a candidate saw it, and when.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::Election;

/// A Lease, and since when it has been renewed no more.
#[derive(Debug)]
pub(super) struct Observed {
    /// As it is now.
    pub lease: Lease,
    /// When it was first seen with this holder and this time of renewal.
    at: Instant,
}

impl Observed {
    /// The Lease is seen: as it was before, or renewed.
    pub fn next(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        let record = |lease: &Lease| lease.spec.as_ref().map(|spec| (spec.holder_identity.clone(), spec.renew_time.clone()));
        let at = before.filter(|before| record(&before.lease) == record(&lease)).map_or(now, |before| before.at);
        Self { lease, at }
    }

    /// Whether a candidate may have it.
    pub fn is_free(&self, election: &Election, now: Instant) -> bool {
        self.free_at(election) <= now
    }

    /// From when on a candidate may have it: at once if nobody has it, or the candidate itself; else when its holder has not renewed it
    /// for as long as the Lease says.
    pub fn free_at(&self, election: &Election) -> Instant {
        let spec = self.lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() || holder == election.identity {
            return self.at;
        }
        let said = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok()).map(Duration::from_secs);
        self.at + said.unwrap_or(election.times.duration)
    }
}
