//! What a request costs in Weir's proxy, beside what it costs in Envoy, HAProxy and nginx, and in a relay that only copies bytes.
//!
//! Requests per second say as much of the load generator as of the proxy, so the first number here is the processor's time that
//! the proxy took for a request. The proxy has core 0 for itself; the upstream, the load generator and the pilot share core 1.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod charts;
mod idle;
mod noise;
mod readme;
mod report;
mod rounds;
mod running;
mod table;
mod usage;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, getrlimit, setrlimit};
use weir_bench::origin::Origin;
use weir_bench::{helpers, peers, process};

use report::Report;
use running::Bench;
use workloads::Workload;

/// Measures Weir's proxy beside Envoy, HAProxy, nginx and a bare relay: CPU for a request, requests/s, latency, memory
///
/// Needs h2load (Debian: nghttp2-client) and taskset. Envoy is $WEIR_BENCH_ENVOY, or envoy on the PATH; what is absent is left out.
#[derive(Debug, Parser)]
#[command(name = "weir-bench")]
struct Args {
    /// How many rounds; what is printed are their medians
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long a round is
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Measure these only
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// How many routes the large table has
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=99_999))]
    routes: u32,
    /// How many idle connections are opened
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(2_000..=25_000))]
    connections: u32,
    /// Requests/s where latency is measured [default: half of what Envoy can do]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Write the figures of the README, with instructions and lookups, and the charts
    #[arg(long, num_args = 0..=1, default_missing_value = "README.md", value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Where the charts go
    #[arg(long, default_value = "docs", value_name = "FOLDER")]
    charts: PathBuf,
    /// The weir binary [default: the one beside this binary]
    #[arg(long, value_name = "PATH")]
    weir: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    if let Some(done) = helpers::run() {
        return done;
    }
    let args = Args::parse();
    let bench = prepare(&args)?;
    let report = measure(&args, &bench)?;
    if let Some(readme) = &args.readme {
        charts::write(&report, &args.charts)?;
        let figures =
            [readme::markdown(&bench, &report), readme::of_tool("instructions", Some(&bench.weir))?, readme::of_tool("lookup", None)?];
        readme::write(readme, &args.charts, &figures.join("\n"))?;
    }
    if report.is_noisy() {
        eprintln!("!!! OTHERS WORKED ON THE TWO CORES (column \"others\"): these numbers are not to be trusted.");
    }
    Ok(())
}

fn prepare(args: &Args) -> anyhow::Result<Bench> {
    let weir = match &args.weir {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    ensure!(weir.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", weir.display());
    for (tool, package) in [("h2load", "nghttp2-client"), ("taskset", "util-linux")] {
        process::find(tool).with_context(|| format!("{tool} is needed, and not on the PATH (Debian: apt install {package})"))?;
    }
    // For idle connections; all that is started here has it as well.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let (peers, work) = (peers::present(&weir), tempfile::tempdir()?);
    let origin = Origin::start(work.path())?;
    Ok(Bench { weir, peers, origin, work, rounds: args.rounds, seconds: args.seconds })
}

/// Measures what was asked for; each table is printed as soon as it is there.
fn measure(args: &Args, bench: &Bench) -> anyhow::Result<Report> {
    println!("Medians of {} rounds of {} s; ratios are the medians of the rounds' ratios.", args.rounds, args.seconds);
    let mut report = Report::default();
    let certificate = idle::certificate(bench.work.path())?;
    let all = Workload::value_variants();
    for workload in all.iter().filter(|workload| args.only.is_empty() || args.only.contains(workload)) {
        for case in workload.floods(bench, args.routes, &certificate) {
            let measured = workloads::flood(bench, &case)?;
            println!("{}", table::flood(&measured));
            report.floods.push(measured);
        }
        match workload {
            Workload::Latency => {
                report.latencies = workloads::latency(bench, args.rate)?;
                report.latencies.iter().for_each(|latencies| println!("{}", table::latency(latencies)));
            }
            Workload::Idle => {
                let meter = idle::Meter::new(bench, args.connections, certificate.clone())?;
                for protocol in idle::PROTOCOLS {
                    let measured = meter.measure(protocol);
                    println!("{}", table::idle(&measured));
                    report.idle.push(measured);
                }
            }
            Workload::Lua => println!("{}", table::latency(&workloads::few_through_a_script(bench)?)),
            Workload::Split
            | Workload::Routes
            | Workload::Http2
            | Workload::Grpc
            | Workload::Bodies
            | Workload::Tls
            | Workload::Mtls
            | Workload::Tcp => {}
        }
    }
    Ok(report)
}
