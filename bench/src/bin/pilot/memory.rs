//! A pilot whose source is not a folder: the change is an object in memory, as Kubernetes' watches give it, and nobody waits for an
//! editor to be done with a file.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_ads::grpc;
use weir_api::{Object, Source, parse};
use weir_pilot::{Options, Pilot};
use weir_registry::files::{Input, read};

use crate::folder::{ENDPOINT, changed_slice};
use crate::ordered::Ordered;

/// As what this program starts itself.
const WORD: &str = "helper-pilot";

/// Starts one at a port, of the objects of a folder; each order, a number, is a change of the endpoint.
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
        let changed = slice(order?.parse()?, endpoints)?;
        catalog.send_modify(|catalog| *catalog = Arc::new(catalog.with(path(folder), changed)));
    }
    Ok(())
}

/// Where the endpoint stands in the catalog.
fn path(folder: &Path) -> PathBuf {
    folder.join(ENDPOINT)
}

fn slice(mark: u32, endpoints: usize) -> anyhow::Result<Vec<Arc<Object>>> {
    let parsed = parse(&Source::new(ENDPOINT, changed_slice(mark, endpoints)));
    ensure!(!parsed.objects.is_empty(), "the change is no object");
    Ok(parsed.objects)
}
