//! How many of its own instructions a proxy executes for a request: counted, not timed, so that a change of one part in a hundred
//! can be seen on any machine, also on one that has other work.
//!
//! Each proxy runs below valgrind's callgrind twice, with few and with more requests; the difference has neither its start nor
//! its end in it. What the kernel does for a proxy is not counted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod authorization;
mod count;
mod profile;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Parser;
use weir_bench::cases::{Case, LONGER_PATH};
use weir_bench::helpers;
use weir_bench::origin::Origin;
use weir_bench::peers::{HAPROXY, Peer, Setting, WEIR};
use weir_bench::process::find;
use weir_bench::table::table;

use profile::Profile;

/// What is needed, and the Debian package that has it.
const TOOLS: [(&str, &str); 3] = [("valgrind", "valgrind"), ("h2load", "nghttp2-client"), ("taskset", "util-linux")];

/// Counts the instructions that Weir's proxy executes for a request, beside HAProxy
///
/// A header match and a 50/50 split, HTTP/1.1 keep-alive, one worker, answers of 128 bytes.
/// Needs valgrind, h2load and taskset, and haproxy to compare with.
#[derive(Debug, Parser)]
#[command(name = "instructions")]
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
    /// Instead of the split, one route and a script in Lua that adds a header
    #[arg(long, requires = "alone")]
    lua: bool,
    /// How many functions to list, those first that take the most
    #[arg(long, default_value_t = 0, value_name = "N")]
    top: usize,
    /// Count with fewer requests: a third of the time, and a little less exact
    #[arg(long)]
    short: bool,
    /// End with 1 if Weir takes more instructions than this
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Count a request that 100 authorization rules are held against beside one that one is, and end with 1 if it takes more than
    /// 1.05 of that
    #[arg(long, conflicts_with_all = ["limit", "before"])]
    authorization: bool,
    /// Keep callgrind's files in this folder, for callgrind_annotate
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
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
    for path in std::iter::once(&weir).chain(&args.before) {
        ensure!(path.is_file(), "{} is not there: build it with cargo build --profile dist -p weir", path.display());
    }
    let missing: Vec<String> = TOOLS
        .iter()
        .filter(|(tool, _)| find(tool).is_none())
        .map(|(tool, package)| format!("{tool} (Debian: apt install {package})"))
        .collect();
    ensure!(missing.is_empty(), "not on the PATH, but needed: {}", missing.join(", "));

    let work = tempfile::tempdir()?;
    let files = args.keep.as_deref().unwrap_or(work.path());
    std::fs::create_dir_all(files)?;
    let origin = Origin::start(work.path())?;
    if args.authorization {
        return authorization::compare(&args, &weir, origin.ports, files);
    }
    let mut case = if args.lua { Case::script(origin.ports) } else { Case::split(origin.ports) };
    if !args.lua {
        LONGER_PATH.clone_into(&mut case.path);
    }

    let peers = peers(&args, &weir);
    // One pilot serves all, so that two builds of Weir's proxy have the same configuration.
    let setting = Setting::start(Some(&weir), work.path(), &case)?;
    let requests = if args.short { count::SHORT } else { count::USUAL };
    let mut counted = vec![];
    for (name, peer) in &peers {
        eprintln!("{name} ...");
        counted.push((*name, count::per_request(&setting, peer, files, name, requests)?));
    }
    println!("{}", totals(&counted));
    for (name, profile) in counted.iter().filter(|_| args.top > 0) {
        println!("\n{name}, by function\n{}", functions(profile, args.top));
    }
    let weir = counted.first().map(|(_, profile)| profile.total).unwrap_or_default();
    if let Some(limit) = args.limit {
        ensure!(weir <= f64::from(limit), "a request takes {weir:.0} instructions, and {limit} are the limit");
    }
    Ok(())
}

/// What is measured, Weir first.
fn peers(args: &Args, weir: &Path) -> Vec<(&'static str, Peer)> {
    let mut peers = vec![(WEIR, Peer::Weir(weir.to_owned()))];
    peers.extend(args.before.clone().map(|before| ("Weir before", Peer::Weir(before))));
    if !args.alone {
        match find("haproxy") {
            Some(path) => peers.push((HAPROXY, Peer::Haproxy(path))),
            None => eprintln!("!!! NO HAPROXY: it is left out. Put haproxy on the PATH (Debian: apt install haproxy)"),
        }
    }
    peers
}

/// What each takes, and Weir, the first, in parts of it.
fn totals(counted: &[(&str, Profile)]) -> String {
    let weir = counted.first().map(|(_, profile)| profile.total).unwrap_or_default();
    let rows = counted.iter().enumerate().map(|(position, (name, profile))| {
        let ratio = if position == 0 { String::new() } else { format!("{:.3}", weir / profile.total) };
        vec![(*name).to_owned(), format!("{:.0}", profile.total), ratio]
    });
    table(&["proxy", "instructions/req", "Weir/it"], rows.collect()).to_string()
}

/// The functions that take the most.
fn functions(profile: &Profile, top: usize) -> String {
    let rows = profile
        .functions
        .iter()
        .take(top)
        .map(|(name, own)| vec![name.clone(), format!("{own:.0}"), format!("{:.1} %", own * 100.0 / profile.total)]);
    table(&["function", "own instructions/req", "of all"], rows.collect()).to_string()
}
