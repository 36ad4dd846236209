//! Requests at a fixed rate, whatever the answers do: an open loop.
//!
//! Each connection has its own schedule, and a request's time begins when it was due, not when it could be sent. A proxy that
//! pauses so also pays for those requests that had to wait meanwhile, which a closed loop would never have sent ("coordinated
//! omission"). A thread for each connection waits on the kernel's timers, which are exact to some fifty microseconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::process::{Core, Process};
use crate::{helpers, load};

/// How many connections share the rate.
pub const CONNECTIONS: u16 = 64;
/// All connections are open by then; the schedule begins.
const LEAD: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(30);
/// It may take so much longer than it was told to.
const GRACE: Duration = Duration::from_secs(60);
const BUFFER: usize = 16 * 1024;

/// What is sent, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of the proxy.
    pub port: u16,
    /// What is requested, by HTTP/1.1.
    pub path: String,
    /// Requests a second, of all connections together.
    pub rate: u32,
    /// How long.
    pub seconds: u16,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// That were answered.
    pub requests: f64,
    /// Of one in two.
    pub p50: f64,
    /// Of 99 in 100.
    pub p99: f64,
    /// Of 999 in 1,000.
    pub p999: f64,
}

/// Carries out a plan in a process of its own, on the core of the others.
///
/// # Errors
/// If an answer is not good.
pub fn measure(plan: &Plan, work: &Path) -> anyhow::Result<Latency> {
    let arguments = helpers::open_loop_arguments(plan);
    let mut process = Process::start(Core::Others, &std::env::current_exe()?, arguments, work.join("open-loop.log"))?;
    process.wait(Duration::from_secs(plan.seconds.into()) + GRACE).context("the open loop")?;
    let said = process.output()?;
    let numbers: Vec<f64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>().with_context(|| said.clone())?;
    let [requests, p50, p99, p999] = numbers[..] else { bail!("four numbers are expected: {said}") };
    Ok(Latency { requests, p50, p99, p999 })
}

impl Plan {
    pub(crate) fn words(&self) -> [String; 4] {
        [self.port.to_string(), self.path.clone(), self.rate.to_string(), self.seconds.to_string()]
    }

    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let [port, path, rate, seconds] = words else { bail!("port, path, rate and seconds are expected") };
        let plan = Self { port: number(port)?, path: path.clone(), rate: number(rate)?, seconds: number(seconds)? };
        ensure!(plan.rate > 0 && plan.seconds > 0, "rate and seconds must not be 0");
        Ok(plan)
    }

    /// When the requests of one connection are due, from the schedule's begin on. The connections take turns.
    fn due(&self, connection: u16) -> impl Iterator<Item = Duration> {
        let (rate, seconds, turns) = (f64::from(self.rate), f64::from(self.seconds), f64::from(CONNECTIONS));
        let at = move |round: u32| (f64::from(round) * turns + f64::from(connection)) / rate;
        (0..).map(at).take_while(move |at| *at < seconds).map(Duration::from_secs_f64)
    }
}

fn number<N: FromStr>(word: &str) -> anyhow::Result<N> {
    word.parse().ok().with_context(|| format!("{word:?} is no number"))
}

/// Sends, and prints what [`measure`] reads.
#[expect(clippy::print_stdout, reason = "the answer to the process that started this one")]
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let start = Instant::now() + LEAD;
    let mut all = thread::scope(|scope| {
        let connections: Vec<_> =
            (0..CONNECTIONS).map(|connection| scope.spawn(move || connect_and_send(plan, connection, start))).collect();
        let mut all = vec![];
        for connection in connections {
            let Ok(sent) = connection.join() else { bail!("a connection's thread panicked") };
            all.extend(sent?);
        }
        Ok(all)
    })?;
    all.sort_unstable();
    let at = |per_mille: usize| all.get(all.len().saturating_sub(1) * per_mille / 1_000).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("{} {} {} {}", all.len(), at(500), at(990), at(999));
    Ok(())
}

/// One connection's requests, and how long each took from when it was due.
fn connect_and_send(plan: &Plan, connection: u16, start: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, plan.port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("GET {} HTTP/1.1\r\nhost: bench.test\r\n\r\n", plan.path);
    let mut buffer = vec![0; BUFFER];
    let mut took = vec![];
    for due in plan.due(connection) {
        let due = start + due;
        sleep_until(due);
        stream.write_all(request.as_bytes())?;
        answer(&mut stream, &mut buffer)?;
        took.push(due.elapsed());
    }
    Ok(took)
}

#[expect(clippy::disallowed_methods, reason = "the schedule is made of times, there is no event to wait for")]
fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// Reads one answer to its end.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        ensure!(count > 0, "an answer ends early, or its head is too long");
        filled += count;
        let read = buffer.get(..filled).unwrap_or_default();
        if let Some(length) = load::answer_length(read)? {
            ensure!(filled <= length, "more than an answer came");
            if filled == length {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: u32) -> Plan {
        Plan { port: 1, path: "/".to_owned(), rate, seconds: 2 }
    }

    #[test]
    fn the_rate_is_of_all_connections_together() {
        let all: usize = (0..CONNECTIONS).map(|connection| plan(1_000).due(connection).count()).sum();
        assert_eq!(all, 2_000);
        assert_eq!(plan(64).due(32).next(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_plan_is_told_in_words() {
        assert_eq!(Plan::parse(&plan(7).words()).unwrap(), plan(7));
        assert!(Plan::parse(&plan(0).words()).is_err());
    }
}
