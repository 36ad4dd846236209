//! What a pilot costs: for each sidecar that connects, and for a change, until each sidecar has it. Beside it the floor: the same
//! bytes to the same sidecars by a stream that somebody else has encoded for.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its table is its result")]

mod bare;
mod figures;
mod fleet;
mod floor;
mod folder;
mod goals;
mod memory;
mod ordered;
mod rounds;
mod sidecar;
mod storm;
mod stream;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use weir_bench::ports;
use weir_bench::process::{Core, Process, pause};
use weir_bench::used::Used;

use fleet::Fleet;
use folder::Folder;
use goals::Report;
use memory::{ENDPOINT_CHANGES, RULE_CHANGES};
use rounds::{Rounds, Watched};
use sidecar::Routes;
use storm::Storm;

/// As in the binary that is measured.
#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

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
    /// So many sidecars come at once in the storm; 0 for none
    #[arg(long, default_value_t = 500)]
    storm: usize,
    /// How many times the services the large mesh has; 0 for none
    #[arg(long, default_value_t = 10)]
    larger: usize,
    /// A look at whether it works: 100 services, 10 sidecars, 2 rounds
    #[arg(long, conflicts_with_all = ["services", "sidecars", "rounds", "storm", "larger"])]
    short: bool,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = floor::run().or_else(memory::run) {
        return done;
    }
    let mut args = Args::parse();
    if args.short {
        (args.services, args.sidecars, args.rounds, args.storm, args.larger) = (100, 10, 2, 20, 2);
    }
    ensure!(args.services > 0 && args.endpoints > 0 && args.sidecars > 0 && args.rounds > 0, "there must be one of each");
    raise_open_files()?;
    let work = tempfile::tempdir()?;
    let folder = Folder::write(&work.path().join("mesh"), args.services, args.endpoints)?;
    let runtime = runtime()?;
    let mut report = Report::new(args.sidecars);
    let ByFile { endpoint: by_file, rule, filter, host } = of_files(&runtime, &args, &folder, work.path(), &mut report)?;
    let floor = floor(&runtime, &args, rule.last_response(), work.path())?;
    let by_memory = of_memory(&runtime, &args, &folder, args.storm, work.path())?;
    report.endpoint(&by_file, &by_memory.endpoint);
    report.rule(&rule, &host, &floor);
    report.filter(&filter);
    if let Some(storm) = &by_memory.storm {
        report.storm(args.storm, storm);
    }
    if args.larger > 0 {
        let folder = Folder::write(&work.path().join("larger"), args.larger * args.services, args.endpoints)?;
        let large = of_memory(&runtime, &args, &folder, 0, work.path())?;
        report.larger(args.larger, &by_memory, &large);
    }
    report.print(&format!("{} services of {} endpoints, {} sidecars", args.services, args.endpoints, args.sidecars));
    Ok(())
}

/// One thread for a fleet's sidecars: the cores are for who is measured as well.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// What changes of files cost a pilot.
struct ByFile {
    endpoint: Rounds,
    /// A rule, to sidecars that take whole tables.
    rule: Rounds,
    /// An EnvoyFilter.
    filter: Rounds,
    /// A rule, to sidecars that take routes by virtual host.
    host: Rounds,
}

/// `weir pilot` on a folder: what sidecars cost that come, and what changes do.
fn of_files(runtime: &Runtime, args: &Args, folder: &Folder, work: &Path, report: &mut Report) -> anyhow::Result<ByFile> {
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    ensure!(weir.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", weir.display());
    let [port] = ports::free()?;
    let server = format!("127.0.0.1:{port}");
    let words = ["pilot".as_ref(), folder.path().as_os_str(), "--xds".as_ref(), server.as_ref(), "--log".as_ref(), "warn".as_ref()];
    let mut pilot = Process::start(Core::Any, &weir, words, work.join("pilot.log"))?;
    until_it_serves(&mut pilot)?;
    let idle = Used::by(pilot.id())?;
    let fleet = Fleet::connect(runtime, &server, args.sidecars, Routes::Whole)?;
    let connected = Used::by(pilot.id())?;
    let endpoint = Rounds::of(runtime, &fleet, pilot.id(), Watched::Endpoint, args.rounds, &mut |mark| folder.change_endpoint(mark))?;
    let rule = Rounds::of(runtime, &fleet, pilot.id(), Watched::Rule, args.rounds, &mut |mark| folder.change_rule(mark))?;
    let filter = Rounds::of(runtime, &fleet, pilot.id(), Watched::Cluster, args.rounds, &mut |mark| folder.change_filter(mark))?;
    folder.remove_filter()?;
    fleet.settle();
    report.connected(fleet.took, [idle, connected, Used::by(pilot.id())?]);
    drop(fleet);
    let fleet = Fleet::connect(runtime, &server, args.sidecars, Routes::ByVirtualHost)?;
    let host = Rounds::of(runtime, &fleet, pilot.id(), Watched::VirtualHost, args.rounds, &mut |mark| folder.change_rule(RENEWED + mark))?;
    Ok(ByFile { endpoint, rule, filter, host })
}

/// What changes cost a pilot whose source is in memory.
struct ByMemory {
    endpoint: Rounds,
    /// A rule, to sidecars that take routes by virtual host.
    host: Rounds,
    storm: Option<Storm>,
}

/// A pilot with its source in memory: one endpoint, a storm of so many who come at once, and one rule as a virtual host.
fn of_memory(runtime: &Runtime, args: &Args, folder: &Folder, storm: usize, work: &Path) -> anyhow::Result<ByMemory> {
    let [port] = ports::free()?;
    let mut pilot = memory::start(port, folder.path(), args.endpoints, work)?;
    let server = format!("127.0.0.1:{port}");
    let fleet = Fleet::connect(runtime, &server, args.sidecars, Routes::Whole)?;
    let id = pilot.id();
    let endpoint = Rounds::of(runtime, &fleet, id, Watched::Endpoint, args.rounds, &mut |mark| {
        // The mesh has number 0 already, or the one that the file had last.
        pilot.order(&format!("{ENDPOINT_CHANGES} {}", 1000 + mark))?;
        Ok(folder::marked(1000 + mark))
    })?;
    let storm = (storm > 0).then(|| Storm::of(&fleet, &crate::runtime()?, &server, storm, &mut pilot)).transpose()?;
    drop(fleet);
    let fleet = Fleet::connect(runtime, &server, args.sidecars, Routes::ByVirtualHost)?;
    let host = Rounds::of(runtime, &fleet, id, Watched::VirtualHost, args.rounds, &mut |mark| {
        pilot.order(&format!("{RULE_CHANGES} {}", 2 * RENEWED + mark))?;
        Ok(folder::asked_for(2 * RENEWED + mark))
    })?;
    Ok(ByMemory { endpoint, host, storm })
}

/// Each sidecar is an open file, and the usual limit is meant for programs that need few.
fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("the limit of open files cannot be raised")
}

/// The same bytes to as many sidecars, as often.
fn floor(runtime: &Runtime, args: &Args, response: &[u8], work: &Path) -> anyhow::Result<Rounds> {
    let [port] = ports::free()?;
    let mut floor = floor::start(port, response, work)?;
    let fleet = Fleet::connect_bare(runtime, &format!("127.0.0.1:{port}"), args.sidecars, Routes::Whole)?;
    floor.until_it_says(args.sidecars)?;
    let id = floor.id();
    Rounds::of(runtime, &fleet, id, Watched::Anything, args.rounds, &mut |_| floor.order("").map(|()| String::new()))
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
