//! Rounds that take turns: each peer in each round, so that an hour in which the machine is slower is one for all of them.

use std::time::Instant;

use crate::noise::{TOO_MUCH, Work};
use crate::running::{Bench, Running, left_out};
use crate::usage::Clock;

/// So many times a round is tried, at most, for a quiet one.
const TRIES: usize = 3;

/// One peer in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round<L> {
    /// What the load generator saw.
    pub load: L,
    /// The processor's time for a request, in microseconds.
    pub cpu: f64,
    /// The part of the time in which its core worked for it.
    pub busy: f64,
    /// Resident memory, in MiB.
    pub memory: f64,
    /// The part of the two cores that neither it nor the bench had.
    pub others: f64,
}

/// One peer in all rounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series<L> {
    pub peer: &'static str,
    pub ready: f64,
    pub rounds: Vec<Round<L>>,
}

impl<L> Series<L> {
    pub fn median(&self, value: impl Fn(&Round<L>) -> f64) -> f64 {
        median(self.rounds.iter().map(value).collect())
    }

    /// What this one has in parts of what another one has: the median of the rounds' ratios.
    pub fn ratio(&self, other: &Self, value: impl Fn(&Round<L>) -> f64) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, other)| value(own) / value(other)).collect())
    }
}

/// A load: sends requests to a peer, and says what it saw, and how many were answered.
pub(crate) type Send<'s, L> = &'s dyn Fn(&Running<'_>) -> anyhow::Result<(L, f64)>;

/// All rounds of all peers. A peer that fails is said loudly and left out.
///
/// # Errors
/// If the system does not tell what was used.
pub(crate) fn interleaved<L>(bench: &Bench, running: Vec<Running<'_>>, send: Send<'_, L>) -> anyhow::Result<Vec<Series<L>>> {
    let clock = Clock::new()?;
    let mut all: Vec<(Running<'_>, Series<L>)> = running
        .into_iter()
        .map(|one| {
            let series = Series { peer: one.peer, ready: one.ready, rounds: vec![] };
            (one, series)
        })
        .collect();
    for number in 1..=bench.rounds {
        eprintln!("round {number} of {} ...", bench.rounds);
        all.retain_mut(|(one, series)| match quiet_round(clock, bench, one, send) {
            Ok(round) => {
                series.rounds.push(round);
                true
            }
            Err(error) => {
                left_out(one.setting.case, one.peer, &error);
                false
            }
        });
    }
    Ok(all.into_iter().map(|(_, series)| series).collect())
}

/// The first round in which others did little, or that in which they did the least.
fn quiet_round<L>(clock: Clock, bench: &Bench, running: &mut Running<'_>, send: Send<'_, L>) -> anyhow::Result<Round<L>> {
    let mut best = round(clock, bench, running, send)?;
    for _ in 1..TRIES {
        if best.others <= TOO_MUCH {
            break;
        }
        let next = round(clock, bench, running, send)?;
        if next.others < best.others {
            best = next;
        }
    }
    Ok(best)
}

fn round<L>(clock: Clock, bench: &Bench, running: &mut Running<'_>, send: Send<'_, L>) -> anyhow::Result<Round<L>> {
    running.check()?;
    let measured = running.ids();
    let own = [&measured[..], &[bench.origin.id()]].concat();
    let used = |ids: &[u32]| ids.iter().map(|id| clock.used(*id)).sum::<Result<f64, _>>();
    let (start, work, before) = (Instant::now(), Work::now(clock, &own)?, used(&measured)?);
    let (load, requests) = send(running)?;
    let (took, elapsed) = (used(&measured)? - before, start.elapsed().as_secs_f64());
    Ok(Round {
        load,
        cpu: took * 1e6 / requests,
        busy: took / elapsed,
        memory: running.resident()? / 1024.0,
        others: Work::now(clock, &own)?.others_since(work, elapsed),
    })
}

/// Nothing has no median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |position: usize| values.get(position).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(cpu: [f64; 3]) -> Series<()> {
        let rounds = cpu.map(|cpu| Round { load: (), cpu, busy: 1.0, memory: 1.0, others: 0.0 });
        Series { peer: "", ready: 0.0, rounds: rounds.to_vec() }
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_slow_round_is_slow_for_both() {
        let (own, other) = (series([1.0, 2.0, 10.0]), series([2.0, 4.0, 20.0]));
        assert!((own.ratio(&other, |round| round.cpu) - 0.5).abs() < 1e-9);
    }
}
