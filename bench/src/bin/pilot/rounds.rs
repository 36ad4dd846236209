//! Changes, one after the other, each until every sidecar has it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Buf;
use tokio::runtime::Runtime;
use weir_xds::resource::ResourceType;

use weir_bench::used::Used;

use crate::figures::share;
use crate::fleet::Fleet;
use crate::sidecar::First;

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at all sidecars; when each got what it got is noted there and then.
const LOOK: Duration = Duration::from_millis(2);

/// What tells that a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// New instances, in which the change stands.
    Endpoint,
    /// New routes, in which the change stands.
    Rule,
    /// A new virtual host, in which the change stands.
    VirtualHost,
    /// New clusters, in which the change stands.
    Cluster,
    /// New routes, whatever they are.
    Anything,
}

impl Watched {
    fn kind(self) -> ResourceType {
        match self {
            Self::Endpoint => ResourceType::Endpoint,
            Self::Cluster => ResourceType::Cluster,
            Self::Rule | Self::Anything => ResourceType::Route,
            Self::VirtualHost => ResourceType::VirtualHost,
        }
    }
}

/// What all changes of a sort cost.
pub(crate) struct Rounds {
    /// Of each sidecar in each round, sorted.
    latencies: Vec<Duration>,
    /// Of one change.
    cpu: Duration,
    /// To each sidecar, for one change.
    bytes: u64,
    /// What came of the last change.
    last_response: Vec<u8>,
}

impl Rounds {
    /// Makes changes, each with another number; `process` is who is to pay for them.
    ///
    /// # Errors
    /// If a sidecar does not get one.
    pub fn of(
        runtime: &Runtime,
        fleet: &Fleet,
        process: u32,
        watched: Watched,
        rounds: u32,
        change: &mut dyn FnMut(u32) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let (mut latencies, mut last_response) = (vec![], vec![]);
        let (before, bytes) = (Used::by(process)?, fleet.bytes());
        for round in 0..rounds {
            fleet.sidecars.iter().for_each(|seen| seen.forget());
            let begun = Instant::now();
            let mark = change(round)?;
            runtime.block_on(all_have(fleet, watched, begun))?;
            latencies.extend(fleet.sidecars.iter().filter_map(|seen| Some(seen.first(watched.kind())?.at.duration_since(begun))));
            last_response = check(fleet, watched, &mark)?;
            // What else a change leads to is its cost as well.
            fleet.settle();
        }
        latencies.sort();
        let (after, sent) = (Used::by(process)?, fleet.bytes() - bytes);
        let cpu = (after.cpu - before.cpu) / rounds;
        Ok(Self { latencies, cpu, bytes: sent / u64::from(rounds) / fleet.sidecars.len() as u64, last_response })
    }

    /// The response by which the last change came.
    pub fn last_response(&self) -> &[u8] {
        &self.last_response
    }

    pub fn latency(&self) -> String {
        let milliseconds = |of| format!("{:.1}", share(&self.latencies, of).as_secs_f64() * 1e3);
        format!("{} / {}", milliseconds(0.5), milliseconds(0.99))
    }

    pub fn cost(&self) -> String {
        format!("{:.0}; {}", self.cpu.as_secs_f64() * 1e3, self.bytes)
    }

    /// How many times those of another it is: the latency that is seldom exceeded, and the CPU.
    pub fn over(&self, other: &Self) -> [f64; 2] {
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        [ratio(share(&self.latencies, 0.99), share(&other.latencies, 0.99)), ratio(self.cpu, other.cpu)]
    }
}

async fn all_have(fleet: &Fleet, watched: Watched, begun: Instant) -> anyhow::Result<()> {
    for (number, seen) in fleet.sidecars.iter().enumerate() {
        while !seen.has(watched.kind()) {
            ensure!(begun.elapsed() < PATIENCE, "sidecar {number} has not got a change within {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// All got the same, and the change is in it; what they got.
fn check(fleet: &Fleet, watched: Watched, mark: &str) -> anyhow::Result<Vec<u8>> {
    let got: Vec<First> = fleet.sidecars.iter().filter_map(|seen| seen.first(watched.kind())).collect();
    let Some((first, mut response)) = got.first().and_then(|first| Some((first, first.response.clone()?))) else { return Ok(vec![]) };
    ensure!(got.iter().all(|other| other.hash == first.hash), "not all sidecars got the same change");
    let bytes = response.copy_to_bytes(response.remaining());
    ensure!(watched == Watched::Anything || holds(&bytes, mark.as_bytes()), "what came first is not the change {mark}");
    Ok(bytes.into())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
