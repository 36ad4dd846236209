//! The proxies that are measured, and what they all need.

pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod weir;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use self::nginx::Nginx;
use crate::cases::Case;
use crate::ports;
use crate::process::{Core, Process, find};

pub(crate) const WEIR: &str = "Weir";

/// A proxy to measure, by its binary.
#[derive(Debug)]
pub(crate) enum Peer {
    Envoy(PathBuf),
    Haproxy(PathBuf),
    Weir(PathBuf),
}

impl Peer {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Envoy(_) => "Envoy",
            Self::Haproxy(_) => "HAProxy",
            Self::Weir(_) => WEIR,
        }
    }
}

/// The peers that this machine has. One that is absent is said loudly.
pub(crate) fn present(weir: &Path) -> Vec<Peer> {
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
pub(crate) struct Setting<'a> {
    pub case: &'a Case,
    pub port: u16,
    /// The id of the upstream's process.
    pub upstream: u32,
    work: PathBuf,
    bootstrap: PathBuf,
    /// Serves for as long as it is here.
    _pilot: Process,
}

impl<'a> Setting<'a> {
    /// # Errors
    /// If the pilot cannot be started.
    pub fn start(peers: &[Peer], nginx: &Nginx, work: &Path, case: &'a Case) -> anyhow::Result<Self> {
        let [port, xds] = ports::free()?;
        let Some(binary) = peers.iter().find_map(|peer| if let Peer::Weir(binary) = peer { Some(binary) } else { None }) else {
            bail!("there is no weir to serve xDS")
        };
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
        let log = self.work.join(format!("{}.log", peer.name()));
        match peer {
            Peer::Envoy(binary) => Process::start(Core::Measured, binary, envoy::arguments(&self.bootstrap), log),
            Peer::Haproxy(binary) => {
                let config = self.work.join("haproxy.cfg");
                fs::write(&config, self.case.haproxy(self.port))?;
                Process::start(Core::Measured, binary, haproxy::arguments(&config), log)
            }
            Peer::Weir(binary) => Process::start(Core::Measured, binary, weir::arguments(&self.bootstrap), log),
        }
    }
}

/// So long a helper may take until it listens.
const HELPER_DEADLINE: Duration = Duration::from_secs(60);
