//! A proxy instance, a gateway or one workload's sidecar, as one worker hosts it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// Those listeners by their addresses.
    by_address: RefCell<HashMap<SocketAddr, Rc<ActiveListener>>>,
}

impl Instance {
    /// An instance without a configuration yet.
    pub fn new(id: Arc<str>, identity: Identity, shared: Rc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            id,
            identity,
            shared,
            clusters: RefCell::default(),
            routes: RefCell::default(),
            listeners: RefCell::default(),
            by_address: RefCell::default(),
        })
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
                wanted.get(name).is_some_and(|open| open.sockets.as_ref().map(Arc::as_ptr) == active.sockets().map(Arc::as_ptr))
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
        let listeners = self.listeners.borrow();
        *self.by_address.borrow_mut() = listeners.values().map(|active| (active.address(), active.clone())).collect();
    }

    /// The listener for an address to which a connection was going.
    pub(super) fn listener_for(&self, destination: SocketAddr) -> Option<Rc<ActiveListener>> {
        of_address(&self.by_address.borrow(), destination).cloned()
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
        self.by_address.borrow_mut().clear();
    }

    /// Closes what nobody used for too long.
    pub fn sweep(&self, now: Instant) {
        self.clusters.borrow().values().for_each(|cluster| cluster.sweep(now));
        self.listeners.borrow().values().for_each(|listener| listener.sweep(now));
    }
}

/// What is at an address, or at all addresses of its port.
fn of_address<T>(known: &HashMap<SocketAddr, T>, address: SocketAddr) -> Option<&T> {
    let port = address.port();
    let at = |wildcard: SocketAddr| known.get(&wildcard);
    let any4 = || at((Ipv4Addr::UNSPECIFIED, port).into()).filter(|_| address.is_ipv4());
    known.get(&address).or_else(any4).or_else(|| at((Ipv6Addr::UNSPECIFIED, port).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_the_very_address_comes_before_one_for_all_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let known = ["10.0.0.1:80", "0.0.0.0:80", "[::]:80", "[::]:90"].map(|text| (address(text), text)).into_iter().collect();
        let cases = [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", Some("0.0.0.0:80")),
            ("[fd00::1]:80", Some("[::]:80")),
            ("10.0.0.2:90", Some("[::]:90")),
            ("10.0.0.1:81", None),
        ];
        for (destination, wanted) in cases {
            assert_eq!(of_address(&known, address(destination)).copied(), wanted, "{destination}");
        }
    }
}
