//! What is counted of a cluster, under Envoy's names.

use std::sync::atomic::AtomicU64;

use super::cells::Cell;

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
#[allow(missing_docs)] // Each is Envoy's statistic `cluster.NAME.upstream_…` of that name.
pub struct WorkerClusterStats {
    pub cx_total: Cell,
    pub cx_active: Cell,
    pub cx_connect_fail: Cell,
    pub cx_connect_timeout: Cell,
    pub rq_total: Cell,
    pub rq_active: Cell,
    pub rq_timeout: Cell,
    pub rq_retry: Cell,
    pub rq_retry_success: Cell,
    pub rq_retry_limit_exceeded: Cell,
    pub rq_retry_overflow: Cell,
    pub rq_pending_overflow: Cell,
    pub rq_2xx: Cell,
    pub rq_3xx: Cell,
    pub rq_4xx: Cell,
    pub rq_5xx: Cell,
    pub none_healthy: Cell,
}

impl WorkerClusterStats {
    /// Counts an answer by its class.
    pub fn count_status(&self, status: u16) {
        match status / 100 {
            2 => self.rq_2xx.add(1),
            3 => self.rq_3xx.add(1),
            4 => self.rq_4xx.add(1),
            5 => self.rq_5xx.add(1),
            _ => {}
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
    ("upstream_rq_total", |stats| &stats.rq_total),
    ("upstream_rq_active", |stats| &stats.rq_active),
    ("upstream_rq_timeout", |stats| &stats.rq_timeout),
    ("upstream_rq_retry", |stats| &stats.rq_retry),
    ("upstream_rq_retry_success", |stats| &stats.rq_retry_success),
    ("upstream_rq_retry_limit_exceeded", |stats| &stats.rq_retry_limit_exceeded),
    ("upstream_rq_retry_overflow", |stats| &stats.rq_retry_overflow),
    ("upstream_rq_pending_overflow", |stats| &stats.rq_pending_overflow),
    ("upstream_rq_2xx", |stats| &stats.rq_2xx),
    ("upstream_rq_3xx", |stats| &stats.rq_3xx),
    ("upstream_rq_4xx", |stats| &stats.rq_4xx),
    ("upstream_rq_5xx", |stats| &stats.rq_5xx),
    ("upstream_cx_none_healthy", |stats| &stats.none_healthy),
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
}
