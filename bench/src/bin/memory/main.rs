//! What an idle proxy holds in memory, and what each further idle connection adds.
//!
//! The proxy follows a pilot: one gateway with ten routes; it has had one request. It is looked at when it holds no more and no less
//! for two seconds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod connections;
mod mappings;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Parser;
use rustls::pki_types::CertificateDer;
use weir_bench::cases::{self, Case};
use weir_bench::peers::nginx::Nginx;
use weir_bench::peers::{Peer, Setting};
use weir_bench::process::{PAUSE, Process, find, pause};
use weir_bench::table::table;
use weir_bench::{load, ports};

use connections::{HOST, Kind};
use mappings::Resident;

const ROUTES: u32 = 10;
/// What is opened first, so that what is only needed once is not counted for each.
const FIRST: usize = 50;
const START: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);
const NEVER_QUIET: Duration = Duration::from_secs(60);

/// Measures what Weir's proxy holds in memory, beside HAProxy
///
/// One worker, one gateway with ten routes, after a first request; then with connections that are kept.
/// Needs nginx and taskset, and haproxy to compare with.
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
    /// How many idle connections are opened (two files each must be allowed: ulimit -n)
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    connections: usize,
    /// End with an error if Weir's proxy holds more than so many MiB
    #[arg(long, value_name = "MIB")]
    at_most: Option<u64>,
}

fn main() -> anyhow::Result<()> {
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
    let nginx = Nginx::start(work.path())?;

    let mut peers: Vec<(&str, Peer)> = builds.iter().map(|(name, path)| (*name, Peer::Weir((*path).clone()))).collect();
    if !args.alone {
        match find("haproxy") {
            Some(path) => peers.push(("HAProxy", Peer::Haproxy(path))),
            None => eprintln!("!!! NO HAPROXY: it is left out. Put haproxy on the PATH (Debian: apt install haproxy)"),
        }
    }
    let resident = resident(&weir, &nginx, &folder(work.path(), "idle")?, &peers)?;
    println!("{}", of_process(&resident));
    if args.connections > 0 {
        let costs = costs(&args, &weir, &nginx, &folder(work.path(), "connections")?, &builds)?;
        println!("\n{costs}");
    }
    let held = resident.first().map(|(_, resident)| resident.total()).unwrap_or_default();
    match args.at_most {
        Some(limit) if held > limit * 1024 => bail!("{held} KiB are more than {limit} MiB"),
        _ => Ok(()),
    }
}

fn folder(work: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = work.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What each holds after a first request.
fn resident<'p>(weir: &Path, nginx: &Nginx, work: &Path, peers: &'p [(&str, Peer)]) -> anyhow::Result<Vec<(&'p str, Resident)>> {
    let case = cases::routes(&nginx.ports, ROUTES);
    let setting = Setting::start(weir, nginx, work, &case)?;
    let mut measured = vec![];
    for (name, peer) in peers {
        let mut process = setting.launch(peer)?;
        load::wait(&mut process, setting.port, &case.path, START)?;
        measured.push((*name, settled(&mut process, program(peer))?));
    }
    Ok(measured)
}

fn program(peer: &Peer) -> &Path {
    match peer {
        Peer::Envoy(path) | Peer::Haproxy(path) | Peer::Weir(path) => path,
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
    let rows: [(&str, fn(&Resident) -> u64); 9] = [
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
    let row = |(name, of): (&str, fn(&Resident) -> u64)| {
        std::iter::once(name.to_owned()).chain(measured.iter().map(|(_, resident)| of(resident).to_string())).collect()
    };
    table(&header, rows.into_iter().map(row).collect()).to_string()
}

/// What each further idle connection costs, by what is spoken on it.
fn costs(args: &Args, weir: &Path, nginx: &Nginx, work: &Path, builds: &[(&str, &PathBuf)]) -> anyhow::Result<String> {
    let [tls_port] = ports::free()?;
    let (case, certificate) = with_tls(nginx, work, tls_port)?;
    let setting = Setting::start(weir, nginx, work, &case)?;
    let kinds = [(Kind::Http1, setting.port), (Kind::Http2, setting.port), (Kind::tls(certificate)?, tls_port)];
    let mut rows: Vec<Vec<String>> = kinds.iter().map(|(kind, _)| vec![kind.name().to_owned()]).collect();
    for (_, path) in builds.iter().copied() {
        let peer = Peer::Weir((*path).clone());
        for ((kind, port), row) in kinds.iter().zip(&mut rows) {
            let mut process = setting.launch(&peer)?;
            load::wait(&mut process, setting.port, &case.path, START)?;
            let _first = open(kind, *port, &case, FIRST)?;
            let before = settled(&mut process, path)?;
            let _held = open(kind, *port, &case, args.connections)?;
            let after = settled(&mut process, path)?;
            let grown = after.total().saturating_sub(before.total()) * 1024;
            row.push(format!("{:.0}", grown as f64 / args.connections as f64));
        }
    }
    let header: Vec<&str> = std::iter::once("bytes for an idle connection").chain(builds.iter().map(|(name, _)| *name)).collect();
    Ok(table(&header, rows).to_string())
}

fn open(kind: &Kind, port: u16, case: &Case, count: usize) -> anyhow::Result<Vec<std::net::TcpStream>> {
    (0..count).map(|_| kind.open(port, &case.path)).collect()
}

/// The same case, with a server that speaks TLS, and its certificate.
fn with_tls(nginx: &Nginx, work: &Path, port: u16) -> anyhow::Result<(Case, CertificateDer<'static>)> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
    let (certificate_file, key_file) = (work.join("certificate.pem"), work.join("key.pem"));
    fs::write(&certificate_file, certificate.pem())?;
    fs::write(&key_file, key.serialize_pem())?;
    let case = cases::routes(&nginx.ports, ROUTES).with_tls(port, &certificate_file, &key_file);
    Ok((case, certificate.der().clone()))
}
