//! What the workers are to do: the newest configuration of each proxy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_routing::RouteTable;

use crate::cluster::Cluster;
use crate::exchange::Introduction;
use crate::listener::OpenListener;
use crate::stats::requests::Identity;

/// The configuration of one proxy: xDS compiled into what the workers use. It is immutable and shared by all
/// workers; a change makes a new one that shares what did not change.
#[derive(Debug, Default, Clone)]
pub struct ProxySnapshot {
    /// Its listeners.
    pub listeners: Arc<[OpenListener]>,
    /// Its route tables, by name.
    pub routes: Arc<HashMap<Arc<str>, Arc<RouteTable>>>,
    /// Its clusters, by name.
    pub clusters: Arc<HashMap<Arc<str>, Arc<Cluster>>>,
}

/// What all workers do.
#[derive(Debug, Default, Clone)]
pub struct World {
    /// By the proxies' ids.
    pub proxies: BTreeMap<Arc<str>, ProxyState>,
    /// Set when the process is to end: nothing new is accepted, what is under way may finish until then.
    pub drain_until: Option<Instant>,
}

/// A proxy in a [`World`].
#[derive(Debug, Clone)]
pub struct ProxyState {
    /// Who it is, as metrics name it.
    pub identity: Identity,
    /// What it tells others of its workload.
    pub introduction: Option<Arc<Introduction>>,
    /// How long connections may go on whose listener or filter chain is gone.
    pub drain_duration: Duration,
    /// What it does.
    pub config: Arc<ProxySnapshot>,
}
