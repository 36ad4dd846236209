//! Reading what a proxy's admin interface tells of a cluster.

use std::collections::BTreeMap;

/// Of any proxy's `/stats/prometheus` the sums of what is counted under each name, whatever the labels.
pub(crate) fn sums(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        if let Ok(value) = value.parse::<f64>() {
            *sums.entry(name.split('{').next().unwrap_or_default().to_owned()).or_default() += value as u64;
        }
    }
    sums
}

/// Of Envoy's `/stats`: lines such as `cluster.NAME;.upstream_rq_total: 3`.
pub(crate) fn of_envoy(text: &str, cluster: &str) -> BTreeMap<String, u64> {
    let start = format!("cluster.{cluster};.");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once(": "));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

/// Of the gateway in Weir's `/stats/prometheus`: lines such as
/// `envoy_cluster_upstream_rq_total{cluster_name="NAME",proxy="router~…"} 3`.
pub(crate) fn of_weir(text: &str, cluster: &str) -> BTreeMap<String, u64> {
    let (name_label, proxy_label) = (format!("cluster_name=\"{cluster}\""), "proxy=\"router~");
    let lines = text.lines().filter_map(|line| line.strip_prefix("envoy_cluster_")?.split_once('{'));
    let ours = lines.filter(|(_, rest)| rest.contains(&name_label) && rest.contains(proxy_label));
    ours.filter_map(|(name, rest)| Some((name_with_code(name, rest), rest.rsplit_once("} ")?.1.trim().parse().ok()?))).collect()
}

/// Prometheus has the code in a label, Envoy's own form has it in the name.
fn name_with_code(name: &str, labels: &str) -> String {
    let code = labels.split_once("response_code=\"").and_then(|(_, rest)| rest.split_once('"'));
    code.map_or_else(|| name.to_owned(), |(code, _)| format!("{name}_{code}"))
}
