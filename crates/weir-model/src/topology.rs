//! Where a workload runs, and the labels that follow from it.
//!
//! Facts: pilot/pkg/serviceregistry/util/label and pkg/model/proxy.go of Istio.

use std::collections::BTreeMap;

/// The label of a region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// The label of a zone within a region.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The label of a part of a zone.
pub const SUBZONE: &str = "topology.istio.io/subzone";
/// The label of a network in which addresses mean something.
pub const NETWORK: &str = "topology.istio.io/network";
/// The label of a cluster.
pub const CLUSTER: &str = "topology.istio.io/cluster";
/// The name of the only cluster that a mesh has Pods of, as it stands in telemetry, too.
pub const THIS_CLUSTER: &str = "Kubernetes";
/// The label of a node.
pub const NODE: &str = "kubernetes.io/hostname";

/// The labels of a node's region and zone, and what these were called in older clusters.
const NODE_REGION: [&str; 2] = [REGION, "failure-domain.beta.kubernetes.io/region"];
const NODE_ZONE: [&str; 2] = [ZONE, "failure-domain.beta.kubernetes.io/zone"];

/// Labels that name a whole locality, the one that counts first.
const LOCALITY: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];

type Labels = BTreeMap<String, String>;

/// The region, zone and subzone of a locality, `region/zone/subzone`; empty where nothing is said of them.
pub fn parts(locality: &str) -> [&str; 3] {
    let mut parts = locality.split('/');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Where a workload runs, as it is written, else as its labels say. A label's value cannot hold slashes: points
/// stand for them.
pub fn locality(written: &str, labels: &Labels) -> String {
    if !written.is_empty() {
        return written.to_owned();
    }
    let named = LOCALITY.iter().find_map(|name| labels.get(*name)).map(String::as_str).unwrap_or_default();
    if named.contains('/') { named.to_owned() } else { named.replace('.', "/") }
}

/// Where a node stands, as its labels say: as much of `region/zone/subzone` as is known.
pub fn node_locality(labels: &Labels) -> String {
    let first = |names: &[&str]| names.iter().find_map(|name| labels.get(*name)).map(String::as_str).unwrap_or_default().to_owned();
    let locality = [first(&NODE_REGION), first(&NODE_ZONE), first(&[SUBZONE])].join("/");
    locality.trim_end_matches('/').to_owned()
}

/// Adds to labels those that say where a workload runs; what is empty is not known. A network's own label is kept.
pub fn add_labels(labels: &mut Labels, locality: &str, network: &str, node: &str) {
    let [region, zone, subzone] = parts(locality);
    let known = [(REGION, region), (ZONE, zone), (SUBZONE, subzone), (NODE, node)];
    for (name, value) in known.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.insert(name.to_owned(), value.to_owned());
    }
    if !network.is_empty() && labels.get(NETWORK).is_none_or(String::is_empty) {
        labels.insert(NETWORK.to_owned(), network.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(written: &[(&str, &str)]) -> Labels {
        written.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_locality_has_three_parts_at_most() {
        for (locality, expected) in [
            ("", ["", "", ""]),
            ("eu", ["eu", "", ""]),
            ("eu/a", ["eu", "a", ""]),
            ("eu/a/1", ["eu", "a", "1"]),
            ("eu//1", ["eu", "", "1"]),
            ("eu/a/1/x", ["eu", "a", "1"]),
        ] {
            assert_eq!(parts(locality), expected, "{locality}");
        }
    }

    #[test]
    fn a_locality_is_taken_from_labels_where_none_is_written() {
        for (written, own, expected) in [
            ("", &[][..], ""),
            ("eu/a", &[("istio-locality", "us.b")], "eu/a"),
            ("", &[("istio-locality", "us.b.1")], "us/b/1"),
            ("", &[("istio-locality", "us.b"), ("topology.istio.io/locality", "eu.a")], "eu/a"),
            // With a slash in it, points are points.
            ("", &[("istio-locality", "us.west/b")], "us.west/b"),
        ] {
            assert_eq!(locality(written, &labels(own)), expected, "{written} {own:?}");
        }
    }

    #[test]
    fn a_node_says_by_its_labels_where_it_stands() {
        const BETA: &str = "failure-domain.beta.kubernetes.io/zone";
        for (own, expected) in [
            (&[][..], ""),
            (&[(REGION, "eu")], "eu"),
            (&[(REGION, "eu"), (ZONE, "a"), (SUBZONE, "1")], "eu/a/1"),
            (&[(REGION, "eu"), (BETA, "old"), (ZONE, "a")], "eu/a"),
            (&[(REGION, "eu"), (BETA, "old")], "eu/old"),
            (&[(ZONE, "a")], "/a"),
        ] {
            assert_eq!(node_locality(&labels(own)), expected, "{own:?}");
        }
    }

    #[test]
    fn labels_say_where_a_workload_runs_as_far_as_it_is_known() {
        let mut own = labels(&[("app", "a"), (ZONE, "wrong")]);
        add_labels(&mut own, "eu/a", "", "");
        assert_eq!(own, labels(&[("app", "a"), (REGION, "eu"), (ZONE, "a")]));
        add_labels(&mut own, "eu/a/1", "net", "node-1");
        assert_eq!(own, labels(&[("app", "a"), (REGION, "eu"), (ZONE, "a"), (SUBZONE, "1"), (NETWORK, "net"), (NODE, "node-1")]));
        add_labels(&mut own, "", "other", "");
        assert_eq!(own.get(NETWORK).map(String::as_str), Some("net"));
    }
}
