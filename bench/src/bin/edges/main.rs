//! What large edges hold in memory: hosts outside the mesh, and certificates at one port; and what it costs to renew one of them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its table is its result")]

mod certificates;
mod resources;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use weir_bench::cases::Case;
use weir_bench::origin::Origin;
use weir_bench::peers::{Peer, Setting, present};
use weir_bench::process::{PAUSE, Process, pause};
use weir_bench::table::table;
use weir_bench::used::Used;
use weir_bench::{helpers, load, ports};

use certificates::Authority;
use resources::Resources;

const START: Duration = Duration::from_secs(60);
/// Long for a debug build with many certificates.
const APPLIED: Duration = Duration::from_secs(300);
const QUIET: Duration = Duration::from_secs(2);
const NEVER_QUIET: Duration = Duration::from_secs(120);
/// What comes and goes by itself.
const NOISE: u64 = 256 * 1024;
/// How often a certificate is renewed.
const ROUNDS: u32 = 20;

/// Measures what hosts outside the mesh and certificates at one port hold in memory
///
/// Weir's pilot with Weir's proxy, and with Envoy. Needs taskset.
#[derive(Debug, Parser)]
#[command(name = "edges")]
struct Args {
    /// The weir binary [default: the one beside this binary]
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
    /// How many ServiceEntries, each with a host
    #[arg(long, default_value_t = 10_000)]
    hosts: usize,
    /// How many certificates
    #[arg(long, default_value_t = 1_000)]
    certificates: usize,
    /// A look at whether it works: 100 hosts, 20 certificates
    #[arg(long, conflicts_with_all = ["hosts", "certificates"])]
    short: bool,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run() {
        return done;
    }
    let mut args = Args::parse();
    if args.short {
        (args.hosts, args.certificates) = (100, 20);
    }
    ensure!(args.hosts > 0 && args.certificates > 0, "there must be one of each");
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    ensure!(weir.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", weir.display());
    let work = tempfile::tempdir()?;
    let origin = Origin::start(work.path())?;
    let case = Case::last_route(origin.ports, 10);
    let mut columns: Vec<(String, Vec<Held>)> = vec![];
    for peer in present(&weir).iter().filter(|peer| peer.follows_pilot()) {
        let held = measure(&args, &weir, peer, &case, &work.path().join(peer.name()))?;
        if columns.is_empty() {
            columns.push(("Weir's pilot".to_owned(), held.iter().map(|(pilot, _)| *pilot).collect()));
        }
        columns.push((format!("{} as a gateway", peer.name()), held.iter().map(|(_, gateway)| *gateway).collect()));
    }
    println!("{}", report(&args, &columns));
    Ok(())
}

/// What a process holds, and what it has used, at some point.
#[derive(Debug, Clone, Copy)]
struct Held(Used);

/// Pilot and gateway: at first, with the hosts, with the certificates as well, and when one of these was renewed.
fn measure(args: &Args, weir: &Path, peer: &Peer, case: &Case, work: &Path) -> anyhow::Result<[(Held, Held); 4]> {
    eprintln!("{}", peer.name());
    let mut setting = Setting::start(Some(weir), work, case)?;
    let [port] = ports::free()?;
    let (authority, resources) = (Authority::new()?, Resources::new(setting.resources(), port));
    resources.certificates("first", &authority, 0..1)?;
    let mut gateway = setting.launch(peer)?;
    load::wait(&mut gateway, setting.port, &case.path, START)?;
    let mut pilot = setting.pilot.take().context("there is no pilot")?;
    authority.until_shown(&mut gateway, port, &resources::host(0), None, APPLIED)?;
    let mut both = |gateway: &mut Process| anyhow::Ok((settled(&mut pilot)?, settled(gateway)?));
    let first = both(&mut gateway)?;

    let before = authority.shown(port, &resources::host(0));
    resources.hosts(args.hosts)?;
    resources.certificates("first", &authority, 0..1)?;
    // What comes after the hosts says that they are there.
    authority.until_shown(&mut gateway, port, &resources::host(0), before.as_deref(), APPLIED)?;
    let with_hosts = both(&mut gateway)?;

    resources.certificates("others", &authority, 1..args.certificates + 1)?;
    authority.until_shown(&mut gateway, port, &resources::host(args.certificates), None, APPLIED)?;
    let with_certificates = both(&mut gateway)?;

    for _ in 0..ROUNDS {
        let before = authority.shown(port, &resources::host(0));
        resources.certificates("first", &authority, 0..1)?;
        authority.until_shown(&mut gateway, port, &resources::host(0), before.as_deref(), APPLIED)?;
    }
    let renewed = both(&mut gateway)?;
    Ok([first, with_hosts, with_certificates, renewed])
}

/// What it holds when that changes no more.
fn settled(process: &mut Process) -> anyhow::Result<Held> {
    let (mut last, mut quiet, mut waited) = (Used::by(process.id())?, Duration::ZERO, Duration::ZERO);
    while quiet < QUIET && waited < NEVER_QUIET {
        pause();
        process.check()?;
        waited += PAUSE;
        let now = Used::by(process.id())?;
        if now.memory.abs_diff(last.memory) <= NOISE {
            quiet += PAUSE;
        } else {
            (last, quiet) = (now, Duration::ZERO);
        }
    }
    Ok(Held(Used::by(process.id())?))
}

fn report(args: &Args, columns: &[(String, Vec<Held>)]) -> String {
    let header: Vec<String> = std::iter::once(String::new()).chain(columns.iter().map(|(name, _)| name.clone())).collect();
    let memory = |held: &[Held], at: usize| held.get(at).map_or(0, |held| held.0.memory);
    let each = |held: &[Held], at: usize, of: usize| memory(held, at).saturating_sub(memory(held, at - 1)) as f64 / of as f64 / 1024.0;
    let cpu = |held: &[Held]| match held {
        [.., before, after] => after.0.cpu.saturating_sub(before.0.cpu).as_secs_f64() * 1e3 / f64::from(ROUNDS),
        _ => 0.0,
    };
    type Of<'f> = &'f dyn Fn(&[Held]) -> String;
    let rows: [(String, Of<'_>); 5] = [
        ("at first, MiB".to_owned(), &|held| format!("{:.1}", memory(held, 0) as f64 / 1048576.0)),
        (format!("each of {} hosts, KiB", args.hosts), &|held| format!("{:.1}", each(held, 1, args.hosts))),
        (format!("each of {} certificates, KiB", args.certificates), &|held| format!("{:.1}", each(held, 2, args.certificates))),
        ("with all of them, MiB".to_owned(), &|held| format!("{:.1}", memory(held, 2) as f64 / 1048576.0)),
        ("a renewed certificate, ms of CPU".to_owned(), &|held| format!("{:.1}", cpu(held))),
    ];
    let row = |(name, of): &(String, Of<'_>)| std::iter::once(name.clone()).chain(columns.iter().map(|(_, held)| of(held))).collect();
    table(&header, rows.iter().map(row).collect()).to_string()
}
