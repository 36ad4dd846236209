//! A pilot whose source is not a folder: the change is an object in memory, as Kubernetes' watches give it, and nobody waits for an
//! editor to be done with a file.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_ads::grpc;
use weir_api::{Object, Source, parse};
use weir_pilot::{Options, Pilot};
use weir_registry::files::{Input, read};

use crate::folder::{ENDPOINT, RULE, changed_rule, changed_slice};
use crate::ordered::Ordered;

/// The endpoint changes.
pub(crate) const ENDPOINT_CHANGES: &str = "endpoint";
/// The rule changes.
pub(crate) const RULE_CHANGES: &str = "rule";

/// As what this program starts itself.
const WORD: &str = "helper-pilot";

/// Starts one at a port, of the objects of a folder; each order says what changes, [`ENDPOINT_CHANGES`] or [`RULE_CHANGES`], and
/// the number of the change.
///
/// # Errors
/// If it does not serve.
pub(crate) fn start(port: u16, folder: &Path, endpoints: usize, work: &Path) -> anyhow::Result<Ordered> {
    let words = [WORD, &port.to_string(), &folder.display().to_string(), &endpoints.to_string()];
    Ordered::start(&words, &work.join(format!("memory-{port}.log")))
}

/// Is that pilot, if that is what this process was started for.
pub(crate) fn run() -> Option<anyhow::Result<()>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [word, port, folder, endpoints] if word == WORD => Some(serve(port, Path::new(folder), endpoints)),
        _ => None,
    }
}

fn serve(port: &str, folder: &Path, endpoints: &str) -> anyhow::Result<()> {
    let (port, endpoints) = (port.parse::<u16>()?, endpoints.parse()?);
    // As many threads as weir pilot has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
    let catalog = watch::Sender::new(Arc::new(read(&[Input::Path(folder.to_owned())])));
    let options = Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
    let pilot = runtime.block_on(async { Pilot::start(catalog.subscribe(), options) });
    runtime.spawn(grpc::server::accept(listener, pilot.streams()));
    println!("0");
    for order in std::io::stdin().lock().lines() {
        let (name, changed) = change(&order?, endpoints)?;
        catalog.send_modify(|catalog| *catalog = Arc::new(catalog.with(folder.join(name), changed)));
    }
    Ok(())
}

/// What an order changes: the file in whose place it stands, and its objects.
fn change(order: &str, endpoints: usize) -> anyhow::Result<(&'static str, Vec<Arc<Object>>)> {
    let (what, mark) = order.split_once(' ').context("an order is what changes, and a number")?;
    let mark = mark.parse()?;
    let (name, text) = match what {
        ENDPOINT_CHANGES => (ENDPOINT, changed_slice(mark, endpoints)),
        RULE_CHANGES => (RULE, changed_rule(mark)),
        _ => bail!("{what} does not change"),
    };
    let objects = parse(&Source::new(name, text)).objects;
    ensure!(!objects.is_empty(), "the change is no object");
    Ok((name, objects))
}
