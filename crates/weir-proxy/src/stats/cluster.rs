//! What is counted of a cluster, under Envoy's names.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::cells::Cell;
use super::http2::Http2Stats;
use super::verdicts::Verdicts;

/// What is counted of a cluster: a block for each worker.
#[derive(Debug)]
pub struct ClusterStats {
    workers: Box<[WorkerClusterStats]>,
    /// Counted by the control side.
    pub health_checks: HealthCheckStats,
}

/// What is counted of a cluster's active health checks, by no worker.
#[derive(Debug, Default)]
#[allow(missing_docs)] // Each is Envoy's statistic `cluster.NAME.health_check.…` of that name.
pub struct HealthCheckStats {
    pub attempt: AtomicU64,
    pub success: AtomicU64,
    pub failure: AtomicU64,
    pub passive_failure: AtomicU64,
    pub network_failure: AtomicU64,
}

/// What one worker counts of a cluster. Blocks of two workers share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)] // Each is Envoy's statistic `cluster.NAME.upstream_…` of that name, or `cluster.NAME.ssl.…`.
pub struct WorkerClusterStats {
    pub cx_total: Cell,
    pub cx_active: Cell,
    pub cx_connect_fail: Cell,
    pub cx_connect_timeout: Cell,
    pub cx_destroy_local_with_active_rq: Cell,
    pub cx_destroy_remote_with_active_rq: Cell,
    pub cx_protocol_error: Cell,
    pub cx_overflow: Cell,
    pub cx_max_requests: Cell,
    pub rq_total: Cell,
    pub rq_active: Cell,
    pub rq_timeout: Cell,
    pub rq_per_try_timeout: Cell,
    pub rq_per_try_idle_timeout: Cell,
    pub rq_rx_reset: Cell,
    pub rq_tx_reset: Cell,
    pub rq_retry: Cell,
    pub rq_retry_success: Cell,
    pub rq_retry_limit_exceeded: Cell,
    pub rq_retry_overflow: Cell,
    pub rq_retry_backoff_exponential: Cell,
    pub rq_retry_backoff_ratelimited: Cell,
    pub rq_pending_overflow: Cell,
    pub rq_pending_failure_eject: Cell,
    pub none_healthy: Cell,
    pub ssl_handshake: Cell,
    pub ssl_connection_error: Cell,
    pub ssl_fail_verify_error: Cell,
    pub ssl_fail_verify_san: Cell,
    pub ssl_fail_verify_cert_hash: Cell,
    pub lb_healthy_panic: Cell,
    /// The answers that clients got, by their status.
    pub statuses: Statuses,
    /// Its connections of HTTP/2.
    pub http2: Http2Stats,
    /// What services say of requests to it.
    pub verdicts: Verdicts,
}

impl WorkerClusterStats {
    /// Counts an attempt to connect.
    pub fn count_connect(&self, failed: bool, timed_out: bool) {
        self.cx_total.add(1);
        if failed {
            self.cx_connect_fail.add(1);
        }
        if timed_out {
            self.cx_connect_timeout.add(1);
        }
    }
}

/// Finds one of a cluster's statistics.
type CellOf = fn(&WorkerClusterStats) -> &Cell;

