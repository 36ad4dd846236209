//! What a request costs in Weir's proxy, beside what it costs in Envoy and HAProxy.
//!
//! Requests per second say as much of the load generator as of the proxy, so the first number here is the processor's time that
//! the proxy took for a request. The proxy has core 0 for itself; nginx, wrk and the pilot share core 1.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod measure;
mod noise;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;

use measure::Measured;
use weir_bench::cases::{self, Case};
use weir_bench::peers::nginx::Nginx;
use weir_bench::peers::{self, Peer};
use weir_bench::{load, process};

/// Measures Weir's proxy beside Envoy and HAProxy: the processor's time for a request, requests/s, memory
///
/// Needs nginx, wrk and taskset; Envoy is $WEIR_BENCH_ENVOY, or envoy on the PATH.
#[derive(Debug, Parser)]
#[command(name = "weir-bench")]
struct Args {
    /// How many rounds; what is printed are their medians
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long a round is
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// How many routes the large table has
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=99_999))]
    routes: u32,
    /// The weir binary [default: the one beside this binary]
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    ensure!(weir.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", weir.display());
    for tool in ["nginx", "wrk", "taskset"] {
        process::find(tool).with_context(|| format!("{tool} is needed, and not on the PATH"))?;
    }
    let peers = peers::present(&weir);
    let work = tempfile::tempdir()?;
    let nginx = Nginx::start(work.path())?;

    let split = run(&args, &weir, &peers, &nginx, work.path(), &cases::split(&nginx.ports))?;
    let only = run(&args, &weir, &peers, &nginx, work.path(), &cases::routes(&nginx.ports, 1))?;
    let last = run(&args, &weir, &peers, &nginx, work.path(), &cases::routes(&nginx.ports, args.routes))?;

    println!("\nMedians of {} rounds of {} s; {} connections, HTTP/1.1 keep-alive.", args.rounds, args.seconds, load::CONNECTIONS);
    for (title, measured) in [
        ("Header match and 50/50 split".to_owned(), &split),
        ("The only prefix route".to_owned(), &only),
        (format!("The last of {} prefix routes", args.routes), &last),
    ] {
        println!("\n{title}\n{}", table::peers(measured));
    }
    if split.iter().chain(&only).chain(&last).any(|one| one.others > noise::TOO_MUCH) {
        println!("\n!!! OTHERS WORKED ON THE TWO CORES (column \"others\"): these numbers are not to be trusted.");
    }
    println!("\nWhat the routes before the last one cost\n{}", table::growth(&only, &last, args.routes));
    Ok(())
}

/// One case, all peers in turn. A peer that fails is said loudly and left out.
fn run(args: &Args, weir: &Path, peers: &[Peer], nginx: &Nginx, work: &Path, case: &Case) -> anyhow::Result<Vec<Measured>> {
    let work = work.join(case.name);
    std::fs::create_dir_all(&work)?;
    let setting = peers::Setting::start(weir, nginx, &work, case)?;
    let mut all = vec![];
    for peer in peers {
        eprintln!("{}: {} ...", case.name, peer.name());
        match measure::measure(args.rounds, args.seconds, peer, &setting) {
            Ok(measured) => all.push(measured),
            Err(error) => eprintln!("!!! {}: {} IS LEFT OUT: {error:#}", case.name, peer.name()),
        }
    }
    Ok(all)
}
