//! What a hundred authorization rules cost beside one.

use std::path::Path;

use anyhow::ensure;
use weir_bench::cases::{Case, LONGER_PATH, Upstreams};
use weir_bench::peers::{Peer, Setting};
use weir_bench::table::table;

use super::{Args, count, functions};

/// Many rules may cost so many times what one does.
const LIMIT: f64 = 1.05;
const MANY: u32 = 100;

/// Counts both.
///
/// # Errors
/// If a proxy does not start, or many rules cost too much.
pub(super) fn compare(args: &Args, weir: &Path, origin: Upstreams, files: &Path) -> anyhow::Result<()> {
    let requests = if args.short { count::SHORT } else { count::USUAL };
    let mut counted = vec![];
    for rules in [1, MANY] {
        let (name, mut case) = (format!("{rules} rules"), Case::authorized(origin, rules));
        LONGER_PATH.clone_into(&mut case.path);
        eprintln!("{name} ...");
        let setting = Setting::start(Some(weir), &files.join(&name), &case)?;
        let profile = count::per_request(&setting, &Peer::Weir(weir.to_owned()), files, &name, requests)?;
        counted.push((name, profile));
    }
    let one = counted.first().map(|(_, profile)| profile.total).unwrap_or_default();
    let rows = counted.iter().map(|(name, profile)| {
        let ratio = format!("{:.3}", profile.total / one);
        vec![name.clone(), format!("{:.0}", profile.total), ratio]
    });
    println!("{}", table(&["authorization", "instructions/req", "of one rule"], rows.collect()));
    for (name, profile) in counted.iter().filter(|_| args.top > 0) {
        println!("\n{name}, by function\n{}", functions(profile, args.top));
    }
    let many = counted.last().map(|(_, profile)| profile.total).unwrap_or_default();
    ensure!(many <= one * LIMIT, "a request that {MANY} rules are held against takes {:.3} of one with one rule, not {LIMIT}", many / one);
    Ok(())
}
