//! Clusters and listeners as lines of text, as Envoy prints them.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::DataPlane;

/// `/clusters`: for each instance what is counted of it.
pub fn clusters(plane: &DataPlane, ids: &[Arc<str>]) -> String {
    let mut out = String::new();
    for id in ids {
        let Some(config) = plane.config(id) else { continue };
        heading(&mut out, id, ids.len());
        let mut names: Vec<_> = config.clusters.keys().collect();
        names.sort();
        for name in names {
            let cluster = &config.clusters[name];
            let _ = writeln!(out, "{name}::observability_name::{name}");
            for weighted in cluster.hosts.list.iter() {
                let address = weighted.host.address;
                let _ = writeln!(out, "{name}::{address}::rq_active::{}", weighted.host.load());
                let _ = writeln!(out, "{name}::{address}::weight::{}", weighted.weight);
                let flags = match (weighted.host.health.is_failing(), weighted.host.health.is_ejected()) {
                    (true, true) => "/failed_active_hc/failed_outlier_check",
                    (true, false) => "/failed_active_hc",
                    (false, true) => "/failed_outlier_check",
                    (false, false) => "healthy",
                };
                let _ = writeln!(out, "{name}::{address}::health_flags::{flags}");
                if let Some(hostname) = &weighted.host.hostname {
                    let _ = writeln!(out, "{name}::{address}::hostname::{hostname}");
                }
            }
        }
    }
    out
}

/// `/listeners`: name and address. Where another port than the one asked for is open, that is said.
pub fn listeners(plane: &DataPlane, ids: &[Arc<str>]) -> String {
    let mut out = String::new();
    for id in ids {
        let Some(status) = plane.status(id) else { continue };
        heading(&mut out, id, ids.len());
        let mut open = status.borrow().listeners.clone();
        open.sort();
        for (name, wanted, address) in open {
            let _ = match wanted == address || wanted.port() == 0 {
                true => writeln!(out, "{name}::{address}"),
                false => writeln!(out, "{name}::{address} (in place of {wanted})"),
            };
        }
    }
    out
}

/// Where several proxies are shown, each is named.
fn heading(out: &mut String, id: &str, shown: usize) {
    if shown > 1 {
        let _ = writeln!(out, "# {id}");
    }
}
