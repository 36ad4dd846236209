//! What a connection costs on which nothing happens any more: opened, asked once, and kept.

mod client;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use weir_bench::cases::{Case, Certificate, Protocol};
use weir_bench::handshakes::HOST;
use weir_bench::peers::Peer;

use self::client::Client;
use crate::running::{Bench, left_out};

/// What is measured.
pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Http1, Protocol::Http2, Protocol::Tls];
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

/// What all protocols are measured with.
pub(crate) struct Meter<'a> {
    bench: &'a Bench,
    certificate: Certificate,
    client: Client,
    count: u32,
}

impl<'a> Meter<'a> {
    /// For so many connections, or as many as the descriptors allow.
    ///
    /// # Errors
    /// If the certificate cannot be read.
    pub fn new(bench: &'a Bench, wanted: u32, certificate: Certificate) -> anyhow::Result<Self> {
        let client = Client::new(&certificate)?;
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(SPARE);
        let count = wanted.min(u32::try_from(most).unwrap_or(u32::MAX)).max(FIRST + 1);
        if count < wanted {
            eprintln!("!!! ONLY {count} IDLE CONNECTIONS: there are no more descriptors (ulimit -n)");
        }
        Ok(Self { bench, certificate, client, count })
    }

    /// All peers, one after the other. One that fails is said loudly and left out.
    pub fn measure(&self, protocol: Protocol) -> IdleConnections {
        let case = Case::idle(self.bench.origin.ports, protocol, &self.certificate);
        // The relay opens a second connection for each: there are no descriptors for that, and it has no state to speak of.
        let peers = self.bench.peers.iter().filter(|peer| !matches!(peer, Peer::Relay));
        let measured = peers.map(|peer| self.one(&case, peer).inspect_err(|error| left_out(&case, peer.name(), error)));
        let peers = measured.flatten().collect();
        IdleConnections { title: case.title, count: self.count, peers }
    }

    fn one(&self, case: &Case, peer: &Peer) -> anyhow::Result<Idle> {
        let running = self.bench.start(case, peer)?;
        let port = running.setting.port;
        let mut held = vec![];
        let mut memory_with = |more: u32| {
            held.extend(self.client.open(case, port, more)?);
            self.client.wait(SETTLE);
            running.resident()
        };
        let [at_first, few, many] = [memory_with(1)?, memory_with(FIRST - 1)?, memory_with(self.count - FIRST)?];
        Ok(Idle { peer: peer.name(), at_first: at_first / 1024.0, each: (many - few) / f64::from(self.count - FIRST) })
    }
}

/// A certificate that signs itself, in the folder.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn certificate(work: &Path) -> anyhow::Result<Certificate> {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let [certificate, key, both] = ["certificate.pem", "key.pem", "both.pem"].map(|name| work.join(name));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem())?;
    Ok(Certificate { certificate, key, both })
}
