//! The data plane as a whole: workers, and the proxies that they host.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle as Task;
use weir_ads::Protocol;
use weir_config::budget::Budget;
use weir_config::memory::MemoryBound;
use weir_config::name_table::{Asker, NameTable};
use weir_xds::core::Node;

use crate::control::certificate::{Certification, Issued};
use crate::control::follow::{Connect, Follower, Status};
use crate::control::state::State;
use crate::exchange::Introduction;
use crate::exchange::log::LogWriter;
use crate::io::overload::Overload;
use crate::listener::sockets::Sockets;
use crate::stats::cells::Cell;
use crate::stats::http2::Http2Stats;
use crate::stats::requests::{Identity, Labels, Series, SeriesRegistry};
use crate::worker;
use crate::worker::world::{ProxySnapshot, ProxyState, World};

/// Workers, and what they host.
pub struct DataPlane {
    world: watch::Sender<Arc<World>>,
    sockets: Arc<Sockets>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    registries: Vec<Arc<SeriesRegistry>>,
    /// What each worker counts of clients' connections of HTTP/2.
    http2: Vec<Arc<Http2Stats>>,
    /// How many connections of clients there may be, where that is limited.
    budget: Option<Arc<Budget>>,
    /// What is not done for want of memory.
    overload: Arc<Overload>,
    proxies: Mutex<BTreeMap<Arc<str>, Hosted>>,
    may_run_commands: AtomicBool,
    /// Writes access logs.
    pub logs: Arc<LogWriter>,
    /// When it was started.
    pub started: Instant,
}

/// A proxy that is hosted.
struct Hosted {
    status: watch::Receiver<Status>,
    follower: Task<()>,
    /// Whether what the follower publishes still counts. A task that is aborted may be in the midst of publishing.
    counts: Arc<AtomicBool>,
}

impl Hosted {
    fn end(&self) {
        self.counts.store(false, Ordering::Relaxed);
        self.follower.abort();
    }
}

/// A proxy to host.
pub struct ProxyOptions {
    /// Its id, unique among those hosted here.
    pub id: Arc<str>,
    /// How it introduces itself to the server.
    pub node: Node,
    /// Who it is, as metrics name it.
    pub identity: Identity,
    /// How long connections may go on whose listener or filter chain is gone: Istio's `drainDuration`.
    pub drain_duration: Duration,
    /// How many connections some of its listeners may have, by their names.
    pub listener_limits: BTreeMap<Arc<str>, u64>,
    /// Which variant of the protocol it speaks.
    pub protocol: Protocol,
    /// How the server is reached.
    pub connect: Connect,
    /// How it comes to a certificate of the mesh; without, it has what the server tells.
    pub certification: Option<Certification>,
    /// Who is told the names of the mesh, and on whose behalf they are asked for; nobody, if that is nobody.
    pub names: Option<(Asker, watch::Sender<Option<Arc<NameTable>>>)>,
}

impl DataPlane {
    /// Starts so many workers, for so many connections of clients: more are closed at once.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(workers: usize, connections: Option<u64>) -> io::Result<Arc<Self>> {
        let workers = workers.max(1);
        let (world, _) = watch::channel(Arc::new(World::default()));
        let logs = LogWriter::start()?;
        let budget = connections.map(Budget::new);
        let registries: Vec<Arc<SeriesRegistry>> = (0..workers).map(|_| Arc::default()).collect();
        let http2: Vec<Arc<Http2Stats>> = (0..workers).map(|_| Arc::default()).collect();
        let overload = Arc::<Overload>::default();
        let threads = registries.iter().zip(&http2).enumerate().map(|(number, (registry, http2))| {
            worker::start(number, world.subscribe(), logs.clone(), registry.clone(), budget.clone(), http2.clone(), overload.clone())
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Arc::new(Self {
            world,
            sockets: Arc::new(Sockets::new(workers)),
            workers: Mutex::new(threads),
            registries,
            http2,
            budget,
            overload,
            proxies: Mutex::default(),
            may_run_commands: AtomicBool::new(false),
            logs,
            started: Instant::now(),
        }))
    }

    /// Allows probes that run commands to the proxies that are hosted from now on: who writes the configuration may then run
    /// programs as the user of this process.
    pub fn allow_exec_probes(&self) {
        self.may_run_commands.store(true, Ordering::Relaxed);
    }

    /// Keeps the process to a bound of memory, as far as others can be refused. It is watched on the runtime that this is called on.
    pub fn bound_memory(&self, bound: MemoryBound) -> Task<()> {
        let overload = self.overload.clone();
        tokio::spawn(async move { overload.follow(bound).await })
    }

    /// What is not done for want of memory.
    pub fn overload(&self) -> &Overload {
        &self.overload
    }

