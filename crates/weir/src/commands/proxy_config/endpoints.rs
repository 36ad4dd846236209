//! Endpoints: a row for each instance of each cluster.

use serde_json::Value;

use crate::cli::EndpointsArgs;
use crate::commands::dump::{Dump, Section, address, items, name_of, text};
use crate::print;

/// An instance of a cluster.
pub(super) struct Endpoint<'v> {
    cluster: &'v str,
    locality: String,
    ip: String,
    port: Option<u64>,
    value: &'v Value,
}

impl Endpoint<'_> {
    /// Its health as the configuration says it; where that says nothing it counts as well.
    fn status(&self) -> &str {
        match text(self.value, "/health_status") {
            "" | "UNKNOWN" => "HEALTHY",
            status => status,
        }
    }
}

/// All instances that were told: those of EDS, and those that stand in clusters.
pub(super) fn all(dump: &Dump) -> Vec<Endpoint<'_>> {
    let inline = dump.of(Section::Clusters).into_iter().filter_map(|cluster| Some((name_of(cluster), cluster.get("load_assignment")?)));
    let told = dump.of(Section::Endpoints).into_iter().map(|assignment| (name_of(assignment), assignment));
    told.chain(inline).flat_map(|(cluster, assignment)| of(cluster, assignment)).collect()
}

fn of<'v>(cluster: &'v str, assignment: &'v Value) -> Vec<Endpoint<'v>> {
    let of_group = |group: &'v Value| {
        let place = ["/locality/region", "/locality/zone", "/locality/sub_zone"].map(|part| text(group, part));
        let locality = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        items(group, "/lb_endpoints").map(move |value| {
            let (ip, port) = address(&value["endpoint"]["address"]);
            Endpoint { cluster, locality: locality.clone(), ip, port, value }
        })
    };
    items(assignment, "/endpoints").flat_map(of_group).collect()
}

pub(super) fn filter<'v>(dump: &'v Dump, args: &EndpointsArgs) -> Vec<Endpoint<'v>> {
    let is_wanted = |endpoint: &Endpoint<'_>| {
        args.address.as_ref().is_none_or(|address| *address == endpoint.ip)
            && args.port.is_none_or(|port| endpoint.port == Some(port.into()))
            && args.cluster.as_ref().is_none_or(|cluster| cluster == endpoint.cluster)
            && args.status.as_ref().is_none_or(|status| status.eq_ignore_ascii_case(endpoint.status()))
    };
    all(dump).into_iter().filter(is_wanted).collect()
}

/// As JSON, each with its cluster.
pub(super) fn list(endpoints: &[Endpoint<'_>]) -> Value {
    let one = |endpoint: &Endpoint<'_>| {
        serde_json::json!({
            "cluster": endpoint.cluster, "address": endpoint.ip, "port": endpoint.port, "status": endpoint.status(),
            "locality": endpoint.locality, "endpoint": endpoint.value,
        })
    };
    endpoints.iter().map(one).collect()
}

pub(super) fn table(endpoints: &[Endpoint<'_>]) -> String {
    let row = |endpoint: &Endpoint<'_>| {
        let place = endpoint.port.map_or_else(|| endpoint.ip.clone(), |port| format!("{}:{port}", endpoint.ip));
        vec![place, endpoint.status().to_owned(), endpoint.locality.clone(), endpoint.cluster.to_owned()]
    };
    print::table(&["ENDPOINT", "STATUS", "LOCALITY", "CLUSTER"], endpoints.iter().map(row).collect())
}
