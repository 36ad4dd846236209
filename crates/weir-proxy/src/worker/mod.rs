//! Workers: threads that each serve their share of all connections from end to end.
//!
//! A worker has its own single-threaded runtime, its own listening sockets and its own connections to
//! instances; a request never crosses threads. It follows the newest [`World`], which is shared and immutable.

pub mod chain;
mod choice;
pub mod cluster;
mod destinations;
pub mod host;
mod inspect;
pub mod instance;
mod listener;
mod names;
pub mod routes;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, watch};

use crate::config::ProxyConfig;
use crate::log::writer::{LogSink, LogWriter};
use crate::stats::requests::{Identity, SeriesRegistry};
use instance::Instance;
use names::Names;

/// How often a worker looks for connections that nobody needs.
const SWEEP: Duration = Duration::from_secs(5);

/// What all workers do: the newest configuration of each proxy instance.
#[derive(Debug, Default, Clone)]
pub struct World {
    /// By the instances' ids.
    pub proxies: BTreeMap<Arc<str>, ProxyState>,
    /// Set when the process is to end: nothing new is accepted, what is under way may finish until then.
    pub drain_until: Option<Instant>,
}

/// A proxy instance in a [`World`].
#[derive(Debug, Clone)]
pub struct ProxyState {
    /// Who it is, as metrics name it.
    pub identity: Identity,
    /// What it does.
    pub config: Arc<ProxyConfig>,
}

/// What the instances of one worker share.
pub struct Shared {
    /// The worker's number.
    pub worker: usize,
    /// Connections that are open.
    pub connections: Connections,
    /// The worker's metrics.
    pub registry: Arc<SeriesRegistry>,
    writer: Arc<LogWriter>,
    sinks: RefCell<HashMap<Arc<str>, Rc<LogSink>>>,
    names: OnceCell<Rc<Names>>,
}

impl Shared {
    /// Looks up hosts that requests name; made when the first does.
    pub fn names(&self) -> Rc<Names> {
        self.names.get_or_init(Rc::default).clone()
    }

    /// This worker's end of a log file.
    pub fn sink(&self, path: &Arc<str>) -> Rc<LogSink> {
        let mut sinks = self.sinks.borrow_mut();
        sinks.entry(path.clone()).or_insert_with(|| LogSink::new(path.clone(), self.writer.clone())).clone()
    }
}

/// Counts open connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: Rc<Cell<usize>>,
    none_left: Rc<Notify>,
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection {
    open: Rc<Cell<usize>>,
    none_left: Rc<Notify>,
}

impl Connections {
    /// Counts one as long as the guard lives.
    pub fn enter(&self) -> OpenConnection {
        self.open.set(self.open.get() + 1);
        OpenConnection { open: self.open.clone(), none_left: self.none_left.clone() }
    }

    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.none_left.notified().await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.none_left.notify_one();
        }
    }
}

/// Runs futures of hyper's on the worker that they belong to.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Starts a worker. It ends when the world is drained, or gone.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    worker: usize,
    world: watch::Receiver<Arc<World>>,
    writer: Arc<LogWriter>,
    registry: Arc<SeriesRegistry>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(worker, %error, "a worker cannot start");
                return;
            }
        };
        let shared =
            Shared { worker, connections: Connections::default(), registry, writer, sinks: RefCell::default(), names: OnceCell::new() };
        runtime.block_on(run(Rc::new(shared), world));
    })
}

async fn run(shared: Rc<Shared>, mut world: watch::Receiver<Arc<World>>) {
    let mut instances: HashMap<Arc<str>, (Rc<Instance>, Arc<ProxyConfig>)> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let current = world.borrow_and_update().clone();
        follow(&shared, &mut instances, &current);
        if let Some(end) = current.drain_until {
            instances.values().for_each(|(instance, _)| instance.drain());
            let _ = tokio::time::timeout_at(end.into(), shared.connections.all_closed()).await;
            break;
        }
        tokio::select! {
            changed = world.changed() => if changed.is_err() { break },
            _ = sweep.tick() => {
                let now = Instant::now();
                instances.values().for_each(|(instance, _)| instance.sweep(now));
            }
        }
    }
    shared.sinks.borrow().values().for_each(|sink| sink.flush());
}

/// Brings the instances in line with the world.
fn follow(shared: &Rc<Shared>, instances: &mut HashMap<Arc<str>, (Rc<Instance>, Arc<ProxyConfig>)>, world: &World) {
    for (_, (instance, _)) in instances.extract_if(|id, _| !world.proxies.contains_key(id)) {
        instance.drain();
    }
    for (id, state) in &world.proxies {
        let new = || (Instance::new(id.clone(), state.identity.clone(), shared.clone()), Arc::default());
        let (instance, applied) = instances.entry(id.clone()).or_insert_with(new);
        if !Arc::ptr_eq(applied, &state.config) {
            let previous = std::mem::replace(applied, state.config.clone());
            instance.apply(&state.config, &previous);
        }
    }
}
