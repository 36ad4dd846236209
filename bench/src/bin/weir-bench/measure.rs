//! What a peer took from the machine while wrk ran.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use weir_bench::load;
use weir_bench::peers::{Peer, Setting};

use crate::noise::{self, Work};

/// So long a peer may take to follow its configuration.
const DEADLINE: Duration = Duration::from_secs(120);
/// Connections are opened and caches filled before the first round.
const WARM_UP_SECONDS: u16 = 1;
/// So many times the rounds are tried, at most, for as many quiet ones as are wanted.
const TRIES: usize = 3;

/// Medians of a peer's rounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub peer: &'static str,
    /// The processor's time for a request, in microseconds.
    pub cpu: f64,
    /// The part of the time in which its core worked for it.
    pub busy: f64,
    pub per_second: f64,
    /// Resident memory, in MiB.
    pub memory: f64,
    /// The part of the two cores that neither it nor the bench had.
    pub others: f64,
    /// From its start to its first right answer, in seconds.
    pub ready: f64,
}

/// One round.
struct Round {
    cpu: f64,
    busy: f64,
    per_second: f64,
    memory: f64,
    others: f64,
}

/// Starts a peer, measures it and ends it. Of the rounds, those count in which others did the least on the two cores.
///
/// # Errors
/// If it does not start, or answers wrongly.
pub(crate) fn measure(rounds: u16, seconds: u16, peer: &Peer, setting: &Setting<'_>) -> anyhow::Result<Measured> {
    let clock = Clock::new()?;
    let mut process = setting.launch(peer)?;
    let path = &setting.case.path;
    let ready = load::wait(&mut process, setting.port, path, DEADLINE)?.as_secs_f64();
    load::wrk(setting.port, path, WARM_UP_SECONDS)?;
    let (wanted, mut done) = (usize::from(rounds), vec![]);
    while done.iter().filter(|round: &&Round| round.others <= noise::TOO_MUCH).count() < wanted && done.len() < TRIES * wanted {
        done.push(round(clock, process.id(), seconds, setting)?);
    }
    done.sort_by(|one, other| one.others.total_cmp(&other.others));
    done.truncate(wanted);
    let of = |value: fn(&Round) -> f64| median(done.iter().map(value).collect());
    Ok(Measured {
        peer: peer.name(),
        cpu: of(|round| round.cpu),
        busy: of(|round| round.busy),
        per_second: of(|round| round.per_second),
        memory: of(|round| round.memory),
        others: of(|round| round.others),
        ready,
    })
}

fn round(clock: Clock, id: u32, seconds: u16, setting: &Setting<'_>) -> anyhow::Result<Round> {
    let own = [id, setting.upstream];
    let (start, work, used) = (Instant::now(), Work::now(clock, &own)?, clock.used(id)?);
    let load = load::wrk(setting.port, &setting.case.path, seconds)?;
    let (took, elapsed) = (clock.used(id)? - used, start.elapsed().as_secs_f64());
    Ok(Round {
        cpu: took * 1e6 / load.requests,
        busy: took / elapsed,
        per_second: load.per_second,
        memory: resident(id)?,
        others: Work::now(clock, &own)?.others_since(work, elapsed),
    })
}

/// How the kernel counts time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    per_second: f64,
}

impl Clock {
    fn new() -> anyhow::Result<Self> {
        let output = Command::new("getconf").arg("CLK_TCK").output().context("getconf cannot be run")?;
        let per_second = String::from_utf8_lossy(&output.stdout).trim().parse().context("getconf CLK_TCK gave no number")?;
        Ok(Self { per_second })
    }

    pub fn seconds(self, ticks: f64) -> f64 {
        ticks / self.per_second
    }

    /// The seconds that all threads of a process have used so far, in its own code and in the kernel's.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn used(self, id: u32) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process is gone")?;
        let ticks = ticks(&stat, 11).with_context(|| format!("/proc/{id}/stat is not as expected: {stat}"))?;
        Ok(self.seconds(ticks))
    }
}

/// A field and the next one, of what is behind the program's name, which may hold anything, in parentheses.
pub(crate) fn ticks(stat: &str, field: usize) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(field).map(str::parse::<f64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

fn resident(id: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0", 11), Some(123.0));
        assert_eq!(ticks("7 (a) S 1", 11), None);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
