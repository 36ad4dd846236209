//! Clusters that stand for others, the first of them as long as it is well enough: the priorities of all, one after the other, share
//! requests as those of one cluster do
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/aggregate_cluster>).

use std::rc::Rc;

use weir_config::cluster::Discovery;

use super::cluster::ClusterRuntime;
use super::clusters::Clusters;
use crate::cluster::balance::priority::{self, Level};

/// So deep may clusters stand for clusters.
const DEPTH: usize = 4;

/// The cluster that a request to one goes to: itself, unless it stands for others. `random` may be any number.
pub fn member(clusters: &Clusters, cluster: Rc<ClusterRuntime>, random: u64) -> Rc<ClusterRuntime> {
    if !cluster.with_policy(|policy| matches!(policy.discovery, Discovery::Aggregate(_))) {
        return cluster;
    }
    let mut members = vec![];
    collect(clusters, &cluster, DEPTH, &mut members);
    let levels = |member: &Rc<ClusterRuntime>| member.levels().into_iter().map(|level| (member.clone(), level)).collect::<Vec<_>>();
    let (of_levels, levels): (Vec<_>, Vec<Level>) = members.iter().flat_map(levels).unzip();
    let chosen = match levels.is_empty() {
        true => None,
        false => of_levels.into_iter().nth(priority::loads(&levels, 0).0.choose(random).0),
    };
    chosen.or_else(|| members.into_iter().next()).unwrap_or(cluster)
}

/// Those that have instances of their own, in their order. What is not there is passed over.
fn collect(clusters: &Clusters, cluster: &Rc<ClusterRuntime>, depth: usize, members: &mut Vec<Rc<ClusterRuntime>>) {
    let names = cluster.with_policy(|policy| match &policy.discovery {
        Discovery::Aggregate(names) => Some(names.clone()),
        _ => None,
    });
    match names {
        None => members.push(cluster.clone()),
        Some(names) if depth > 0 => {
            let known = names.iter().filter_map(|name| clusters.get(name));
            known.for_each(|member| collect(clusters, &member, depth - 1, members));
        }
        Some(_) => {}
    }
}
