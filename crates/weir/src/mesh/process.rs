//! The process around a data plane: its runtime, its admin interface, and its end.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use weir_api::resources::MeshConfig;
use weir_api::{Diagnostic, Severity, Source};
use weir_config::memory::MemoryBound;
use weir_inject::Mesh;
use weir_proxy::admin::{self, More};
use weir_proxy::listener::holder;
use weir_proxy::{DataPlane, admin::AdminAnswer};

use super::descriptors;
use crate::cli::ProcessArgs;
use crate::print;
use crate::signals::{Signals, Told};

/// Threads for everything but traffic: control plane, admin, names.
const CONTROL_THREADS: usize = 2;
/// What a process exits with that did not wait for what was under way, as a shell says it of Ctrl-C.
const INTERRUPTED: u8 = 130;

/// The runtime of everything but traffic.
pub(crate) struct Control(Runtime);

impl Control {
    /// Runs to its end what the process is there for. Who still blocks a thread then, such as somebody who drains, is not waited for.
    pub fn block_on<F: Future>(self, work: F) -> F::Output {
        let done = self.0.block_on(work);
        self.0.shutdown_background();
        done
    }
}

/// Starts that runtime.
///
/// # Errors
/// If the system gives no threads.
pub(crate) fn start_runtime() -> anyhow::Result<Control> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(CONTROL_THREADS).thread_name("control").enable_all().build();
    Ok(Control(runtime.context("the system gives no threads")?))
}

/// Reads a mesh's configuration. Without one, requests are logged to standard output, for whoever watches.
///
/// # Errors
/// If it cannot be read, or is wrong.
pub(crate) fn mesh_config(path: Option<&Path>) -> anyhow::Result<Arc<MeshConfig>> {
    let Some(path) = path else {
        let mut mesh = MeshConfig::default();
        mesh.access_log_file = "/dev/stdout".to_owned();
        return Ok(Arc::new(mesh));
    };
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mesh, diagnostics) = MeshConfig::parse(&Source::new(path.display().to_string(), text));
    diagnostics.iter().for_each(print::diagnostic);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        bail!("the mesh's configuration in {} is wrong", path.display());
    }
    Ok(Arc::new(mesh))
}

/// Reads the same for injection, which passes on what is written of it; with what is to be said of it.
///
/// # Errors
/// If it cannot be read, or is wrong, which is printed.
pub(crate) fn mesh_as_written(path: Option<&Path>) -> anyhow::Result<(Mesh, Vec<Diagnostic>)> {
    let Some(path) = path else { return Ok((Mesh::default(), vec![])) };
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Mesh::parse(&Source::new(path.display().to_string(), text)).map_err(|found| {
        found.iter().for_each(print::diagnostic);
        anyhow::anyhow!("the mesh's configuration in {} is wrong", path.display())
    })
}

/// How many connections of clients a process may have, where a mesh says so.
pub(crate) fn global_connection_limit(mesh: &MeshConfig) -> Option<u64> {
    let settings = mesh.default_config.connection_settings.as_ref()?;
    settings.global_downstream_connection_limit.and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0)
}

/// A process with a data plane.
pub(crate) struct Process {
    pub plane: Arc<DataPlane>,
    admin: SocketAddr,
    /// How long what is under way may take when the process is told to end.
    drain: Duration,
    /// From the beginning: who starts long is told to end in the middle of it, too.
    signals: Signals,
}

impl Process {
    /// Starts the workers. `connections` is how many there may be of clients, and `memory` how much may be taken, where the
    /// configuration says so.
    ///
    /// # Errors
    /// If the system gives no threads, or does not tell of signals.
    pub fn start(args: &ProcessArgs, connections: Option<u64>, memory: Option<MemoryBound>, drain: Duration) -> anyhow::Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = args.workers.map_or_else(cores, usize::from);
        let descriptors = descriptors::raise();
        let connections = args.max_connections.or(connections).or(descriptors::connections(descriptors));
        let plane = DataPlane::start(workers, connections).context("the system gives no threads")?;
        if let Some(bound) = args.max_memory.map(MemoryBound::new).or(memory) {
            plane.bound_memory(bound);
        }
        if args.allow_exec_probes {
            plane.allow_exec_probes();
        }
        let signals = Signals::new().context("the system does not tell of signals")?;
        Ok(Self { plane, admin: args.admin, drain, signals })
    }

    /// Ends also when its terminal is closed.
    pub fn end_with_terminal(&mut self) {
        self.signals.end_with_terminal();
    }

    /// Serves the admin interface, with more paths of the caller's. Returns where.
    ///
    /// # Errors
    /// If its address is taken; says by whom.
    pub async fn serve_admin(&self, more: More) -> anyhow::Result<SocketAddr> {
        let listener = bind(self.admin, "the admin interface", "--admin").await?;
        let address = listener.local_addr()?;
        tokio::spawn(admin::serve(listener, self.plane.clone(), more));
        Ok(address)
    }

    /// Waits until the process is told to end or something fails, and ends it: idle connections at once, others when what is under way is
    /// done, but not later than the limit. Told a second time, it ends at once.
    pub async fn until_told(self, failing: impl Future<Output = anyhow::Error>) -> anyhow::Result<ExitCode> {
        let Self { plane, admin: _, drain, mut signals } = self;
        tokio::pin!(failing);
        let failure = loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Reopen => plane.logs.reopen(),
                    Told::End => break None,
                },
                error = &mut failing => break Some(error),
            }
        };
        let mut draining = tokio::task::spawn_blocking(move || plane.drain(drain));
        loop {
            tokio::select! {
                done = &mut draining => {
                    done.context("draining failed")?;
                    return failure.map_or(Ok(ExitCode::SUCCESS), Err);
                }
                told = signals.next() => if told == Told::End {
                    print::say("weir: told twice, ending at once");
                    return Ok(ExitCode::from(INTERRUPTED));
                }
            }
        }
    }
}

/// Takes an address; an error says who has it, and what to do.
///
/// # Errors
/// If it cannot be had.
pub(crate) async fn bind(address: SocketAddr, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            let holder = holder::of(address).map(|holder| format!(": {holder} has it")).unwrap_or_default();
            bail!("{what} cannot listen on {address}: {error}{holder}; name another address with {flag}")
        }
    }
}

/// An admin interface that knows no more paths than the data plane's.
pub(crate) fn nothing_more() -> More {
    Arc::new(|_, _| None::<AdminAnswer>)
}