    /// Hosts one more proxy; it follows its server on the runtime that this is called on.
    pub fn host(self: &Arc<Self>, options: ProxyOptions) {
        let ProxyOptions { id, node, identity, drain_duration, listener_limits, protocol, connect, certification, names } = options;
        let identity = Identity { cluster: node.cluster.as_str().into(), ..identity };
        let introduction = Introduction::new(&node, &identity.workload).map(Arc::new);
        let mut state = State::new(id.clone(), self.registries.len(), self.sockets.clone());
        state.listener_limits = listener_limits;
        state.names = names;
        state.may_run_commands = self.may_run_commands.load(Ordering::Relaxed);
        let (status, watched) = watch::channel(Status::default());
        let (plane, name) = (Arc::downgrade(self), id.clone());
        let counts = Arc::new(AtomicBool::new(true));
        let still_counts = counts.clone();
        let publish = Box::new(move |config: ProxySnapshot| {
            if let Some(plane) = plane.upgrade() {
                let state =
                    ProxyState { identity: identity.clone(), introduction: introduction.clone(), drain_duration, config: Arc::new(config) };
                plane.publish(&name, state, &still_counts);
            }
        });
        if let Some(old) = self.lock().remove(&id) {
            self.world.send_if_modified(|_| {
                old.end();
                false
            });
        }
        let mut follower = Follower::new(id.clone(), node, protocol, state, status, publish);
        if let Some(certification) = certification {
            let (newest, certificate) = watch::channel(None);
            // It ends when the follower does.
            tokio::spawn(certification.run(id.clone(), newest, Issued::secrets));
            follower = follower.with_certificate(certificate);
        }
        let follower = tokio::spawn(follower.run(connect));
        self.lock().insert(id, Hosted { status: watched, follower, counts });
    }

    /// Hosts a proxy no longer. What it is doing may finish.
    pub fn remove(&self, id: &str) {
        let hosted = self.lock().remove(id);
        self.world.send_modify(|world| {
            hosted.iter().for_each(Hosted::end);
            Arc::make_mut(world).proxies.remove(id);
        });
    }

    /// Tells the workers. Under the lock of the world, so that nothing comes back of a proxy that was removed meanwhile.
    fn publish(&self, id: &Arc<str>, state: ProxyState, counts: &AtomicBool) {
        self.world.send_if_modified(|world| {
            let counts = counts.load(Ordering::Relaxed);
            if counts {
                Arc::make_mut(world).proxies.insert(id.clone(), state);
            }
            counts
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Hosted>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of the proxies, in order.
    pub fn ids(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    /// How an instance stands; follows its changes.
    pub fn status(&self, id: &str) -> Option<watch::Receiver<Status>> {
        self.lock().get(id).map(|hosted| hosted.status.clone())
    }

    /// What an instance does now.
    pub fn config(&self, id: &str) -> Option<Arc<ProxySnapshot>> {
        self.world.borrow().proxies.get(id).map(|state| state.config.clone())
    }

    /// How many connections of clients there may be, and are, where that is limited.
    pub fn connections(&self) -> Option<&Budget> {
        self.budget.as_deref()
    }

    /// All series of all workers.
    pub fn series(&self) -> Vec<(Labels, Arc<Series>)> {
        self.registries.iter().flat_map(|registry| registry.all()).collect()
    }

    /// How many connections are counted without the names of their ends, because these had become too many.
    pub fn nameless_connections(&self) -> u64 {
        self.registries.iter().map(|registry| registry.with_pairs(|pairs| pairs.nameless)).sum()
    }

    /// How many times a workload that one of the two ends told to be was not told apart from others, because these had become too many.
    pub fn unnamed_workloads(&self) -> u64 {
        self.registries.iter().map(|registry| registry.with_pairs(|pairs| pairs.unnamed)).sum()
    }

    /// The sum of a statistic of clients' connections of HTTP/2.
    pub fn http2_sum(&self, cell: fn(&Http2Stats) -> &Cell) -> u64 {
        self.http2.iter().map(|stats| cell(stats).get()).fold(0, u64::wrapping_add)
    }

    /// Whether it is about to end.
    pub fn is_draining(&self) -> bool {
        self.world.borrow().drain_until.is_some()
    }

    /// Waits until all instances have been told what to do, and do it.
    pub async fn ready(&self) {
        for id in self.ids() {
            if let Some(mut status) = self.status(&id) {
                let _ = status.wait_for(|status| status.ready).await;
            }
        }
    }

    /// Stops accepting, lets what is under way finish within a limit, and ends the workers. Blocks until then.
    pub fn drain(&self, limit: Duration) {
        self.lock().values().for_each(Hosted::end);
        self.world.send_modify(|world| Arc::make_mut(world).drain_until = Some(Instant::now() + limit));
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
        self.logs.stop();
    }
}
