//! The sidecars of two workloads, both of one kind: each follows the pilot and has a certificate of the mesh.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::{HELPER_DEADLINE, Launched, Peer, Setting, envoy, weir};
use crate::cases::WORKLOADS;
use crate::process::{Core, Process, pause};

/// Starts both, on the core that is measured; an Envoy's agent is not on it.
///
/// # Errors
/// If one cannot be started, or the peer is none that follows a pilot.
pub(super) fn launch(setting: &Setting<'_>, peer: &Peer) -> anyhow::Result<Launched> {
    // By this secret they show whose processes they are.
    until("the pilot has no secret", || weir::state(&setting.work).join("caller-secret").is_file())?;
    let (mut measured, mut beside) = (vec![], vec![]);
    for (name, address) in WORKLOADS {
        let log = |what: &str| setting.work.join(format!("{}-{name}.{what}log", peer.name()));
        let who = who(setting, name, address);
        match peer {
            Peer::Weir(binary) => {
                let arguments = [vec!["proxy".into()], who, weir::ALONE.map(OsString::from).to_vec()].concat();
                measured.push(Process::start(Core::Measured, binary, arguments, log(""))?);
            }
            Peer::Envoy(binary) => {
                let (agent, bootstrap) = agent(setting, name, who, log("agent."))?;
                beside.push(agent);
                measured.push(Process::start(Core::Measured, binary, envoy::arguments(&bootstrap), log(""))?);
            }
            Peer::Haproxy(_) | Peer::Nginx(_) | Peer::Relay => bail!("it follows no pilot"),
        }
    }
    Ok(Launched { measured, beside })
}

/// What a proxy and an agent are told of whom they stand beside.
fn who(setting: &Setting<'_>, name: &str, address: &str) -> Vec<OsString> {
    let id = format!("sidecar~{address}~{name}.default~default.svc.cluster.local");
    let mut words: Vec<OsString> = vec!["--xds".into(), format!("127.0.0.1:{}", setting.xds).into(), "--id".into(), id.into()];
    words.extend(["--labels".into(), format!("app={name}").into(), "--state".into(), weir::state(&setting.work).into()]);
    words
}

/// Starts an agent, which gives its Envoy certificates and the bootstrap.
fn agent(setting: &Setting<'_>, name: &str, who: Vec<OsString>, log: PathBuf) -> anyhow::Result<(Process, PathBuf)> {
    let weir = setting.weir.as_deref().context("there is no pilot")?;
    let file = |end: &str| setting.work.join(format!("{name}.{end}"));
    let (socket, bootstrap) = (file("sock"), file("json"));
    let mut arguments: Vec<OsString> = vec!["agent".into()];
    arguments.extend(who);
    arguments.extend(["--socket".into(), socket.into(), "--bootstrap".into(), bootstrap.clone().into()]);
    let agent = Process::start(Core::Others, weir, arguments, log)?;
    until("the agent writes no bootstrap", || is_written(&bootstrap))?;
    Ok((agent, bootstrap))
}

/// Whether all of a JSON object is there.
fn is_written(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.ends_with('}'))
}

fn until(fault: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !holds() {
        ensure!(start.elapsed() < HELPER_DEADLINE, "{fault} after {HELPER_DEADLINE:?}");
        pause();
    }
    Ok(())
}
