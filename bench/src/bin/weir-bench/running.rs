//! The peers of a case, all running at once, so that they can be asked in turn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use weir_bench::cases::{Case, Protocol};
use weir_bench::load;
use weir_bench::origin::Origin;
use weir_bench::peers::{Launched, Peer, Setting};
use weir_bench::process::Process;

use crate::usage::resident;

/// So long a peer may take to follow its configuration.
const DEADLINE: Duration = Duration::from_secs(120);

/// What every measurement needs.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Whose pilot serves the cases.
    pub weir: PathBuf,
    pub peers: Vec<Peer>,
    pub origin: Origin,
    pub work: TempDir,
    pub rounds: u16,
    pub seconds: u16,
}

/// A peer that answers.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub peer: &'static str,
    /// From its start to its first right answer, in seconds.
    pub ready: f64,
    /// What is measured of it: one process, or those of two sidecars.
    pub processes: Vec<Process>,
    pub setting: Setting<'a>,
    /// What it needs beside it.
    _beside: Vec<Process>,
}

impl Running<'_> {
    /// # Errors
    /// If a process has ended; says its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Its processes, as the system counts them.
    pub fn ids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    /// Resident memory of all of them, in KiB.
    ///
    /// # Errors
    /// If one has ended.
    pub fn resident(&self) -> anyhow::Result<f64> {
        self.ids().into_iter().map(resident).sum()
    }
}

impl Bench {
    /// Starts a peer, on the core that is measured.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start<'a>(&self, case: &'a Case, peer: &Peer) -> anyhow::Result<Running<'a>> {
        eprintln!("{}: {} ...", case.name, peer.name());
        let work = self.work.path().join(case.name).join(peer.name());
        let setting = Setting::start(peer.follows_pilot().then_some(&*self.weir), &work, case)?;
        let Launched { measured: mut processes, beside } = setting.launch_all(peer)?;
        let first = processes.first_mut().context("nothing was started")?;
        let ready = match case.downstream {
            Protocol::Http1 => load::wait(first, setting.port, &case.path, DEADLINE),
            Protocol::Http2 => load::wait_for_http2(first, setting.port, DEADLINE),
            Protocol::Tls | Protocol::Http2Tls => load::wait_for_listener(first, setting.port, DEADLINE),
        }?;
        Ok(Running { peer: peer.name(), ready: ready.as_secs_f64(), processes, setting, _beside: beside })
    }

    /// Starts all peers that can do what the case asks for. One that fails is said loudly and left out.
    pub fn start_all<'a>(&self, case: &'a Case) -> Vec<Running<'a>> {
        let able = self.peers.iter().filter(|peer| peer.follows_pilot() || !case.needs_pilot());
        let started = able.map(|peer| self.start(case, peer).inspect_err(|error| left_out(case, peer.name(), error)));
        started.flatten().collect()
    }
}

/// Says loudly that a peer is not among the results, and why.
pub(crate) fn left_out(case: &Case, peer: &str, error: &anyhow::Error) {
    eprintln!("!!! {}: {} IS LEFT OUT: {error:#}", case.name, peer.to_uppercase());
}
