//! Clusters: the service, port and subset that each stands for.

use serde_json::Value;

use super::{dash, made_of};
use crate::cli::ClustersArgs;
use crate::commands::dump::{name_of, text};
use crate::print;

/// What the name of a cluster says: `outbound|9080|v1|reviews.default.svc.cluster.local`.
struct Name<'n> {
    direction: &'n str,
    port: &'n str,
    subset: &'n str,
    host: &'n str,
}

fn read(name: &str) -> Name<'_> {
    let parts: Vec<&str> = name.splitn(4, '|').collect();
    match parts.as_slice() {
        [direction, port, subset, host] => Name { direction, port, subset, host },
        // What has another name stands for no service.
        _ => Name { direction: "", port: "", subset: "", host: name },
    }
}

pub(super) fn filter<'v>(clusters: Vec<&'v Value>, args: &ClustersArgs) -> Vec<&'v Value> {
    let is_wanted = |cluster: &&Value| {
        let name = read(name_of(cluster));
        args.fqdn.as_ref().is_none_or(|fqdn| name.host.contains(fqdn.as_str()))
            && args.port.is_none_or(|port| name.port == port.to_string())
            && args.subset.as_ref().is_none_or(|subset| name.subset == subset)
            && args.direction.as_ref().is_none_or(|direction| name.direction.eq_ignore_ascii_case(direction))
    };
    clusters.into_iter().filter(is_wanted).collect()
}

pub(super) fn table(clusters: &[&Value]) -> String {
    let row = |cluster: &&Value| {
        let name = read(name_of(cluster));
        let cells = [name.host, name.port, name.subset, name.direction, kind(cluster)].map(dash);
        cells.into_iter().chain([made_of(cluster)]).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = clusters.iter().map(row).collect();
    rows.sort();
    print::table(&["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"], rows)
}

/// How its instances are found; what is not written is static.
fn kind(cluster: &Value) -> &str {
    match (text(cluster, "/type"), text(cluster, "/cluster_type/name")) {
        ("", "") => "STATIC",
        ("", name) => name,
        (kind, _) => kind,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clusters_are_told_by_what_their_names_say() {
        let rule =
            json!({ "filter_metadata": { "istio": { "config": "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/a" } } });
        let clusters = [
            json!({ "name": "outbound|80|v1|a.shop.svc.cluster.local", "type": "EDS", "metadata": rule }),
            json!({ "name": "PassthroughCluster", "type": "ORIGINAL_DST" }),
        ];
        let text = table(&clusters.iter().collect::<Vec<_>>());
        let lines: Vec<String> = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["PassthroughCluster - - - ORIGINAL_DST", "a.shop.svc.cluster.local 80 v1 outbound EDS a.shop"]);
    }
}
