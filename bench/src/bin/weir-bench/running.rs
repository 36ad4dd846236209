//! The peers of a case, all running at once, so that they can be asked in turn.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use weir_bench::cases::{Case, Protocol};
use weir_bench::load;
use weir_bench::origin::Origin;
use weir_bench::peers::{Peer, Setting};
use weir_bench::process::Process;

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
    pub process: Process,
    pub setting: Setting<'a>,
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
        let mut process = setting.launch(peer)?;
        let ready = match case.downstream {
            Protocol::Http1 => load::wait(&mut process, setting.port, &case.path, DEADLINE),
            Protocol::Http2 => load::wait_for_http2(&mut process, setting.port, DEADLINE),
            Protocol::Tls | Protocol::Http2Tls => load::wait_for_listener(&mut process, setting.port, DEADLINE),
        }?;
        Ok(Running { peer: peer.name(), ready: ready.as_secs_f64(), process, setting })
    }

    /// Starts all peers that can do what the case asks for. One that fails is said loudly and left out.
    pub fn start_all<'a>(&self, case: &'a Case) -> Vec<Running<'a>> {
        let able = self.peers.iter().filter(|peer| peer.follows_pilot() || !case.has_script);
        let started = able.map(|peer| self.start(case, peer).inspect_err(|error| left_out(case, peer.name(), error)));
        started.flatten().collect()
    }
}

/// Says loudly that a peer is not among the results, and why.
pub(crate) fn left_out(case: &Case, peer: &str, error: &anyhow::Error) {
    eprintln!("!!! {}: {} IS LEFT OUT: {error:#}", case.name, peer.to_uppercase());
}
