//! The connections to one instance for requests of one priority, and who waits for one. Each priority has limits of its own, so what
//! counts against one can neither serve the other nor make room for it: as Envoy's pools, of which each priority has its own.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;
use weir_config::circuit_breakers::Resource;
use weir_routing::action::Priority;

use super::cluster::ClusterRuntime;
use super::pool::{Pool, Pools};
use crate::cluster::resources::{Overflow, Permit};

/// What requests of one priority share.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) pools: Pools,
    /// How many wait for a connection.
    pub(super) waiting: Cell<u32>,
    /// Told when there is room for a connection or a stream again.
    pub(super) freed: Rc<Notify>,
}

impl Lane {
    /// Takes a connection of the cluster's limit. One that is kept for other requests makes room. Each worker may have one connection
    /// of each kind to each instance whatever the limit, or its requests would wait for ever; as with Envoy.
    pub(super) fn may_open(&self, cluster: &ClusterRuntime, priority: Priority, pool: &Rc<Pool>) -> Option<ConnectionPermit> {
        let permit = loop {
            match cluster.take(priority, Resource::Connections) {
                Ok(permit) => break permit,
                Err(Overflow) if self.pools.close_other(pool) => {}
                Err(Overflow) => {
                    cluster.with_stats(|stats| stats.cx_overflow.add(1));
                    if pool.open.get() > 0 {
                        return None;
                    }
                    break Some(cluster.take_anyway(priority, Resource::Connections));
                }
            }
        };
        pool.open.set(pool.open.get() + 1);
        Some(ConnectionPermit { _counted: permit, open: pool.open.clone(), freed: self.freed.clone() })
    }

    /// Leave to open a connection, with its place in the cluster's limit where there is one; none if it is reached.
    pub(super) fn permit(&self, cluster: &ClusterRuntime, priority: Priority, pool: &Rc<Pool>) -> Option<Option<ConnectionPermit>> {
        if cluster.limits_connections(priority) { self.may_open(cluster, priority, pool).map(Some) } else { Some(None) }
    }
}

/// A connection that is open under a limit.
#[derive(Debug)]
pub struct ConnectionPermit {
    _counted: Option<Permit>,
    open: Rc<Cell<u32>>,
    freed: Rc<Notify>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        self.freed.notify_one();
    }
}

/// Counts one that waits.
pub(super) struct Waiting<'w>(&'w Cell<u32>);

impl<'w> Waiting<'w> {
    pub(super) fn new(waiting: &'w Cell<u32>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
