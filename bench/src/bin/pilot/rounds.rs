//! Changes, one after the other, each until every sidecar has it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;
use weir_xds::discovery::DeltaDiscoveryResponse;
use weir_xds::resource::ResourceType;

use crate::figures::{Used, share};
use crate::fleet::Fleet;
use crate::sidecar::encode;

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
    /// New routes, whatever they are.
    Anything,
}

impl Watched {
    fn kind(self) -> ResourceType {
        match self {
            Self::Endpoint => ResourceType::Endpoint,
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
        let mut latencies = vec![];
        let (before, bytes) = (Used::by(process)?, fleet.bytes());
        for round in 0..rounds {
            fleet.sidecars.iter().for_each(|seen| seen.forget());
            let begun = Instant::now();
            let mark = change(round)?;
            runtime.block_on(all_have(fleet, watched, begun))?;
            latencies.extend(fleet.sidecars.iter().filter_map(|seen| Some(seen.first(watched.kind())?.0.duration_since(begun))));
            check(fleet, watched, &mark)?;
            // What else a change leads to is its cost as well.
            fleet.settle();
        }
        latencies.sort();
        let (after, sent) = (Used::by(process)?, fleet.bytes() - bytes);
        let cpu = (after.cpu - before.cpu) / rounds;
        Ok(Self { latencies, cpu, bytes: sent / u64::from(rounds) / fleet.sidecars.len() as u64 })
    }

    pub fn latency(&self) -> String {
        let milliseconds = |of| format!("{:.1}", share(&self.latencies, of).as_secs_f64() * 1e3);
        format!("{} / {}", milliseconds(0.5), milliseconds(0.99))
    }

    pub fn cost(&self) -> String {
        format!("{:.0}; {}", self.cpu.as_secs_f64() * 1e3, self.bytes)
    }

    /// How many times the floor it is.
    pub fn over(&self, floor: &Self) -> String {
        let ratio = |a: Duration, b: Duration| format!("{:.2}", a.as_secs_f64() / b.as_secs_f64());
        format!("{}, {}", ratio(share(&self.latencies, 0.99), share(&floor.latencies, 0.99)), ratio(self.cpu, floor.cpu))
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

/// All got the same, and the change is in it.
fn check(fleet: &Fleet, watched: Watched, mark: &str) -> anyhow::Result<()> {
    let got: Vec<DeltaDiscoveryResponse> = fleet.sidecars.iter().filter_map(|seen| Some(seen.first(watched.kind())?.1)).collect();
    let Some(first) = got.first() else { return Ok(()) };
    let versions = |response: &DeltaDiscoveryResponse| -> Vec<String> {
        response.resources.iter().map(|resource| format!("{} {}", resource.name, resource.version)).collect()
    };
    let expected = versions(first);
    ensure!(got.iter().all(|response| versions(response) == expected), "not all sidecars got the same change");
    let encoded = encode(first);
    ensure!(watched == Watched::Anything || holds(&encoded, mark.as_bytes()), "what came first is not the change {mark}");
    if watched == Watched::Rule {
        fleet.keep(encoded);
    }
    Ok(())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
