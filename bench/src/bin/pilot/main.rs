//! What a pilot costs: for each sidecar that connects, and for a change, until each sidecar has it. Beside it the floor: the same
//! bytes to the same sidecars by a stream that somebody else has encoded for.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its table is its result")]

mod bare;
mod figures;
mod fleet;
mod floor;
mod folder;
mod rounds;
mod sidecar;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use weir_bench::ports;
use weir_bench::process::{Core, Process, pause};
use weir_bench::table::table;

use figures::Used;
use fleet::Fleet;
use floor::Floor;
use folder::Folder;
use rounds::{Rounds, Watched};
use sidecar::Routes;

/// Long for a debug build with many services.
const START: Duration = Duration::from_secs(120);
/// Where the numbers of changes begin that other sidecars get: no change is one that there was.
const RENEWED: u32 = 1_000_000;
/// What the pilot says when it serves.
const SERVES: &str = "proxies may follow";

/// Measures what a pilot costs, by many sidecars that follow it by delta ADS
///
/// Services with a VirtualService, a DestinationRule of two subsets and instances each, as Kubernetes' documents in a folder;
/// sidecars that ask for all of it. Then an instance changes, and then a rule, in several rounds each.
#[derive(Debug, Parser)]
#[command(name = "pilot")]
struct Args {
    /// The weir binary [default: the one beside this binary]
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
    /// How many services
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// How many instances each has
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// How many sidecars
    #[arg(long, default_value_t = 200)]
    sidecars: usize,
    /// How many changes of each sort
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// A look at whether it works: 100 services, 10 sidecars, 2 rounds
    #[arg(long, conflicts_with_all = ["services", "sidecars", "rounds"])]
    short: bool,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = floor::run() {
        return done;
    }
    let mut args = Args::parse();
    if args.short {
        (args.services, args.sidecars, args.rounds) = (100, 10, 2);
    }
    ensure!(args.services > 0 && args.endpoints > 0 && args.sidecars > 0 && args.rounds > 0, "there must be one of each");
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    ensure!(weir.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", weir.display());
    raise_open_files()?;
    let work = tempfile::tempdir()?;
    let folder = Folder::write(work.path(), args.services, args.endpoints)?;
    let [port, floor_port] = ports::free()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;

    let server = format!("127.0.0.1:{port}");
    let words = ["pilot".as_ref(), folder.path().as_os_str(), "--xds".as_ref(), server.as_ref(), "--log".as_ref(), "warn".as_ref()];
    let mut pilot = Process::start(Core::Any, &weir, words, work.path().join("pilot.log"))?;
    until_it_serves(&mut pilot)?;

    let idle = Used::by(pilot.id())?;
    let fleet = Fleet::connect(&runtime, &server, args.sidecars, Routes::Whole)?;
    let connected = Used::by(pilot.id())?;
    let endpoint = Rounds::of(&runtime, &fleet, pilot.id(), Watched::Endpoint, args.rounds, &mut |mark| folder.change_endpoint(mark))?;
    let rule = Rounds::of(&runtime, &fleet, pilot.id(), Watched::Rule, args.rounds, &mut |mark| folder.change_rule(mark))?;
    let after = Used::by(pilot.id())?;
    let response = fleet.last_response().context("no sidecar has kept what it got last")?;
    drop(fleet);
    let fleet = Fleet::connect(&runtime, &server, args.sidecars, Routes::ByVirtualHost)?;
    let host = Rounds::of(&runtime, &fleet, pilot.id(), Watched::VirtualHost, args.rounds, &mut |mark| folder.change_rule(RENEWED + mark))?;
    drop(fleet);
    drop(pilot);
    let floor = floor(&runtime, &args, floor_port, &response, work.path())?;

    let each = |figure: f64| format!("{:.2}", figure / args.sidecars as f64);
    let rows = [
        ("CPU for each sidecar that connects, ms", each((connected.cpu - idle.cpu).as_secs_f64() * 1e3)),
        ("memory for each, MB", each(connected.memory.saturating_sub(idle.memory) as f64 / 1e6)),
        (
            "memory of all, MB: idle, connected, at the end",
            [idle, connected, after].map(|used| format!("{:.0}", used.memory as f64 / 1e6)).join(", "),
        ),
        ("one endpoint in force, p50 / p99, ms", endpoint.latency()),
        ("CPU for it, ms; bytes to each", endpoint.cost()),
        ("one VirtualService in force, p50 / p99, ms", rule.latency()),
        ("CPU for it, ms; bytes to each", rule.cost()),
        ("one VirtualService by virtual host, p50 / p99, ms", host.latency()),
        ("CPU for it, ms; bytes to each", host.cost()),
        ("the floor: that table by a bare stream, p50 / p99, ms", floor.latency()),
        ("CPU for it, ms; bytes to each", floor.cost()),
        ("one VirtualService / the floor: p99, CPU", rule.over(&floor)),
    ];
    let title = format!("{} services of {} endpoints, {} sidecars", args.services, args.endpoints, args.sidecars);
    println!("{}", table(&[title.as_str(), "pilot"], rows.into_iter().map(|(name, figure)| vec![name.to_owned(), figure]).collect()));
    Ok(())
}

/// Each sidecar is an open file, and the usual limit is meant for programs that need few.
fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("the limit of open files cannot be raised")
}

/// The same bytes to as many sidecars, as often.
fn floor(runtime: &Runtime, args: &Args, port: u16, response: &[u8], work: &std::path::Path) -> anyhow::Result<Rounds> {
    let mut floor = Floor::start(port, response, work)?;
    let fleet = Fleet::connect_bare(runtime, &format!("127.0.0.1:{port}"), args.sidecars, Routes::Whole)?;
    floor.has(args.sidecars)?;
    Rounds::of(runtime, &fleet, floor.id(), Watched::Anything, args.rounds, &mut |_| floor.send())
}

fn until_it_serves(pilot: &mut Process) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !pilot.output()?.contains(SERVES) {
        pilot.check()?;
        ensure!(begun.elapsed() < START, "the pilot does not serve after {START:?}; it said:\n{}", pilot.last_words());
        pause();
    }
    Ok(())
}