/// The statistics as the admin interface prints them: Envoy's name and the cell.
pub const NAMES: &[(&str, CellOf)] = &[
    ("upstream_cx_total", |stats| &stats.cx_total),
    ("upstream_cx_active", |stats| &stats.cx_active),
    ("upstream_cx_connect_fail", |stats| &stats.cx_connect_fail),
    ("upstream_cx_connect_timeout", |stats| &stats.cx_connect_timeout),
    ("upstream_cx_destroy_local_with_active_rq", |stats| &stats.cx_destroy_local_with_active_rq),
    ("upstream_cx_destroy_remote_with_active_rq", |stats| &stats.cx_destroy_remote_with_active_rq),
    ("upstream_cx_protocol_error", |stats| &stats.cx_protocol_error),
    ("upstream_cx_overflow", |stats| &stats.cx_overflow),
    ("upstream_cx_max_requests", |stats| &stats.cx_max_requests),
    ("upstream_rq_total", |stats| &stats.rq_total),
    ("upstream_rq_active", |stats| &stats.rq_active),
    ("upstream_rq_timeout", |stats| &stats.rq_timeout),
    ("upstream_rq_per_try_timeout", |stats| &stats.rq_per_try_timeout),
    ("upstream_rq_per_try_idle_timeout", |stats| &stats.rq_per_try_idle_timeout),
    ("upstream_rq_rx_reset", |stats| &stats.rq_rx_reset),
    ("upstream_rq_tx_reset", |stats| &stats.rq_tx_reset),
    ("upstream_rq_retry", |stats| &stats.rq_retry),
    ("upstream_rq_retry_success", |stats| &stats.rq_retry_success),
    ("upstream_rq_retry_limit_exceeded", |stats| &stats.rq_retry_limit_exceeded),
    ("upstream_rq_retry_overflow", |stats| &stats.rq_retry_overflow),
    ("upstream_rq_retry_backoff_exponential", |stats| &stats.rq_retry_backoff_exponential),
    ("upstream_rq_retry_backoff_ratelimited", |stats| &stats.rq_retry_backoff_ratelimited),
    ("upstream_rq_pending_overflow", |stats| &stats.rq_pending_overflow),
    ("upstream_rq_pending_failure_eject", |stats| &stats.rq_pending_failure_eject),
    ("upstream_cx_none_healthy", |stats| &stats.none_healthy),
    ("lb_healthy_panic", |stats| &stats.lb_healthy_panic),
    ("ssl_handshake", |stats| &stats.ssl_handshake),
    ("ssl_connection_error", |stats| &stats.ssl_connection_error),
    ("ssl_fail_verify_error", |stats| &stats.ssl_fail_verify_error),
    ("ssl_fail_verify_san", |stats| &stats.ssl_fail_verify_san),
    ("ssl_fail_verify_cert_hash", |stats| &stats.ssl_fail_verify_cert_hash),
];

impl ClusterStats {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers.max(1)).map(|_| WorkerClusterStats::default()).collect(), health_checks: HealthCheckStats::default() }
    }

    /// The block of a worker.
    pub fn of(&self, worker: usize) -> &WorkerClusterStats {
        &self.workers[worker.min(self.workers.len() - 1)]
    }

    /// The sum of a statistic over all workers.
    pub fn sum(&self, cell: fn(&WorkerClusterStats) -> &Cell) -> u64 {
        self.workers.iter().map(|worker| cell(worker).get()).fold(0, u64::wrapping_add)
    }

    /// The blocks of all workers.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerClusterStats> {
        self.workers.iter()
    }

    /// How many answers had each status that there was, in order.
    pub fn statuses(&self) -> Vec<(u16, u64)> {
        (100..600)
            .map(|status| (status, self.workers.iter().map(|worker| worker.statuses.get(status)).sum()))
            .filter(|(_, sum)| *sum > 0)
            .collect()
    }
}

/// A worker's block of a cluster's statistics, for whoever outlives a look at the cluster: a connection.
#[derive(Debug, Clone)]
pub struct Tally {
    stats: Arc<ClusterStats>,
    worker: usize,
}

impl Tally {
    /// The block of this worker.
    pub fn new(stats: Arc<ClusterStats>, worker: usize) -> Self {
        Self { stats, worker }
    }
}

impl Deref for Tally {
    type Target = WorkerClusterStats;

    fn deref(&self) -> &WorkerClusterStats {
        self.stats.of(self.worker)
    }
}

/// How often each status was given. A hundred of them have room only once one of them is.
#[derive(Debug, Default)]
pub struct Statuses([OnceLock<Box<[Cell; 100]>>; 5]);

impl Statuses {
    /// Counts one.
    pub fn count(&self, status: u16) {
        let hundred = usize::from(status / 100).checked_sub(1).and_then(|class| self.0.get(class));
        if let Some(hundred) = hundred {
            hundred.get_or_init(|| Box::new(std::array::from_fn(|_| Cell::default())))[usize::from(status % 100)].add(1);
        }
    }

    fn get(&self, status: u16) -> u64 {
        let hundred = usize::from(status / 100).checked_sub(1).and_then(|class| self.0.get(class));
        hundred.and_then(OnceLock::get).map_or(0, |hundred| hundred[usize::from(status % 100)].get())
    }
}
