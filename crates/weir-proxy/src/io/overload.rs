//! What a process does no longer because it takes too much memory: idle connections end first, then no more are let in and further
//! requests are refused, so that those in progress come to their end.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use weir_config::memory::MemoryBound;

/// How often the memory that is taken is looked at: Envoy's usual interval is a second, which a flood fills.
const INTERVAL: Duration = Duration::from_millis(250);

/// What is not done now. All workers look at it, and nobody writes to it while nothing changes.
#[derive(Debug, Default)]
pub struct Overload {
    state: AtomicU8,
    /// The memory that is taken, in hundredths of the bound; none while there is no bound.
    pressure: AtomicU64,
    /// How many requests were refused.
    refused_requests: AtomicU64,
    /// How many connections were.
    refused_connections: AtomicU64,
}

const SHED_IDLE: u8 = 1;
const REFUSE_CONNECTIONS: u8 = 2;
const REFUSE_REQUESTS: u8 = 4;

impl Overload {
    /// Whether connections that are idle are to end.
    pub fn sheds_idle(&self) -> bool {
        self.is(SHED_IDLE)
    }

    /// Whether a connection that comes is to be closed; then it is counted.
    pub fn refuses_connection(&self) -> bool {
        let refuses = self.is(REFUSE_CONNECTIONS);
        if refuses {
            self.refused_connections.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    /// Whether a request that comes is to be refused; then it is counted.
    pub fn refuses_request(&self) -> bool {
        let refuses = self.is(REFUSE_REQUESTS);
        if refuses {
            self.refused_requests.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    fn is(&self, what: u8) -> bool {
        self.state.load(Ordering::Relaxed) & what != 0
    }

    /// What is counted, by its name.
    pub fn counted(&self) -> [(&'static str, u64); 2] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("envoy_http_downstream_rq_overload_close", of(&self.refused_requests)),
            ("envoy_listener_downstream_cx_overload_reject", of(&self.refused_connections)),
        ]
    }

    /// How much is taken, in hundredths of the bound.
    pub fn pressure(&self) -> u64 {
        self.pressure.load(Ordering::Relaxed)
    }

    /// Decides what is done with so much memory taken.
    fn settle(&self, bound: &MemoryBound, taken: u64) {
        let MemoryBound { most, shed_idle, refuse_connections, refuse_requests } = *bound;
        let share = taken as f64 / most.max(1) as f64;
        let from = |threshold: Option<f64>, what| if threshold.is_some_and(|threshold| share >= threshold) { what } else { 0 };
        let state = from(shed_idle, SHED_IDLE) | from(refuse_connections, REFUSE_CONNECTIONS) | from(refuse_requests, REFUSE_REQUESTS);
        self.pressure.store((share * 100.0) as u64, Ordering::Relaxed);
        let before = self.state.swap(state, Ordering::Relaxed);
        if before != state {
            let (percent, idle) = (self.pressure(), state & SHED_IDLE != 0);
            let (connections, requests) = (state & REFUSE_CONNECTIONS != 0, state & REFUSE_REQUESTS != 0);
            tracing::warn!(percent, ends_idle = idle, refuses_connections = connections, refuses_requests = requests, "memory");
        }
    }

    /// Looks again and again how much memory is taken; ends where the system does not tell.
    pub async fn follow(&self, bound: MemoryBound) {
        let mut looks = tokio::time::interval(INTERVAL);
        loop {
            looks.tick().await;
            let Some(taken) = resident() else {
                tracing::error!("the system does not tell how much memory is taken: its bound is not kept");
                return;
            };
            self.settle(&bound, taken);
        }
    }
}

/// How much memory this process has resident.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_go_first_and_then_nothing_new_comes() {
        let overload = Overload::default();
        let does = |taken: u64| {
            overload.settle(&MemoryBound::new(1000), taken);
            (overload.sheds_idle(), overload.refuses_connection(), overload.refuses_request(), overload.pressure())
        };
        assert_eq!(does(100), (false, false, false, 10));
        assert_eq!(does(900), (true, false, false, 90));
        assert_eq!(does(950), (true, true, true, 95));
        assert_eq!(does(2000), (true, true, true, 200));
        assert_eq!(does(10), (false, false, false, 1));
        assert_eq!(overload.counted().map(|(_, count)| count), [2, 2]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_how_much_is_taken() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
