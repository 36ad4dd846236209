//! The clusters of one proxy, by name, on one worker; and who is found by the names of requests.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use weir_config::budget::Budget;

use super::cluster::ClusterRuntime;
use super::names::Names;
use crate::cluster::Cluster;
use crate::io::open::OpenConnections;
use crate::io::overload::Overload;
use crate::stats::http2::Http2Stats;

/// What all proxies of one worker share.
#[derive(Default)]
pub struct Shared {
    /// The worker's number.
    pub worker: usize,
    /// Connections that are open.
    pub connections: OpenConnections,
    /// How many connections of clients the process may have, where that is limited; one for all workers.
    pub budget: Option<Arc<Budget>>,
    /// What is counted of clients' connections of HTTP/2.
    pub http2: Arc<Http2Stats>,
    /// What is not done for want of memory; one for all workers.
    pub overload: Arc<Overload>,
    names: OnceCell<Names>,
}

impl Shared {
    /// For a worker.
    pub fn new(worker: usize, budget: Option<Arc<Budget>>, http2: Arc<Http2Stats>, overload: Arc<Overload>) -> Rc<Self> {
        Rc::new(Self { worker, budget, http2, overload, ..Self::default() })
    }
}

/// The clusters of one proxy.
pub struct Clusters {
    by_name: RefCell<HashMap<Arc<str>, Rc<ClusterRuntime>>>,
    /// What all proxies of the worker share.
    pub shared: Rc<Shared>,
}

impl Clusters {
    /// None yet.
    pub fn new(shared: Rc<Shared>) -> Rc<Self> {
        Rc::new(Self { by_name: RefCell::default(), shared })
    }

    /// Follows a change; whether a cluster has come or gone.
    pub fn follow(&self, wanted: &HashMap<Arc<str>, Arc<Cluster>>) -> bool {
        let mut clusters = self.by_name.borrow_mut();
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

    /// A cluster by its name.
    pub fn get(&self, name: &str) -> Option<Rc<ClusterRuntime>> {
        self.by_name.borrow().get(name).cloned()
    }

    /// The address of an authority that a request names, looked up now; without a port of its own, at this one.
    pub async fn find_by_name(&self, authority: &str, port: u16) -> Option<SocketAddr> {
        self.shared.names.get_or_init(Names::default).find(authority, port).await
    }

    /// Closes connections that nobody used for too long; all that nobody uses where memory is short.
    pub fn sweep(&self, now: Instant) {
        let sheds = self.shared.overload.sheds_idle();
        self.by_name.borrow().values().for_each(|cluster| cluster.sweep(now, sheds));
    }
}
