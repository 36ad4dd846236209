//! What a connection costs on which nothing happens any more: opened, asked once, and kept.

mod client;

use std::fs;
use std::path::Path;
use std::time::Duration;

use weir_bench::cases::{Case, Certificate, Protocol};
use weir_bench::peers::Peer;

use self::client::Client;
use crate::running::{Bench, left_out};
use crate::usage::resident;

/// These come first, so that what grows once, at the first ones, is not counted.
const FIRST: u32 = 1_000;
/// Before memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// Descriptors for everything else.
const SPARE: u64 = 300;

/// One peer.
#[derive(Debug)]
pub(crate) struct Idle {
    pub peer: &'static str,
    /// Resident memory after a first request, in MiB.
    pub at_first: f64,
    /// What each further connection added, in KiB.
    pub each: f64,
}

/// One protocol: its title, and the peers.
#[derive(Debug)]
pub(crate) struct IdleConnections {
    pub title: String,
    /// How many were open at the end.
    pub count: u32,
    pub peers: Vec<Idle>,
}

/// All three protocols, as many connections as the descriptors allow.
///
/// # Errors
/// If no certificate can be made.
pub(crate) fn measure(bench: &Bench, wanted: u32) -> anyhow::Result<Vec<IdleConnections>> {
    let certificate = certificate(bench.work.path())?;
    let client = Client::new(&certificate)?;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(SPARE);
    let count = wanted.min(u32::try_from(most).unwrap_or(u32::MAX)).max(FIRST + 1);
    if count < wanted {
        eprintln!("!!! ONLY {count} IDLE CONNECTIONS: there are no more descriptors (ulimit -n)");
    }
    let mut all = vec![];
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Tls] {
        let case = Case::idle(bench.origin.ports, protocol, &certificate);
        // The relay opens a second connection for each: there are no descriptors for that, and it has no state to speak of.
        let peers = bench.peers.iter().filter(|peer| !matches!(peer, Peer::Relay));
        let measured = peers.map(|peer| one(bench, &case, peer, &client, count).inspect_err(|error| left_out(&case, peer.name(), error)));
        let peers = measured.flatten().collect();
        all.push(IdleConnections { title: case.title, count, peers });
    }
    Ok(all)
}

fn one(bench: &Bench, case: &Case, peer: &Peer, client: &Client, count: u32) -> anyhow::Result<Idle> {
    let running = bench.start(case, peer)?;
    let (id, port) = (running.process.id(), running.setting.port);
    let mut held = vec![];
    let mut memory_with = |more: u32| {
        held.extend(client.open(case, port, more)?);
        client.wait(SETTLE);
        resident(id)
    };
    let [at_first, few, many] = [memory_with(1)?, memory_with(FIRST - 1)?, memory_with(count - FIRST)?];
    Ok(Idle { peer: peer.name(), at_first: at_first / 1024.0, each: (many - few) / f64::from(count - FIRST) })
}

/// A certificate that signs itself, in the folder.
fn certificate(work: &Path) -> anyhow::Result<Certificate> {
    let made = rcgen::generate_simple_self_signed([client::HOST.to_owned()])?;
    let [certificate, key, both] = ["certificate.pem", "key.pem", "both.pem"].map(|name| work.join(name));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem())?;
    Ok(Certificate { certificate, key, both })
}
