//! The proxies that are measured, and what they all need.

pub(crate) mod envoy;
pub(crate) mod haproxy;
pub mod nginx;
pub(crate) mod weir;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::nginx::Nginx;
use crate::cases::Case;
use crate::ports;
use crate::process::{Core, Process, find};

/// What tables call Weir.
pub const WEIR: &str = "Weir";

/// A proxy to measure, by its binary.
#[derive(Debug)]
pub enum Peer {
    /// It follows Weir's pilot.
    Envoy(PathBuf),
    /// It has the case in its own language.
    Haproxy(PathBuf),
    /// Its proxy, which follows the pilot as Envoy does.
    Weir(PathBuf),
}

impl Peer {
    /// As tables call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Envoy(_) => "Envoy",
            Self::Haproxy(_) => "HAProxy",
            Self::Weir(_) => WEIR,
        }
    }
}

/// The peers that this machine has. One that is absent is said loudly.
pub fn present(weir: &Path) -> Vec<Peer> {
    let envoy = std::env::var_os("WEIR_BENCH_ENVOY").map(PathBuf::from).or_else(|| find("envoy"));
    let mut peers = vec![];
    match envoy.filter(|path| path.is_file()) {
        Some(path) => peers.push(Peer::Envoy(path)),
        None => eprintln!("!!! NO ENVOY: it is left out. Set WEIR_BENCH_ENVOY to its binary, or put envoy on the PATH"),
    }
    match find("haproxy") {
        Some(path) => peers.push(Peer::Haproxy(path)),
        None => eprintln!("!!! NO HAPROXY: it is left out. Put haproxy on the PATH"),
    }
    peers.push(Peer::Weir(weir.to_owned()));
    peers
}

/// A case's files, and the pilot that serves them.
#[derive(Debug)]
pub struct Setting<'a> {
    /// What is asked.
    pub case: &'a Case,
    /// Where each proxy listens in its turn.
    pub port: u16,
    /// The id of the upstream's process.
    pub upstream: u32,
    work: PathBuf,
    bootstrap: PathBuf,
    /// Serves for as long as it is here.
    _pilot: Process,
}

impl<'a> Setting<'a> {
    /// With the pilot of this weir.
    ///
    /// # Errors
    /// If the pilot cannot be started.
    pub fn start(binary: &Path, nginx: &Nginx, work: &Path, case: &'a Case) -> anyhow::Result<Self> {
        let [port, xds] = ports::free()?;
        let bootstrap = work.join("bootstrap.yaml");
        fs::write(&bootstrap, envoy::bootstrap(xds))?;
        let pilot = weir::pilot(binary, work, &case.istio(port), xds)?;
        Ok(Self { case, port, upstream: nginx.id(), work: work.to_owned(), bootstrap, _pilot: pilot })
    }

    /// Starts a peer on the core that is measured.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&self, peer: &Peer) -> anyhow::Result<Process> {
        let (binary, arguments) = self.command(peer)?;
        Process::start(Core::Measured, binary, arguments, self.log(peer))
    }

    /// The same, below another program, which starts what its last arguments say.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch_below(&self, program: &Path, arguments: &[OsString], peer: &Peer) -> anyhow::Result<Process> {
        let (binary, of_peer) = self.command(peer)?;
        let arguments = arguments.iter().cloned().chain([binary.into()]).chain(of_peer);
        Process::start(Core::Measured, program, arguments, self.log(peer))
    }

    fn log(&self, peer: &Peer) -> PathBuf {
        self.work.join(format!("{}.log", peer.name()))
    }

    /// A peer's binary, and its arguments.
    fn command<'p>(&self, peer: &'p Peer) -> anyhow::Result<(&'p Path, Vec<OsString>)> {
        let owned = |arguments: &[&OsStr]| arguments.iter().map(OsString::from).collect();
        Ok(match peer {
            Peer::Envoy(binary) => (binary, owned(&envoy::arguments(&self.bootstrap))),
            Peer::Haproxy(binary) => {
                let config = self.work.join("haproxy.cfg");
                fs::write(&config, self.case.haproxy(self.port))?;
                (binary, owned(&haproxy::arguments(&config)))
            }
            Peer::Weir(binary) => (binary, owned(&weir::arguments(&self.bootstrap))),
        })
    }
}

/// So long a helper may take until it listens.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);
