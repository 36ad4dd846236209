//! Many sidecars, each with a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use weir_bench::process::{PAUSE, pause};

use crate::sidecar::{Names, Seen, Sidecar};
use crate::stream::Stream;

/// Long for a debug build with many services.
const PATIENCE: Duration = Duration::from_secs(300);
/// So long nothing must come before all is said to be there.
const QUIET: Duration = Duration::from_secs(1);

/// Sidecars that follow a server.
pub(crate) struct Fleet {
    pub sidecars: Vec<Arc<Seen>>,
    /// Until each had all that it asked for, if that was waited for.
    pub took: Duration,
    _tasks: JoinSet<anyhow::Result<()>>,
}

impl Fleet {
    /// Connects them, and waits until each has been told all that it asked for.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn connect(runtime: &Runtime, server: &str, count: usize) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut fleet = Self::connect_bare(runtime, server, count)?;
        while !fleet.is_complete() {
            ensure!(begun.elapsed() < PATIENCE, "not all of {count} sidecars have what they asked for after {PATIENCE:?}");
            pause();
        }
        fleet.took = begun.elapsed();
        eprintln!("{count} sidecars have all they asked for after {:.2?}, {} bytes each", fleet.took, fleet.bytes() / count as u64);
        fleet.settle();
        Ok(fleet)
    }

    /// Connects them.
    ///
    /// # Errors
    /// If nobody accepts.
    pub fn connect_bare(runtime: &Runtime, server: &str, count: usize) -> anyhow::Result<Self> {
        let names = Arc::new(Names::default());
        let sidecars: Vec<Arc<Seen>> = (0..count).map(|_| Arc::default()).collect();
        let mut tasks = JoinSet::new();
        for (number, seen) in sidecars.iter().enumerate() {
            let stream = runtime.block_on(Stream::open(server)).context("a sidecar cannot connect")?;
            let sidecar = Sidecar::new(number, names.clone(), seen.clone());
            tasks.spawn_on(sidecar.follow(stream), runtime.handle());
        }
        Ok(Self { sidecars, took: Duration::ZERO, _tasks: tasks })
    }

    /// Whether each has been told all that it asked for.
    pub fn is_complete(&self) -> bool {
        self.sidecars.iter().all(|seen| seen.is_complete())
    }

    /// How many bytes all have got so far.
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
}
