//! Who tries to be somebody else to the pilot, and policies that do not parse: refused, counted, and named in the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod certificates;
#[path = "../../../weir-proxy/tests/proxy/attempts/log.rs"]
mod log;
mod policies;
mod remote;
mod streams;

use std::sync::Arc;

use tokio::sync::watch;
use weir_pilot::{Options, Pilot};
use weir_registry::Catalog;

fn pilot(catalog: Catalog) -> Pilot {
    let (_, catalog) = watch::channel(Arc::new(catalog));
    Pilot::start(catalog, Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) })
}

/// Looks whether a statistic says this.
fn counted(pilot: &Pilot, statistic: &str, count: u64) {
    let statistics = pilot.statistics();
    let line = statistics.lines().find(|line| line.starts_with(&format!("{statistic} ")));
    assert_eq!(line, Some(format!("{statistic} {count}").as_str()), "{statistics}");
}
