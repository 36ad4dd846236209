//! What is counted of a listener, under Envoy's names.

use super::cells::Cell;

/// What is counted of a listener: a block for each worker.
#[derive(Debug)]
pub struct ListenerStats {
    workers: Box<[WorkerListenerStats]>,
}

/// What one worker counts of a listener. Blocks of two workers share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
#[allow(missing_docs)] // Each is Envoy's statistic `listener.ADDRESS.…` of that name.
pub struct WorkerListenerStats {
    pub downstream_cx_total: Cell,
    pub downstream_cx_active: Cell,
    pub downstream_cx_overflow: Cell,
    pub downstream_global_cx_overflow: Cell,
    pub downstream_pre_cx_timeout: Cell,
    pub downstream_cx_transport_socket_connect_timeout: Cell,
    pub no_filter_chain_match: Cell,
    pub ssl_connection_error: Cell,
    pub ssl_fail_verify_error: Cell,
    pub ssl_fail_verify_san: Cell,
    pub ssl_fail_verify_cert_hash: Cell,
    pub ssl_fail_verify_no_cert: Cell,
    /// Not one of Envoy's: how often the system could not give a connection.
    pub accept_failures: Cell,
}

/// Finds one of a listener's statistics.
type CellOf = fn(&WorkerListenerStats) -> &Cell;

/// What only grows, by Envoy's names.
pub const COUNTERS: &[(&str, CellOf)] = &[
    ("downstream_cx_total", |stats| &stats.downstream_cx_total),
    ("downstream_cx_overflow", |stats| &stats.downstream_cx_overflow),
    ("downstream_global_cx_overflow", |stats| &stats.downstream_global_cx_overflow),
    ("downstream_pre_cx_timeout", |stats| &stats.downstream_pre_cx_timeout),
    ("downstream_cx_transport_socket_connect_timeout", |stats| &stats.downstream_cx_transport_socket_connect_timeout),
    ("no_filter_chain_match", |stats| &stats.no_filter_chain_match),
    ("ssl_connection_error", |stats| &stats.ssl_connection_error),
    ("ssl_fail_verify_error", |stats| &stats.ssl_fail_verify_error),
    ("ssl_fail_verify_san", |stats| &stats.ssl_fail_verify_san),
    ("ssl_fail_verify_cert_hash", |stats| &stats.ssl_fail_verify_cert_hash),
    ("ssl_fail_verify_no_cert", |stats| &stats.ssl_fail_verify_no_cert),
];

impl ListenerStats {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers.max(1)).map(|_| WorkerListenerStats::default()).collect() }
    }

    /// The block of a worker.
    pub fn of(&self, worker: usize) -> &WorkerListenerStats {
        &self.workers[worker.min(self.workers.len() - 1)]
    }

    /// The sum of a statistic over all workers.
    pub fn sum(&self, cell: CellOf) -> u64 {
        self.workers.iter().map(|worker| cell(worker).get()).fold(0, u64::wrapping_add)
    }
}
