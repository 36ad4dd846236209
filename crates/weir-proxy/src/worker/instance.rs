//! A proxy instance, a gateway or one workload's sidecar, as one worker hosts it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use weir_routing::RouteTable;

use super::Shared;
use super::cluster::ClusterRuntime;
use super::listener::{self, ActiveListener};
use super::routes::{RouteSlot, RoutesRuntime};
use crate::config::ProxyConfig;
use crate::config::cluster::Cluster;
use crate::log::writer::LogSink;
use crate::stats::requests::{Identity, Labels, Series};

/// A proxy instance, for one worker.
pub struct Instance {
    /// Its id.
    pub id: Arc<str>,
    /// Who it is, as metrics name it.
    pub identity: Identity,
    /// What all instances of the worker share.
    pub shared: Rc<Shared>,
    clusters: RefCell<HashMap<Arc<str>, Rc<ClusterRuntime>>>,
    routes: RefCell<HashMap<Arc<str>, Rc<RouteSlot>>>,
    listeners: RefCell<HashMap<Arc<str>, Rc<ActiveListener>>>,
}

impl Instance {
    /// An instance without a configuration yet.
    pub fn new(id: Arc<str>, identity: Identity, shared: Rc<Shared>) -> Rc<Self> {
        Rc::new(Self { id, identity, shared, clusters: RefCell::default(), routes: RefCell::default(), listeners: RefCell::default() })
    }

    /// Follows a change of the configuration: clusters first, then what leads to them.
    pub fn apply(self: &Rc<Self>, config: &ProxyConfig, previous: &ProxyConfig) {
        let changed = self.apply_clusters(&config.clusters);
        self.apply_routes(config, previous, changed);
        self.apply_listeners(config);
    }

    /// Whether a cluster has come or gone.
    fn apply_clusters(&self, wanted: &HashMap<Arc<str>, Arc<Cluster>>) -> bool {
        let mut clusters = self.clusters.borrow_mut();
        let before = clusters.len();
        clusters.retain(|name, _| wanted.contains_key(name));
        let mut changed = clusters.len() != before;
        for (name, cluster) in wanted {
            match clusters.get(name) {
                Some(runtime) => runtime.update(cluster),
                None => {
                    changed = true;
                    clusters.insert(name.clone(), Rc::new(ClusterRuntime::new(cluster.clone(), self.shared.worker)));
                }
            }
        }
        changed
    }

    fn apply_routes(&self, config: &ProxyConfig, previous: &ProxyConfig, clusters_changed: bool) {
        for (name, table) in &config.routes {
            let same = previous.routes.get(name).is_some_and(|known| Arc::ptr_eq(known, table));
            if !same || clusters_changed {
                self.route_slot(name).set(self.resolve(table));
            }
        }
        // A listener that is on its way out may still use a table that is gone.
        let used: HashSet<&Arc<str>> = config.routes.keys().collect();
        self.routes.borrow_mut().retain(|name, slot| used.contains(name) || Rc::strong_count(slot) > 1);
    }

    fn apply_listeners(self: &Rc<Self>, config: &ProxyConfig) {
        let wanted: HashMap<&Arc<str>, _> = config.listeners.iter().map(|open| (&open.listener.name, open)).collect();
        let gone: Vec<Rc<ActiveListener>> = {
            let mut listeners = self.listeners.borrow_mut();
            let stays = |name: &Arc<str>, active: &Rc<ActiveListener>| {
                wanted.get(name).is_some_and(|open| Arc::ptr_eq(&open.sockets, active.sockets()))
            };
            listeners.extract_if(|name, active| !stays(name, active)).map(|(_, active)| active).collect()
        };
        gone.iter().for_each(|listener| listener.close());
        for open in &config.listeners {
            let known = self.listeners.borrow().get(&open.listener.name).cloned();
            match known {
                Some(active) => active.update(self, &open.listener),
                None => {
                    if let Some(active) = listener::open(self, open) {
                        self.listeners.borrow_mut().insert(open.listener.name.clone(), active);
                    }
                }
            }
        }
    }

    /// The slot of a route table, made if there is none yet.
    pub fn route_slot(&self, name: &Arc<str>) -> Rc<RouteSlot> {
        self.routes.borrow_mut().entry(name.clone()).or_default().clone()
    }

    /// A route table with its clusters.
    pub fn resolve(&self, table: &Arc<RouteTable>) -> RoutesRuntime {
        let clusters = self.clusters.borrow();
        RoutesRuntime::new(table.clone(), |name| clusters.get(name).cloned())
    }

    /// A cluster by its name.
    pub fn cluster(&self, name: &str) -> Option<Rc<ClusterRuntime>> {
        self.clusters.borrow().get(name).cloned()
    }

    /// This worker's end of a log file.
    pub fn sink(&self, path: &Arc<str>) -> Rc<LogSink> {
        self.shared.sink(path)
    }

    /// The series of labels.
    pub fn series(&self, labels: Labels) -> Arc<Series> {
        self.shared.registry.series(labels)
    }

    /// Stops accepting, and lets what is under way come to its end.
    pub fn drain(&self) {
        for listener in self.listeners.borrow_mut().drain() {
            listener.1.close();
        }
    }

    /// Closes what nobody used for too long.
    pub fn sweep(&self, now: Instant) {
        self.clusters.borrow().values().for_each(|cluster| cluster.sweep(now));
        self.listeners.borrow().values().for_each(|listener| listener.sweep(now));
    }
}
