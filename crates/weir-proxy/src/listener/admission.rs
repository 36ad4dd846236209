//! Who is let in: as many connections as the process and the listener may have. What is over that is closed at once.

use std::sync::Arc;

use weir_config::budget::{Budget, Permit};

use super::Surroundings;
use super::active::ActiveListener;
use crate::io::open::OpenConnection;
use crate::stats::listener::{ListenerStats, WorkerListenerStats};

/// A connection that was let in. It counts until it is dropped.
pub(super) struct Admitted {
    _process: Option<Permit>,
    _listener: Option<Permit>,
    _open: OpenConnection,
    stats: Arc<ListenerStats>,
    worker: usize,
}

/// Lets a connection in that `accepting` has got for `listener`; none if there are too many.
pub(super) fn admit(around: &Surroundings, accepting: &ActiveListener, listener: &ActiveListener) -> Option<Admitted> {
    let shared = &around.clusters.shared;
    if shared.overload.refuses_connection() {
        return None;
    }
    let of_process = shared.budget.as_ref().filter(|_| !accepting.ignores_global_limit());
    let process = take(of_process, || accepting.count(|stats| stats.downstream_global_cx_overflow.add(1)))?;
    let of_listener = take(listener.limit(), || listener.count(|stats| stats.downstream_cx_overflow.add(1)))?;
    let open = shared.connections.enter();
    listener.count(|stats| {
        stats.downstream_cx_total.add(1);
        stats.downstream_cx_active.add(1);
    });
    let (stats, worker) = (listener.stats(), shared.worker);
    Some(Admitted { _process: process, _listener: of_listener, _open: open, stats, worker })
}

/// A permit, where one is needed; none at all if there is none left.
#[expect(clippy::option_option, reason = "that none is needed and that none is left are two things")]
fn take(budget: Option<&Arc<Budget>>, refuse: impl FnOnce()) -> Option<Option<Permit>> {
    let Some(budget) = budget else { return Some(None) };
    let permit = budget.take();
    if permit.is_none() {
        refuse();
    }
    permit.map(Some)
}

impl Admitted {
    /// Counts something of it. Only its own worker may.
    pub(super) fn count(&self, counts: impl FnOnce(&WorkerListenerStats)) {
        counts(self.stats.of(self.worker));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.count(|stats| stats.downstream_cx_active.subtract(1));
    }
}
