//! Clusters and listeners as lines of text, as Envoy prints them.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use crate::DataPlane;
use weir_config::endpoints::EdsHealth;

use crate::cluster::host::{LocalityHosts, WeightedHost};
use crate::io::unix_socket;

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
            for locality in cluster.hosts.localities.iter() {
                cluster.hosts.list[locality.hosts.clone()].iter().for_each(|weighted| host(&mut out, name, weighted, locality));
            }
        }
    }
    out
}

/// An instance, in Envoy's order.
fn host(out: &mut String, cluster: &str, weighted: &WeightedHost, locality: &LocalityHosts) {
    let host = &weighted.host;
    let mut line = |what: &str, value: &dyn Display| {
        let _ = writeln!(out, "{cluster}::{}::{what}::{value}", unix_socket::shown(host.address));
    };
    line("rq_active", &host.load());
    line("hostname", &host.hostname.as_deref().unwrap_or_default());
    line("health_flags", &health_flags(weighted));
    line("weight", &weighted.weight);
    line("region", &locality.locality.region);
    line("zone", &locality.locality.zone);
    line("sub_zone", &locality.locality.sub_zone);
    line("priority", &locality.priority);
}

/// Why it is not used, or less; `healthy` if there is nothing.
fn health_flags(weighted: &WeightedHost) -> String {
    let health = &weighted.host.health;
    let flags = [
        (health.is_failing(), "/failed_active_hc"),
        (health.is_ejected(), "/failed_outlier_check"),
        (weighted.eds == EdsHealth::Unhealthy, "/failed_eds_health"),
        (weighted.eds == EdsHealth::Degraded, "/degraded_eds_health"),
        (weighted.eds == EdsHealth::Draining, "/eds_status_draining"),
    ];
    let set: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
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
                true => writeln!(out, "{name}::{}", unix_socket::shown(address)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::balance::tests::hosts;
    use crate::cluster::outlier::Health;

    #[test]
    fn instances_print_as_envoy_prints_them() {
        let hosts = hosts(&[3]);
        let mut out = String::new();
        let flags = |eds| health_flags(&WeightedHost { eds, ..hosts.list[0].clone() });
        host(&mut out, "outbound|80||a", &hosts.list[0], &hosts.localities[0]);
        let wanted = "rq_active::0 hostname:: health_flags::healthy weight::3 region:: zone:: sub_zone:: priority::0";
        let lines: Vec<&str> = out.lines().map(|line| line.strip_prefix("outbound|80||a::10.0.0.0:80::").unwrap_or(line)).collect();
        assert_eq!(lines.join(" "), wanted);
        assert_eq!(flags(EdsHealth::Unhealthy), "/failed_eds_health");
        Health::default().checked(&hosts.list[0].host, false);
        assert_eq!(flags(EdsHealth::Draining), "/failed_active_hc/eds_status_draining");
    }
}
