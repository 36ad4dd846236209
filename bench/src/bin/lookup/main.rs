//! What it costs to find a route, beside a table that has no other, and what a table costs to be made.
//!
//! Time is measured here; instructions are counted by callgrind, which does not care what else the machine does: this program
//! runs itself under it, and only what [`measured`] calls is counted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line: its tables are its result")]

mod count;
mod kinds;

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use clap::Parser;
use comfy_table::Table;
use weir_bench::table::table;
use weir_routing::{Decision, RouteTable};

use kinds::{Kind, Request};

/// So often a route is looked up where time is measured, and where instructions are counted.
const TIMED: u32 = 200_000;
const COUNTED: u32 = 1_000;

/// Measures how a route's lookup depends on how many there are
///
/// Instructions are counted if valgrind is on the PATH.
#[derive(Debug, Parser)]
#[command(name = "lookup")]
struct Args {
    /// Look up only, so that somebody can count what that takes: kind, size, how often
    #[arg(long, hide = true, num_args = 3, value_names = ["KIND", "SIZE", "N"])]
    only: Option<Vec<String>>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(words) = args.only {
        let [kind, size, often] = words.as_slice() else { anyhow::bail!("three words are expected") };
        let (table, request) = Kind::parse(kind)?.table(size.parse()?);
        measured(&table, &request, often.parse()?);
        return Ok(());
    }
    println!("{}\n\n{}", lookups()?, tables()?);
    Ok(())
}

/// Looks the same request up again and again. A function of its own, by whose name callgrind knows what to count.
#[inline(never)]
fn measured(table: &RouteTable, request: &Request, often: u32) {
    for _ in 0..often {
        black_box(table.decide(black_box(&request.head())));
    }
}

/// The last route of many beside the only one.
fn lookups() -> anyhow::Result<Table> {
    let mut rows = vec![];
    for kind in Kind::ALL {
        let [only, last] = [time(kind, 1)?, time(kind, kind.many())?];
        let counts = [count::instructions(kind, 1, COUNTED), count::instructions(kind, kind.many(), COUNTED)];
        let counted = match counts {
            [Ok(only), Ok(last)] => [format!("{only:.0}"), format!("{last:.0}"), format!("{:.2}", last / only)],
            [Err(error), _] | [_, Err(error)] => {
                eprintln!("!!! INSTRUCTIONS ARE NOT COUNTED: {error:#}");
                ["-", "-", "-"].map(str::to_owned)
            }
        };
        let timed = [format!("{only:.0}"), format!("{last:.0}"), format!("{:.2}", last / only)];
        rows.push([vec![format!("the last of {} {}", kind.many(), kind.name())], timed.to_vec(), counted.to_vec()].concat());
    }
    let header = ["lookup", "the only one, ns", "ns", "ratio", "the only one, instructions", "instructions", "ratio"];
    Ok(table(&header, rows))
}

/// Nanoseconds of one lookup: the best of a few rounds, which others disturbed least.
fn time(kind: Kind, size: u32) -> anyhow::Result<f64> {
    let (table, request) = kind.table(size);
    let found = table.decide(&request.head());
    ensure!(matches!(found, Decision::Route { .. }), "{} of {size}: {found:?}", kind.name());
    let round = || {
        let start = Instant::now();
        measured(&table, &request, TIMED);
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TIMED)
    };
    Ok((0..7).map(|_| round()).fold(f64::INFINITY, f64::min))
}

/// What it takes to make a table, and to change one route of it.
fn tables() -> anyhow::Result<Table> {
    let mut rows = vec![];
    for kind in Kind::ALL {
        let config = kind.configuration(kind.many());
        let start = Instant::now();
        let table = RouteTable::compile(&config, None)?;
        let took = start.elapsed();
        let mut changed = config;
        kind.change(&mut changed);
        let start = Instant::now();
        let next = RouteTable::compile(&changed, Some(&table))?;
        let again = start.elapsed();
        drop((table, next));
        rows.push(vec![
            format!("{} {}", kind.many(), kind.name()),
            format!("{:.1}", took.as_secs_f64() * 1e3),
            format!("{:.1}", again.as_secs_f64() * 1e3),
        ]);
    }
    Ok(table(&["table", "compiled, ms", "with one route changed, ms"], rows))
}
