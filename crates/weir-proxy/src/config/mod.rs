//! A proxy instance's configuration: xDS compiled into what the workers use. It is immutable and shared by all
//! workers; a change makes a new one that shares what did not change.

pub mod access_log;
pub mod check_target;
pub mod cluster;
pub mod endpoints;
pub mod host;
pub mod http;
pub mod listener;
pub mod tcp;
pub mod tls;

use std::collections::HashMap;
use std::sync::Arc;

use weir_routing::RouteTable;

use crate::control::sockets::Bound;
use crate::stats::listener::ListenerStats;
use cluster::Cluster;
use listener::Listener;

/// The whole configuration of one proxy instance.
#[derive(Debug, Default, Clone)]
pub struct ProxyConfig {
    /// Its listeners.
    pub listeners: Vec<OpenListener>,
    /// Its route tables, by name.
    pub routes: HashMap<Arc<str>, Arc<RouteTable>>,
    /// Its clusters, by name.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
}

/// A listener that is in force, and its sockets.
#[derive(Debug, Clone)]
pub struct OpenListener {
    /// What becomes of its connections.
    pub listener: Arc<Listener>,
    /// Its sockets, one for each worker. They outlive changes of the listener. None if other listeners hand connections to
    /// it.
    pub sockets: Option<Arc<Bound>>,
    /// Counted by all workers; kept while the listener changes.
    pub stats: Arc<ListenerStats>,
}
