//! Workers: threads that each serve their share of all connections from end to end.
//!
//! A worker has its own single-threaded runtime, its own listening sockets and its own connections to
//! instances; a request never crosses threads. It follows the newest [`World`], which is shared and immutable.

mod proxy;
pub mod world;

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::LocalOptions;
use tokio::sync::watch;
use weir_config::budget::Budget;

use crate::exchange::log::LogWriter;
use crate::exchange::recorder::Sinks;
use crate::io::overload::Overload;
use crate::listener::SWEEP;
use crate::stats::http2::Http2Stats;
use crate::stats::requests::SeriesRegistry;
use crate::upstream::clusters::Shared;
use proxy::ProxyRuntime;
use world::World;

/// Starts a worker. It ends when the world is drained, or gone.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    worker: usize,
    world: watch::Receiver<Arc<World>>,
    writer: Arc<LogWriter>,
    registry: Arc<SeriesRegistry>,
    budget: Option<Arc<Budget>>,
    http2: Arc<Http2Stats>,
    overload: Arc<Overload>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(worker, %error, "a worker cannot start");
                return;
            }
        };
        runtime.block_on(Worker::new(Shared::new(worker, budget, http2, overload), writer, registry).run(world));
    })
}

/// A worker: the proxies that it hosts, and what they share.
struct Worker {
    shared: Rc<Shared>,
    sinks: Rc<Sinks>,
    registry: Arc<SeriesRegistry>,
    proxies: HashMap<Arc<str>, ProxyRuntime>,
}

impl Worker {
    fn new(shared: Rc<Shared>, writer: Arc<LogWriter>, registry: Arc<SeriesRegistry>) -> Self {
        Self { shared, sinks: Rc::new(Sinks::new(writer)), registry, proxies: HashMap::new() }
    }

    async fn run(mut self, mut world: watch::Receiver<Arc<World>>) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut swept = Instant::now();
        loop {
            let current = world.borrow_and_update().clone();
            self.follow(&current);
            if let Some(end) = current.drain_until {
                self.proxies.values().for_each(ProxyRuntime::drain);
                let _ = tokio::time::timeout_at(end.into(), self.shared.connections.all_closed()).await;
                break;
            }
            // Where no limit of time is short, that is with the sweep.
            let pace = self.proxies.values().map(ProxyRuntime::pace).min().unwrap_or(SWEEP);
            tokio::select! {
                changed = world.changed() => if changed.is_err() { break },
                _ = sweep.tick() => {
                    swept = Instant::now();
                    self.proxies.values().for_each(|proxy| proxy.sweep_instances(swept));
                    self.proxies.values().for_each(|proxy| proxy.sweep_clients(swept));
                    self.sinks.sweep();
                }
                () = tokio::time::sleep_until((swept + pace).into()), if pace < SWEEP => {
                    swept = Instant::now();
                    self.proxies.values().for_each(|proxy| proxy.sweep_clients(swept));
                }
            }
        }
        self.sinks.flush();
    }

    /// Brings the proxies in line with the world.
    fn follow(&mut self, world: &World) {
        for (_, proxy) in self.proxies.extract_if(|id, _| !world.proxies.contains_key(id)) {
            proxy.drain();
        }
        for (id, state) in &world.proxies {
            let new = || ProxyRuntime::new(state, self.shared.clone(), self.registry.clone(), self.sinks.clone());
            self.proxies.entry(id.clone()).or_insert_with(new).follow(&state.config);
        }
    }
}
