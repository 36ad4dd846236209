//! What an idle proxy holds in memory. What each further connection adds is `weir-bench --only idle`'s matter.
//!
//! The proxy follows a pilot: one gateway with ten routes; it has had one request. It is looked at when it holds no more and no less
//! for two seconds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod mappings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Parser;
use weir_bench::cases::Case;
use weir_bench::origin::Origin;
use weir_bench::peers::{Peer, Setting};
use weir_bench::process::{PAUSE, Process, find, pause};
use weir_bench::table::table;
use weir_bench::{helpers, load};

use mappings::Resident;

const ROUTES: u32 = 10;
const START: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);
const NEVER_QUIET: Duration = Duration::from_secs(60);

/// Measures what Weir's proxy holds in memory, beside HAProxy
///
/// One worker, one gateway with ten routes, after a first request. Needs taskset, and haproxy to compare with.
#[derive(Debug, Parser)]
#[command(name = "memory")]
struct Args {
    /// The weir binary [default: the one beside this binary]
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
    /// Another weir binary, to see what has changed since
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// Leave HAProxy out
    #[arg(long)]
    alone: bool,
    /// End with an error if Weir's proxy holds more than so many MiB
    #[arg(long, value_name = "MIB")]
    at_most: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run() {
        return done;
    }
    let args = Args::parse();
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    let builds: Vec<(&str, &PathBuf)> =
        [("Weir", &weir)].into_iter().chain(args.before.as_ref().map(|before| ("Weir before", before))).collect();
    for (_, path) in &builds {
        ensure!(path.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", path.display());
    }
    let work = tempfile::tempdir()?;
    let origin = Origin::start(work.path())?;

    let mut peers: Vec<(&str, Peer)> = builds.iter().map(|(name, path)| (*name, Peer::Weir((*path).clone()))).collect();
    if !args.alone {
        match find("haproxy") {
            Some(path) => peers.push(("HAProxy", Peer::Haproxy(path))),
            None => eprintln!("!!! NO HAPROXY: it is left out. Put haproxy on the PATH (Debian: apt install haproxy)"),
        }
    }
    let resident = resident(&weir, &origin, work.path(), &peers)?;
    println!("{}", of_process(&resident));
    let held = resident.first().map(|(_, resident)| resident.total()).unwrap_or_default();
    match args.at_most {
        Some(limit) if held > limit * 1024 => bail!("{held} KiB are more than {limit} MiB"),
        _ => Ok(()),
    }
}

/// What each holds after a first request.
fn resident<'p>(weir: &Path, origin: &Origin, work: &Path, peers: &'p [(&str, Peer)]) -> anyhow::Result<Vec<(&'p str, Resident)>> {
    let case = Case::last_route(origin.ports, ROUTES);
    let setting = Setting::start(Some(weir), work, &case)?;
    let mut measured = vec![];
    for (name, peer) in peers {
        let mut process = setting.launch(peer)?;
        load::wait(&mut process, setting.port, &case.path, START)?;
        let program = program(peer)?;
        measured.push((*name, settled(&mut process, program)?));
    }
    Ok(measured)
}

fn program(peer: &Peer) -> anyhow::Result<&Path> {
    match peer {
        Peer::Envoy(path) | Peer::Haproxy(path) | Peer::Nginx(path) | Peer::Weir(path) => Ok(path),
        Peer::Relay => bail!("the relay is a part of this program"),
    }
}

/// What it holds when that changes no more.
fn settled(process: &mut Process, program: &Path) -> anyhow::Result<Resident> {
    let program = program.canonicalize()?;
    let (mut last, mut quiet) = (Resident::of(process.id(), &program)?, Duration::ZERO);
    let mut waited = Duration::ZERO;
    while quiet < QUIET && waited < NEVER_QUIET {
        pause();
        process.check()?;
        waited += PAUSE;
        let now = Resident::of(process.id(), &program)?;
        quiet = if now == last { quiet + PAUSE } else { Duration::ZERO };
        last = now;
    }
    Ok(last)
}

fn of_process(measured: &[(&str, Resident)]) -> String {
    let header: Vec<&str> = std::iter::once("KiB resident").chain(measured.iter().map(|(name, _)| *name)).collect();
    type Of = fn(&Resident) -> u64;
    let rows: [(&str, Of); 9] = [
        ("code", |resident| resident.code),
        ("constants", |resident| resident.constants),
        ("libraries", |resident| resident.libraries),
        ("statics, written to", |resident| resident.written),
        ("heap", |resident| resident.heap),
        ("stacks", |resident| resident.stacks),
        ("**all**", Resident::total),
        ("of it in no file", Resident::anonymous),
        ("of it in huge pages", |resident| resident.huge),
    ];
    let row = |(name, of): (&str, Of)| {
        std::iter::once(name.to_owned()).chain(measured.iter().map(|(_, resident)| of(resident).to_string())).collect()
    };
    table(&header, rows.into_iter().map(row).collect()).to_string()
}
