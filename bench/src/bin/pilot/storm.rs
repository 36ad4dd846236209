//! A storm: many sidecars come at once while changes go on for those that are there already.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;

use crate::figures::share;
use crate::fleet::Fleet;
use crate::memory::ENDPOINT_CHANGES;
use crate::ordered::Ordered;
use crate::sidecar::Routes;

/// Between two changes.
const PACE: Duration = Duration::from_millis(50);
/// The first changes of a storm have numbers above those of all rounds.
const FIRST: u32 = 10_000;
/// What was sent last has come after this time.
const LAST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);

/// How long changes took for those that were there.
pub(crate) struct Storm {
    /// Of each change and sidecar, sorted.
    delays: Vec<Duration>,
    /// Until all who came had all that they asked for.
    pub took: Duration,
}

impl Storm {
    /// Lets so many come, by a runtime of their own: those that are measured must not wait for them within this process.
    ///
    /// # Errors
    /// If they do not get what they ask for.
    pub fn of(connected: &Fleet, coming: &Runtime, server: &str, count: usize, pilot: &mut Ordered) -> anyhow::Result<Self> {
        connected.sidecars.iter().for_each(|seen| drop(seen.take_marks()));
        let begun = Instant::now();
        let came = Fleet::connect_bare(coming, server, count, Routes::Whole)?;
        let mut changes = vec![];
        while !came.is_complete() {
            ensure!(begun.elapsed() < PATIENCE, "not all of {count} sidecars have what they asked for after {PATIENCE:?}");
            changes.push(Instant::now());
            pilot.order(&format!("{ENDPOINT_CHANGES} {}", FIRST + u32::try_from(changes.len())? - 1))?;
            coming.block_on(async { tokio::time::sleep(PACE).await });
        }
        let took = begun.elapsed();
        coming.block_on(async { tokio::time::sleep(LAST).await });
        let mut delays = vec![];
        for seen in &connected.sidecars {
            let came = seen.take_marks();
            for (number, made) in (FIRST..).zip(&changes) {
                // Who has a later one has it as well: a change may be passed over for the next.
                let has = came.iter().find(|(mark, _)| *mark >= number);
                ensure!(has.is_some(), "a sidecar has not got change {number}");
                delays.extend(has.map(|(_, at)| at.duration_since(*made)));
            }
        }
        delays.sort();
        Ok(Self { delays, took })
    }

    /// The delays of the middle, of the 99th in a hundred, and of the last, in milliseconds.
    pub fn delays(&self) -> [f64; 3] {
        [0.5, 0.99, 1.0].map(|of| share(&self.delays, of).as_secs_f64() * 1e3)
    }
}
