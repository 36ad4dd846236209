//! Many sidecars, each with a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use weir_ads::{Protocol, grpc};
use weir_bench::process::{PAUSE, pause};

use crate::sidecar::{Names, Routes, Seen, Sidecar};

/// Long for a debug build with many services.
const PATIENCE: Duration = Duration::from_secs(300);
/// So long nothing must come before all is said to be there.
const QUIET: Duration = Duration::from_secs(1);

/// Sidecars that follow a server.
pub(crate) struct Fleet {
    pub sidecars: Vec<Arc<Seen>>,
    _tasks: JoinSet<()>,
    last_response: std::cell::RefCell<Option<Vec<u8>>>,
}

impl Fleet {
    /// Connects them, and waits until each has been told all that it asked for.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn connect(runtime: &Runtime, server: &str, count: usize, routes: Routes) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let fleet = Self::connect_bare(runtime, server, count, routes)?;
        loop {
            let missing = fleet.sidecars.iter().filter(|seen| !seen.is_complete()).count();
            if missing == 0 {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{missing} of {count} sidecars lack something after {PATIENCE:?}");
            pause();
        }
        eprintln!("{count} sidecars have all they asked for after {:.2?}, {} bytes each", begun.elapsed(), fleet.bytes() / count as u64);
        fleet.settle();
        Ok(fleet)
    }

    /// Connects them.
    ///
    /// # Errors
    /// If nobody accepts.
    pub fn connect_bare(runtime: &Runtime, server: &str, count: usize, routes: Routes) -> anyhow::Result<Self> {
        let names = Arc::new(Names::default());
        let sidecars: Vec<Arc<Seen>> = (0..count).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for (number, seen) in sidecars.iter().enumerate() {
            let stream = runtime.block_on(grpc::client::connect(server, Protocol::Delta)).context("a sidecar cannot connect")?;
            let sidecar = Sidecar::new(number, routes, names.clone(), seen.clone());
            tasks.spawn_on(sidecar.follow(stream), runtime.handle());
        }
        Ok(Self { sidecars, _tasks: tasks, last_response: None.into() })
    }

    /// How many bytes of resources all have got so far.
    pub fn bytes(&self) -> u64 {
        self.sidecars.iter().map(|seen| seen.bytes.load(Ordering::Relaxed)).sum()
    }

    /// Waits until nothing comes any more.
    pub fn settle(&self) {
        let (mut last, mut quiet) = (self.bytes(), Duration::ZERO);
        while quiet < QUIET {
            pause();
            let now = self.bytes();
            quiet = if now == last { quiet + PAUSE } else { Duration::ZERO };
            last = now;
        }
    }

    /// Keeps a response for the floor.
    pub fn keep(&self, response: Vec<u8>) {
        self.last_response.replace(Some(response));
    }

    /// The response that was kept last.
    pub fn last_response(&self) -> Option<Vec<u8>> {
        self.last_response.borrow().clone()
    }
}
