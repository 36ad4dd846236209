//! A proxy below callgrind.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use weir_bench::peers::{Peer, Setting};
use weir_bench::process::find;
use weir_bench::{h2load, load};

use crate::profile::{Counts, Profile};

/// With so few requests and so many each proxy runs once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requests {
    few: u32,
    many: u32,
}

/// So many that one part in a hundred is seen.
pub(crate) const USUAL: Requests = Requests { few: 2_000, many: 6_000 };
/// So many that a limit can be held to, in a third of the time.
pub(crate) const SHORT: Requests = Requests { few: 500, many: 1_500 };

/// Below callgrind everything takes fifty times as long.
const START: Duration = Duration::from_secs(180);
const END: Duration = Duration::from_secs(120);

/// What a request takes; callgrind's files are left in the folder.
///
/// # Errors
/// If a proxy does not start or end, or answers wrongly.
pub(crate) fn per_request(setting: &Setting<'_>, peer: &Peer, folder: &Path, name: &str, requests: Requests) -> anyhow::Result<Profile> {
    let Requests { few, many } = requests;
    let file = |requests: u32| format!("{}.{requests}.callgrind", name.to_lowercase().replace(' ', "-"));
    let counted_few = counts(setting, peer, few, &folder.join(file(few)))?;
    let counted_many = counts(setting, peer, many, &folder.join(file(many)))?;
    Ok(Profile::difference(&counted_few, &counted_many, many - few))
}

/// All that a proxy executes from its start to its end, with so many requests in between.
fn counts(setting: &Setting<'_>, peer: &Peer, requests: u32, file: &Path) -> anyhow::Result<Counts> {
    let valgrind = find("valgrind").context("valgrind is not on the PATH")?;
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(file);
    let mut process = setting.launch_below(&valgrind, &["--tool=callgrind".into(), out], peer)?;
    let path = &setting.case.path;
    load::wait(&mut process, setting.port, path, START)?;
    h2load::exactly(requests, setting.port, path, file.with_extension("h2load"))?;
    process.terminate(END)?;
    let text = fs::read_to_string(file).with_context(|| format!("callgrind wrote nothing; it said:\n{}", process.last_words()))?;
    Counts::parse(&text).with_context(|| format!("{} is not as expected", file.display()))
}
